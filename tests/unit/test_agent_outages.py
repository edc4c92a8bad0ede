"""An outage that many studies meet at once is one outage."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest

from cloudmig.agent.outages import Outages
from cloudmig.errors import SourceUnavailable
from cloudmig.model.references import StudyRef
from cloudmig.model.states import TransferState
from cloudmig.model.transfer import TransferJob
from cloudmig.pipeline.parts import Parts
from cloudmig.pipeline.transfer import Ending


class SilentSource:
    """Nobody listens."""

    async def ping(self) -> None:
        raise SourceUnavailable("nobody listens")


@dataclass
class Recorder:
    pauses_s: list[object] = field(default_factory=list)

    def event(self, name: str, **fields: object) -> None:
        assert name == "source.down"
        self.pauses_s.append(fields["again_in_s"])


async def test_studies_that_meet_one_outage_together_do_not_make_it_longer() -> None:
    """Eight in flight waited for a minute for a PACS that was back after ten seconds."""
    reporter = Recorder()
    parts = SimpleNamespace(
        config=SimpleNamespace(destinations={}),
        breakers={},
        reporter=reporter,
        sources={"main": SilentSource()},
    )
    outages = Outages(cast("Parts", parts))
    ending = Ending(
        TransferState.PLANNED, "gone", failed=True, error=SourceUnavailable("connection lost")
    )

    for number in range(8):
        job = TransferJob(number, "main", StudyRef(f"1.2.{number}"), 1, 0, None, ())
        assert not (await outages.judge(job, ending)).failed

    assert reporter.pauses_s == [1.0]


def test_the_more_studies_a_store_is_owed_the_longer_each_is_left_alone() -> None:
    """Some 300 of a store that refused us took every turn: nothing else moved, and no run ended."""
    parts = SimpleNamespace(config=SimpleNamespace(destinations={}), breakers={})
    outages = Outages(cast("Parts", parts))
    jobs = [TransferJob(n, "main", StudyRef(f"1.2.{n}"), 1, 0, None, ()) for n in range(10_000)]

    pauses_s = [outages.seconds_to_owe(job) for job in jobs]
    again_s = outages.seconds_to_owe(jobs[0])
    for job in jobs[1:]:
        outages.owes_no_more(job)

    assert pauses_s[0] == 1.0, "one alone is looked at every second"
    assert pauses_s == sorted(pauses_s)
    assert len(jobs) / pauses_s[-1] <= 20, "looks in a second, of all together"
    assert again_s == pauses_s[-1], "the same study counts once"
    assert outages.seconds_to_owe(jobs[0]) == 1.0, "those that are done with do not count"


@pytest.mark.parametrize("count", [20, 80_000, 1_000_000])
def test_however_many_are_owed_all_together_are_looked_at_as_seldom(count: int) -> None:
    """A limit to their pause had let 72,000 of them take every turn again."""
    outages = Outages(cast("Parts", SimpleNamespace(
        config=SimpleNamespace(destinations={}), breakers={}
    )))  # fmt: skip
    outages._owed = set(range(count))

    pause_s = outages.seconds_to_owe(TransferJob(0, "main", StudyRef("1.2"), 1, 0, None, ()))

    assert count / pause_s == 20


async def test_what_another_agent_has_done_is_not_counted_for_ever() -> None:
    """Owed studies that a second agent finished made the next outage look large from its start."""
    breaker = SimpleNamespace(is_open=True, seconds_until_probe=0.0, last_failure=("down", ""))
    reporter = SimpleNamespace(event=lambda name, **fields: None)
    parts = SimpleNamespace(
        config=SimpleNamespace(destinations={}),
        breakers={"store": [breaker]},
        reporter=reporter,
        refusals={},
    )
    outages = Outages(cast("Parts", parts))
    assert outages.some_store_is_down()
    jobs = [TransferJob(n, "main", StudyRef(f"1.2.{n}"), 1, 0, None, ()) for n in range(1000)]
    assert [outages.seconds_to_owe(job) for job in jobs][-1] == 50

    breaker.is_open = False
    assert not outages.some_store_is_down()

    assert outages.seconds_to_owe(jobs[0]) == 1.0
