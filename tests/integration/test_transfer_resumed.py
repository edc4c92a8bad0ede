"""What an attempt has seen is not forgotten by the next, which asks only for what is missing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloudmig.catalog import Catalog
from cloudmig.demo.oddities import conflicting, renamed
from cloudmig.demo.pacs import Fault, Script
from cloudmig.demo.pacs.holdings import Holdings
from cloudmig.demo.studies import Study
from cloudmig.errors import CatalogUnavailable
from cloudmig.model.states import TransferState
from cloudmig.model.transfer import TransferJob
from tests.contract.stow_server import ScriptedStow
from tests.integration.migration_world import World, a_study

STUDIES = tuple(a_study(number) for number in range(1, 4))
FIRST = STUDIES[0]
FIRST_UID = FIRST.study_instance_uid
ONLY_FIRST = frozenset({FIRST_UID})


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudmig.agent.outages._PAUSE_FIRST_S", 0.1)
    monkeypatch.setattr("cloudmig.agent.outages._PAUSE_MAX_S", 0.3)
    monkeypatch.setattr("cloudmig.agent.rounds._PAUSE_FIRST_S", 0.01)


def without_uid(study: Study) -> Study:
    return renamed(study, sop_instance_uid="")


ODD = pytest.mark.parametrize(
    ("odd", "reason"),
    [(conflicting, "conflict"), (without_uid, "unusable_uid")],
    ids=["conflict", "no UID"],
)


def world_cut_off_at_an_odd_study(odd: Callable[[Study], Study], folder: Path) -> World:
    """Return a world whose first study is odd, and whose PACS hangs up in the middle of it."""
    script = Script(fault=Fault.ABORT, fault_at_store=3, fault_studies=ONLY_FIRST)
    return World(folder, [odd(FIRST), *STUDIES[1:]], script)


@ODD
async def test_what_waits_for_a_person_does_so_although_the_source_went_away_in_between(
    odd: Callable[[Study], Study], reason: str, tmp_path: Path
) -> None:
    world = world_cut_off_at_an_odd_study(odd, tmp_path)
    with world.serving():
        await world.migrate()
        closing = await world.explain_everything()

    assert world.reporter.named("study.put_back"), "else nothing is shown here"
    assert world.quarantined() == {FIRST_UID: {reason}}
    assert world.states()[FIRST_UID] == "quarantined"
    lost = 1 if reason == "unusable_uid" else 0
    assert closing.statement.instances.quarantined == lost
    assert closing.statement.instances.inventory == len(STUDIES) * 3


@ODD
async def test_what_a_person_has_let_pass_waits_no_more(
    odd: Callable[[Study], Study], reason: str, tmp_path: Path
) -> None:
    world = world_cut_off_at_an_odd_study(odd, tmp_path)
    with world.serving():
        await world.migrate()
        with world.catalog() as catalog:
            [item, *_] = catalog.quarantine_items()
            catalog.release("main", item.study, at=item.at, note="seen")  # type: ignore[arg-type]
        await world.run()
        await world.explain_everything()

    assert world.quarantined() == {}
    assert world.states()[FIRST_UID] == "closed"


MISSING = FIRST.instances()[2].sop_instance_uid


@pytest.mark.parametrize(
    ("study", "script", "reason"),
    [
        (conflicting(FIRST), Script(), "conflict"),
        (without_uid(FIRST), Script(), "unusable_uid"),
        (FIRST, Script(missing=frozenset({MISSING})), "missing_instances"),
    ],
    ids=["conflict", "no UID", "missing"],
)
async def test_a_kill_before_the_last_word_about_a_study_lets_nothing_pass(
    study: Study, script: Script, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its manifests are there: nothing but that word is left to be done."""
    finish, killed = Catalog.finish, []

    def call(catalog: Catalog, job: TransferJob, state: TransferState, **told: object) -> None:
        if state is TransferState.QUARANTINED and not killed:
            killed.append(job)
            raise CatalogUnavailable("killed")
        finish(catalog, job, state, **told)  # type: ignore[arg-type]

    monkeypatch.setattr(Catalog, "finish", call)
    world = World(tmp_path, [study], script)
    with world.serving():
        await world.migrate()
        await world.explain_everything()

    assert killed
    assert world.quarantined() == {FIRST_UID: {reason}}
    assert world.states() == {FIRST_UID: "quarantined"}


@pytest.mark.parametrize(
    "habit", [{"image_limit": 2}, {"image_find": False}], ids=["cut list", "no list"]
)
async def test_no_instance_is_left_out_or_miscounted_for_not_being_listed(
    habit: dict[str, Any], tmp_path: Path
) -> None:
    """The source goes away between one that it does not list and the next."""
    first = a_study(1, series=(4,))
    fault = Script(fault=Fault.ABORT, fault_at_store=4, fault_studies=ONLY_FIRST, **habit)
    world = World(tmp_path, [first, *STUDIES[1:]], replace(fault, optional_counts=False))
    with world.serving():
        await world.migrate()
        closing = await world.explain_everything()

    assert world.reporter.named("study.put_back"), "else nothing is shown here"
    assert world.held() == world.truth()
    assert closing.statement.weak_copies >= 1
    assert closing.statement.instances.inventory == len(world.truth())
    assert closing.statement.beyond_inventory == 0


def spoil(world: World, sop_instance_uid: str) -> None:
    [path] = (world.folder / "store").rglob(f"{sop_instance_uid}.dcm")
    path.chmod(0o600)
    path.write_bytes(b"something else")


@pytest.mark.parametrize("habit", [{"image_limit": 2}, {}], ids=["never listed", "listed once"])
@pytest.mark.parametrize("sent", [True, False], ids=["sent", "gone"])
async def test_a_repair_drops_no_instance_that_is_not_listed_any_more(
    habit: dict[str, Any], sent: bool, tmp_path: Path
) -> None:
    """What is listed has its receipt then, and nobody would ask for what is not."""
    whole, fewer = a_study(1, series=(4,)), a_study(1, series=(3,))
    spoilt = whole.instances()[3].sop_instance_uid
    world = World(tmp_path, [whole], Script(**habit))
    with world.serving():
        await world.migrate()
        await world.explain_everything()
        spoil(world, spoilt)
        assert (await world.verify(again=True)).failed == 1
        if not sent:
            world.pacs._state.holdings = Holdings([fewer])
        elif not habit:
            world.pacs._state.script = Script(image_limit=2)
        await world.run()
        closing = await world.explain_everything()

    assert world.states() == {FIRST_UID: "closed" if sent else "quarantined"}
    statement = closing.statement
    assert statement.instances.inventory + statement.beyond_inventory == 4
    assert statement.instances.quarantined == (0 if sent else 1)
    held = world.held()
    assert all(digests <= held[uid] for uid, digests in world.truth().items())


@pytest.mark.parametrize("retrieve", ["c-get", "c-move"])
async def test_a_study_that_grows_after_its_move_is_moved_again_by_the_next_plan(
    retrieve: str, tmp_path: Path
) -> None:
    world = World(tmp_path, STUDIES, retrieve=retrieve)
    with world.serving():
        await world.migrate()
        await world.explain_everything()
        world.pacs._state.holdings = Holdings([a_study(1, series=(2, 2)), *STUDIES[1:]])
        await world.inventory()
        closing = await world.explain_everything()
        [told] = closing.disagreements["main"]
        assert "were moved: 1; they have grown since" in told
        planned = await world.plan()
        await world.run()
        closing = await world.explain_everything()

    assert (planned.planned, planned.grown, planned.under_way) == (1, 1, 2)
    assert not closing.disagreements
    assert set(world.states().values()) == {"closed"}
    assert world.held() == world.truth()
    assert set(world.pacs.counters.sent.values()) == {1}, "only what is new is pulled"


@asynccontextmanager
async def nobody_or_a_door_that_is_shut(status: str) -> AsyncIterator[str]:
    """Give an endpoint where nobody listens, or that answers every request with this status."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
        await writer.drain()
        writer.close()

    if not status:
        yield "http://127.0.0.1:1"
        return
    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def a_home_at(endpoint: str) -> dict[str, Any]:
    """Return a bucket that is given up soon."""
    return {
        "url": "s3://images", "endpoint": endpoint, "access_key_id": "a",
        "secret_access_key": "b", "attempts_max": 1, "outage_max_s": 0.5,
    }  # fmt: skip


async def migrate_in_time(world: World) -> None:
    """Inventory, plan, and a run that has to end by itself."""
    with world.serving():
        await world.inventory()
        await world.plan()
        async with asyncio.timeout(60):
            await world.run()


@pytest.mark.parametrize("status", ["", "403 Forbidden"], ids=["down", "refuses us"])
async def test_what_no_key_can_name_is_told_of_although_another_home_takes_nothing(
    status: str, tmp_path: Path
) -> None:
    """That home gets its copy from the other one, where nothing names that object."""
    async with nobody_or_a_door_that_is_shut(status) as endpoint:
        homes = {"shut": a_home_at(endpoint), "store": {"url": f"file://{tmp_path / 'store'}"}}
        world = World(tmp_path, [without_uid(FIRST)], destinations=homes)
        await migrate_in_time(world)

    assert world.quarantined() == {FIRST_UID: {"unusable_uid"}}
    assert len(list((tmp_path / "store" / "v1" / "main" / "quarantine").iterdir())) == 1


@pytest.mark.parametrize("status", ["", "403 Forbidden"], ids=["down", "refuses us"])
async def test_what_no_key_can_name_is_told_of_where_the_other_home_is_a_dicomweb_store(
    status: str, tmp_path: Path
) -> None:
    """It keeps no such thing. Once its copy is verified, the other one is made from it."""
    async with nobody_or_a_door_that_is_shut(status) as endpoint, ScriptedStow().running() as stow:
        homes = {
            "shut": a_home_at(endpoint),
            "web": {"url": stow.url, "evidence": "store", "dicomweb": {"profile": "plain"}},
            "store": {"url": f"file://{tmp_path / 'store'}"},
        }
        rules = [{"name": "everything", "copy_to": ["shut", "web"]}]
        world = World(tmp_path, [without_uid(FIRST)], destinations=homes, rules=rules)
        await migrate_in_time(world)

    assert world.quarantined() == {FIRST_UID: {"unusable_uid"}}
