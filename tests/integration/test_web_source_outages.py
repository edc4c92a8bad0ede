"""A DICOMweb archive that is down, or sends nothing though it answers: no study is to blame."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cloudmig.demo.pacs.holdings import Holdings
from tests.contract.web_archive import ScriptedArchive, WebScript
from tests.integration.migration_world import a_study
from tests.integration.web_source_world import WebWorld

#: The newest is asked for first.
STUDIES = [
    a_study(number, series=(2,), study_date=f"2020010{9 - number}") for number in range(1, 6)
]
EVERY = frozenset(each.sop_instance_uid for study in STUDIES for each in study.instances())


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudmig.agent.outages._PAUSE_FIRST_S", 0.1)
    monkeypatch.setattr("cloudmig.agent.outages._PAUSE_MAX_S", 0.3)


async def told_that_it_is_down(world: WebWorld, times: int) -> None:
    """Wait until the operator was told so often."""
    async with asyncio.timeout(20):
        while len(world.reporter.named("source.down")) < times:
            await asyncio.sleep(0.02)


async def test_an_archive_that_is_down_for_a_while_costs_no_study_its_attempts(
    tmp_path: Path,
) -> None:
    archive = ScriptedArchive(STUDIES)
    async with WebWorld.of(tmp_path, STUDIES, archive=archive) as world:
        await world.inventory()
        await world.plan()
    running = asyncio.create_task(world.run())
    await told_that_it_is_down(world, times=4)
    async with archive.running():
        await running

        await world.all_is_there()


@pytest.mark.parametrize("script", [
    WebScript(fails=EVERY), WebScript(empty_answers=True), WebScript(login_page=True),
], ids=["500", "200 with nothing", "200 with a page"])  # fmt: skip
async def test_an_archive_that_answers_searches_and_sends_nothing_costs_no_study_its_attempts(
    script: WebScript, tmp_path: Path
) -> None:
    async with WebWorld.of(tmp_path, STUDIES, script) as world:
        await world.inventory()
        await world.plan()
        running = asyncio.create_task(world.run())
        await told_that_it_is_down(world, times=5)
        assert world.quarantined() == {}
        world.archive.script = WebScript()

        await running

        await world.all_is_there()


async def test_an_archive_that_stops_sending_does_not_cost_the_last_study_its_attempts(
    tmp_path: Path,
) -> None:
    """It is asked for what it has sent before."""
    async with WebWorld.of(tmp_path, STUDIES[:2]) as world:
        world.archive.holdings = Holdings(STUDIES[:1])
        await world.migrate()
        world.archive.holdings = Holdings(STUDIES[:2])
        world.archive.script = WebScript(fails=EVERY)
        await world.inventory()
        await world.plan()
        running = asyncio.create_task(world.run())
        await told_that_it_is_down(world, times=4)
        assert world.quarantined() == {}
        world.archive.script = WebScript()

        await running

        await world.all_is_there()


async def test_studies_that_an_archive_cannot_send_wait_while_it_sends_others(
    tmp_path: Path,
) -> None:
    """A lost disk is no outage, however many studies lay on it, and whichever come first."""
    lost = frozenset(each.sop_instance_uid for study in STUDIES[:-1] for each in study.instances())
    few = {"agent": {"transfers": 1}}
    async with WebWorld.of(tmp_path, STUDIES, WebScript(fails=lost), settings=few) as world:
        async with asyncio.timeout(30):
            await world.migrate()

        assert set(world.quarantined()) == {study.study_instance_uid for study in STUDIES[:-1]}
        assert world.held().keys() == {each.sop_instance_uid for each in STUDIES[-1].instances()}
        await world.explain_everything()
