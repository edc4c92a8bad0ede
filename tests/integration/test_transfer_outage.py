"""A store that is down costs the PACS nothing: it is asked again when somebody can take it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cloudmig.agent.service import RunSummary, run_agent
from cloudmig.catalog import Catalog
from cloudmig.demo.pacs.holdings import Holdings
from cloudmig.demo.studies import Study
from cloudmig.destinations.breaker import BreakerPolicy
from cloudmig.model.states import CopyState
from tests.contract.stow_server import ScriptedStow
from tests.integration.migration_world import (
    AtPutBack,
    World,
    a_study,
    catalog_falls_silent,
    free_port,
    let_breakers,
)
from tests.peers.part10 import dataset_sha256

STUDIES = [a_study(number, series=(3, 2)) for number in range(1, 13)]
PROBES = 10


def two_homes(folder: Path, url: str) -> dict[str, dict[str, Any]]:
    return {
        "store": {"url": f"file://{folder / 'store'}"},
        "web": {
            "url": url, "evidence": "store", "dicomweb": {"profile": "orthanc"}, "attempts_max": 2,
        },
    }  # fmt: skip


class HangsUp:
    """Something on the store's port that counts who comes, and hangs up."""

    def __init__(self, port: int) -> None:
        self.calls = 0
        self.port = port

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.calls += 1
            writer.close()

        server = await asyncio.start_server(hang_up, "127.0.0.1", self.port)
        try:
            yield
        finally:
            server.close()


def world_with_a_home_down(
    folder: Path, studies: Sequence[Study]
) -> tuple[World, HangsUp, ScriptedStow]:
    """Return a world of two homes, what hangs up in the place of `web`, and `web` itself."""
    down = HangsUp(free_port())
    url = f"http://127.0.0.1:{down.port}/dicom-web"
    world = World(folder, studies, destinations=two_homes(folder, url))
    return world, down, ScriptedStow(port=down.port)


@pytest.fixture(autouse=True)
def quick_breakers(monkeypatch: pytest.MonkeyPatch) -> None:
    let_breakers(monkeypatch, BreakerPolicy(failures_max=3, pause_s=0.3))


async def test_a_long_outage_of_one_store_costs_the_pacs_one_more_pull(tmp_path: Path) -> None:
    world, down, back = world_with_a_home_down(tmp_path, STUDIES)
    with world.serving():
        await world.inventory()
        await world.plan()
        async with world.opened() as parts, asyncio.timeout(60):
            async with down.running():
                running = asyncio.create_task(run_agent(parts, stop=asyncio.Event()))
                while world.held() != world.truth():
                    await asyncio.sleep(0.02)
                enough = down.calls + PROBES
                while down.calls < enough:
                    await asyncio.sleep(0.02)
            pulled = dict(world.pacs.counters.retrieved_studies)
            async with back.running():
                summary = await running
        assert not summary.halted
    assert summary.instances_stored == len(world.truth()), "catching up brings no new instance"
    assert summary.studies_stored == len(STUDIES)
    assert set(pulled.values()) == {1}, "nobody could take what a second pull brings"
    assert set(world.pacs.counters.retrieved_studies.values()) == {2}
    assert len({uid for _, uid in back.held}) == len(world.truth())
    [down_] = world.reporter.named("destination.down")
    assert down_["destination"] == "web"
    assert down_["message"]
    [told] = world.reporter.named("destination.back")
    assert told["destination"] == "web"


async def test_who_refuses_us_is_named(tmp_path: Path) -> None:
    """Of three destinations one does; `HTTP 401` alone would say nothing."""
    async with ScriptedStow(tokens=["right"]).running() as server:
        world = World(tmp_path, STUDIES, destinations=two_homes(tmp_path, server.url))
        with world.serving():
            await world.inventory()
            await world.plan()
            async with world.opened() as parts:
                summary = await run_agent(parts, stop=asyncio.Event())

    assert summary.halted == "web: ask: HTTP 401"
    assert "credentials" in summary.hint


async def all_verified(world: World) -> None:
    """Verify what is stored; a study that is just being looked at has its turn later."""
    while True:
        await world.verify()
        with world.catalog() as catalog:
            copies = [copy for row in catalog.transfers() for copy in row.copies]
        if {copy.state for copy in copies if copy.destination == "store"} == {CopyState.VERIFIED}:
            return


@asynccontextmanager
async def run_with_one_copy_made(
    world: World, down: HangsUp, *, verified: bool = True
) -> AsyncIterator[asyncio.Task[RunSummary]]:
    """Give a run that owes `web` every study, which `store` has; `down` has left the port."""
    with world.serving():
        await world.inventory()
        await world.plan()
        async with world.opened() as parts, asyncio.timeout(60):
            async with down.running():
                running = asyncio.create_task(run_agent(parts, stop=asyncio.Event()))
                while parts.counters.studies_put_back < len(world.studies):
                    await asyncio.sleep(0.02)
                if verified:
                    await all_verified(world)
            yield running


async def test_what_is_owed_is_copied_from_a_verified_copy_and_the_pacs_is_not_asked(
    tmp_path: Path,
) -> None:
    world, down, back = world_with_a_home_down(tmp_path, STUDIES)
    async with run_with_one_copy_made(world, down) as running:
        asked = dict(world.pacs.counters.asked)
        async with back.running():
            summary = await running
    assert not summary.halted
    assert (summary.studies_stored, summary.instances_stored) == (12, len(world.truth()))
    assert summary.bytes_stored == sum(
        path.stat().st_size for path in (tmp_path / "store").rglob("*.dcm")
    )
    assert set(world.pacs.counters.retrieved_studies.values()) == {1}
    assert world.pacs.counters.asked == asked, "not even for a list"
    assert {uid for _, uid in back.held} == set(world.truth())


async def test_a_study_that_grew_while_a_copy_was_owed_is_whole_in_both_homes(
    tmp_path: Path,
) -> None:
    """Else the first copy would be short for good, and nobody could close."""
    world, down, back = world_with_a_home_down(tmp_path, STUDIES[:2])
    async with run_with_one_copy_made(world, down, verified=False) as running:
        world.pacs._state.holdings = Holdings([a_study(1, series=(3, 3)), STUDIES[1]])
        async with back.running():
            await running
            await world.explain_everything()

    held = {sop: {dataset_sha256(file)} for (_, sop), file in back.held.items()}
    assert held == world.held() == world.truth()
    assert len(held) == 5 + 6


async def test_an_instance_of_two_homes_counts_once(tmp_path: Path) -> None:
    homes = {name: {"url": f"file://{tmp_path / name}"} for name in ("store", "second")}
    world = World(tmp_path, STUDIES[:2], destinations=homes)
    with world.serving():
        await world.inventory()
        await world.plan()
        summary = await world.run()
    assert summary.instances_stored == len(world.truth()) == 10


async def test_what_was_spoiled_since_is_no_parent_and_the_source_is_asked(tmp_path: Path) -> None:
    world, down, back = world_with_a_home_down(tmp_path, STUDIES)
    async with run_with_one_copy_made(world, down) as running:
        spoiled = next((tmp_path / "store").rglob("*.dcm"))
        spoiled.write_bytes(spoiled.read_bytes()[:-1] + b"?")
        async with back.running():
            summary = await running
            seen = await world.verify(again=True)
    [study] = {uid for uid, sop in back.held if sop == spoiled.stem}
    assert not summary.halted
    assert seen.findings == []
    pulled = dict(world.pacs.counters.retrieved_studies)
    assert {uid for uid, times in pulled.items() if times > 1} == {study}
    assert all(world.truth()[uid] <= held for uid, held in world.held().items()), "repaired beside"
    held = {sop: {dataset_sha256(file)} for (_, sop), file in back.held.items()}
    assert held == world.truth()


async def test_what_a_silent_catalog_did_not_take_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, STUDIES)
    # Of twelve studies, four at a time, there are more than two commits.
    catalog_falls_silent(monkeypatch, Catalog.record_receipts_of_many, at=2)
    with world.serving():
        await world.migrate()

    assert len(world.reporter.named("catalog.down")) == 1
    [finished] = world.reporter.named("run.finished")
    assert finished["instances_stored"] == len(world.truth())
    assert finished["studies_stored"] == len(STUDIES)
    assert world.held() == world.truth()


async def test_a_catalog_that_only_the_heartbeat_finds_silent_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, STUDIES, settings={"agent": {"renew_s": 0.05}})
    catalog_falls_silent(monkeypatch, Catalog.heartbeat, at=1)
    with world.serving():
        await world.migrate()

    assert len(world.reporter.named("catalog.down")) == 1
    [finished] = world.reporter.named("run.finished")
    assert (finished["halted"], finished["stopped"]) == ("", False)
    assert (finished["studies_stored"], world.held()) == (len(STUDIES), world.truth())


async def test_a_bug_beside_a_run_does_not_pass_for_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def progress(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("cloudmig.agent.service.progress", progress)
    world = World(tmp_path, STUDIES)
    with world.serving(), pytest.raises(ZeroDivisionError):
        await world.migrate()


async def test_a_home_whose_folder_cannot_be_opened_at_the_start_holds_no_other_back(
    tmp_path: Path,
) -> None:
    """As a mount whose server is gone: it has copies already, so that it is no mistake."""
    homes = {name: {"url": f"file://{tmp_path / name / 'images'}"} for name in ("store", "dr")}
    world = World(tmp_path, STUDIES[:3], destinations=homes)
    held_meanwhile: list[object] = []

    def mount_again() -> None:
        held_meanwhile.append(world.held("store"))
        (tmp_path / "dr").unlink()
        (tmp_path / "elsewhere").rename(tmp_path / "dr")

    with world.serving():
        world.pacs._state.holdings = Holdings(STUDIES[:1])
        await world.migrate()
        world.pacs._state.holdings = Holdings(STUDIES[:3])
        (tmp_path / "dr").rename(tmp_path / "elsewhere")
        (tmp_path / "dr").touch()
        world.reporter = AtPutBack(mount_again, at=2)
        summary = await world.migrate()

        assert not summary.halted
        assert held_meanwhile == [world.truth()]
        [told] = world.reporter.named("destination.down")
        assert "cannot be opened" in str(told["message"])
        assert world.held("dr") == world.truth()
        await world.explain_everything()
