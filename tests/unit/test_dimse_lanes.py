"""Lanes: the association budget towards one PACS."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

import pytest

from cloudmig.dimse.contexts import ProposedContext
from cloudmig.errors import SourceBusy
from cloudmig.sources.dimse.lanes import Lanes

CONTEXTS = (ProposedContext("1.2.840.10008.1.1", ("1.2.840.10008.1.2",)),)


@dataclass
class FakeAssociation:
    """Stands in for an association: what a lane asks of one, without a network."""

    is_open: bool = True
    aborted: bool = False
    released: bool = False

    def abort(self) -> None:
        self.is_open, self.aborted = False, True

    async def release(self) -> None:
        self.is_open, self.released = False, True


@dataclass
class FakePacs:
    opened: list[FakeAssociation] = field(default_factory=list)

    async def connect(self, _aet: str, _contexts: object) -> FakeAssociation:
        self.opened.append(FakeAssociation())
        return self.opened[-1]


def lanes(pacs: FakePacs, *titles: str, count: int) -> Lanes:
    return Lanes(titles or ("A",), count, pacs.connect)  # type: ignore[arg-type]


async def occupied(
    group: Lanes, *, alone: bool = False
) -> tuple[asyncio.Task[None], asyncio.Event]:
    """Hold a lane in a task of its own; return when it waits or has it."""
    leave = asyncio.Event()

    async def hold() -> None:
        async with group.lane(alone=alone):
            await leave.wait()

    task = asyncio.create_task(hold())
    for _ in range(5):
        await asyncio.sleep(0)
    return task, leave


def in_use(group: Lanes) -> int:
    return sum(group._in_use.values())


async def test_no_more_lanes_are_in_use_than_the_budget() -> None:
    group = lanes(FakePacs(), count=2)
    held = [await occupied(group) for _ in range(4)]

    assert in_use(group) == 2

    for _, leave in held:
        leave.set()
    await asyncio.gather(*(task for task, _ in held))
    assert in_use(group) == 0


async def test_a_busy_pacs_halves_the_budget_and_successes_raise_it_again() -> None:
    group = lanes(FakePacs(), count=8)

    group.slower()
    group.slower()
    assert group.budget == 2

    for _ in range(30):
        group.faster()
    assert group.budget == 8


async def test_the_budget_never_falls_below_one() -> None:
    group = lanes(FakePacs(), count=2)
    for _ in range(10):
        group.slower()

    async with asyncio.timeout(1), group.lane():
        assert group.budget == 1


async def test_alone_waits_for_the_others_and_keeps_them_out() -> None:
    group = lanes(FakePacs(), count=4)
    first, leave_first = await occupied(group)
    alone, leave_alone = await occupied(group, alone=True)
    late, leave_late = await occupied(group)

    assert in_use(group) == 1, "the late one does not overtake who waits to be alone"

    leave_first.set()
    await first
    for _ in range(5):
        await asyncio.sleep(0)
    assert in_use(group) == 1
    leave_alone.set()
    leave_late.set()
    async with asyncio.timeout(1):
        await asyncio.gather(alone, late)


async def test_who_gives_up_being_alone_keeps_nobody_out_any_more() -> None:
    group = lanes(FakePacs(), count=1)
    await group._enter(alone=False)
    other, leave = await occupied(group)
    alone, _ = await occupied(group, alone=True)

    await group._leave("A")  # Wakes both, the other one first; it lets the one go first that then
    alone.cancel()  # gives up.
    leave.set()
    async with asyncio.timeout(5):
        await asyncio.gather(other, alone, return_exceptions=True)

    assert in_use(group) == 0


async def test_alone_on_one_title_leaves_the_other_title_to_the_rest() -> None:
    group = lanes(FakePacs(), "A", "B", count=4)
    alone, leave_alone = await occupied(group, alone=True)

    async with asyncio.timeout(1), group.lane() as lane:
        assert lane.calling_aet == "B"

    leave_alone.set()
    await alone


async def test_an_association_is_kept_for_the_next_user_with_the_same_needs() -> None:
    pacs = FakePacs()
    group = lanes(pacs, count=1)
    for _ in range(3):
        async with group.lane() as lane, lane.association(CONTEXTS):
            pass

    assert len(pacs.opened) == 1


async def test_an_association_with_more_contexts_serves_who_needs_fewer() -> None:
    pacs = FakePacs()
    group = lanes(pacs, count=1)
    more = (*CONTEXTS, ProposedContext("1.2.840.10008.5.1.4.1.2.2.3", ("1.2.840.10008.1.2",)))
    for contexts in (more, CONTEXTS, more):
        async with group.lane() as lane, lane.association(contexts):
            pass
    assert len(pacs.opened) == 1

    other = lanes(pacs, count=1)
    for contexts in (CONTEXTS, more):
        async with other.lane() as lane, lane.association(contexts):
            pass
    assert len(pacs.opened) == 3, "what was not proposed cannot be used"


async def test_who_makes_room_has_left_before_the_next_comes() -> None:
    """A PACS that lets one in refused the next while it still counted the one before."""
    pacs = FakePacs()
    group = lanes(pacs, count=1)
    other = (ProposedContext("1.2.840.10008.5.1.4.1.2.2.1", ("1.2.840.10008.1.2",)),)
    left: list[bool] = []

    async def connect(aet: str, contexts: object) -> FakeAssociation:
        left.extend(each.released for each in pacs.opened)
        return await pacs.connect(aet, contexts)

    group._connect = connect  # type: ignore[assignment]
    for contexts in (CONTEXTS, other):
        async with group.lane() as lane, lane.association(contexts):
            pass

    assert left == [True]


@pytest.mark.parametrize(("refusals", "budget"), [(0, 8), (1, 4), (3, 4), (4, 4)])
async def test_a_pacs_without_a_place_is_asked_three_times_more_and_halves_the_budget_once(
    refusals: int, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloudmig.sources.dimse.lanes._UNTIL_COUNTED_OUT_S", (0.0, 0.0, 0.0))
    pacs = FakePacs()
    group = lanes(pacs, count=8)
    asked: list[str] = []

    async def connect(aet: str, contexts: object) -> FakeAssociation:
        asked.append(aet)
        if len(asked) <= refusals:
            raise SourceBusy("rejected")
        return await pacs.connect(aet, contexts)

    group._connect = connect  # type: ignore[assignment]
    expected = pytest.raises(SourceBusy) if refusals == 4 else contextlib.nullcontext()
    with expected:
        async with group.lane() as lane, lane.association(CONTEXTS):
            pass

    assert len(asked) == min(refusals + 1, 4)
    assert group.budget == budget


async def test_an_association_that_met_an_error_is_aborted_and_not_used_again() -> None:
    pacs = FakePacs()
    group = lanes(pacs, count=1)
    with pytest.raises(RuntimeError):
        async with group.lane() as lane, lane.association(CONTEXTS):
            raise RuntimeError

    async with group.lane() as lane, lane.association(CONTEXTS):
        pass
    assert [each.aborted for each in pacs.opened] == [True, False]


async def test_a_kept_association_that_the_pacs_closed_is_not_given_out() -> None:
    pacs = FakePacs()
    group = lanes(pacs, count=1)
    async with group.lane() as lane, lane.association(CONTEXTS):
        pass
    pacs.opened[0].is_open = False

    async with group.lane() as lane, lane.association(CONTEXTS) as second:
        assert second is pacs.opened[1]  # type: ignore[comparison-overlap]


async def test_needs_that_do_not_come_again_are_forgotten() -> None:
    """Each mix of SOP classes needs contexts of its own; an archive has many mixes."""
    group = lanes(FakePacs(), count=2)

    for number in range(50):
        contexts = (ProposedContext(f"1.2.840.10008.5.1.4.1.1.{number}", ("1.2.840.10008.1.2",)),)
        async with group.lane() as lane, lane.association(contexts):
            pass

    assert len(group._kept) <= 2


async def test_closing_releases_what_is_kept() -> None:
    pacs = FakePacs()
    group = lanes(pacs, count=2)
    async with group.lane() as lane, lane.association(CONTEXTS):
        pass

    await group.close()

    assert pacs.opened[0].released
