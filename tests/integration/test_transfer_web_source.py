"""Out of a DICOMweb archive, whatever it does: nothing is lost, nothing is unexplained."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cloudmig.demo.oddities import conflicting, garbage, renamed, without_images
from cloudmig.demo.pacs.holdings import Holdings
from cloudmig.demo.studies import Study
from cloudmig.errors import SourceError
from tests.contract.web_archive import CANARY, Broken, ScriptedArchive, WebScript
from tests.integration.migration_world import a_study
from tests.integration.web_source_world import WebWorld

ROOT = Path(__file__).parents[2]
STUDIES = [a_study(number, series=(3, 2)) for number in range(1, 6)]
UIDS = [each.sop_instance_uid for each in STUDIES[0].instances()]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudmig.agent.outages._PAUSE_FIRST_S", 0.1)
    monkeypatch.setattr("cloudmig.agent.outages._PAUSE_MAX_S", 0.3)
    monkeypatch.setattr("cloudmig.sources.dicomweb.lanes._BUSY_RESTS_S", (0.01, 0.02, 0.04))


async def test_a_whole_migration_asks_once_for_each_instance(tmp_path: Path) -> None:
    async with WebWorld.of(tmp_path, STUDIES) as world:
        summary = await world.migrate()

        assert (summary.studies_stored, summary.halted) == (5, "")
        await world.all_is_there()
        assert set(world.archive.sent.values()) == {1}
        assert set(world.archive.retrieved) == {
            f"/studies/{study.study_instance_uid}" for study in STUDIES
        }
        assert all("transfer-syntax=*" in accept for accept in world.archive.accepts)


@pytest.mark.parametrize("script", [
    WebScript(page_rows_max=2),
    WebScript(page_rows_max=2, says_more="206"),
    WebScript(page_rows_max=2, says_more="warning", repeats_last_row=True),
    WebScript(xml_only=True, page_rows_max=3),
    WebScript(takes_included=False, included_counts=False),
    WebScript(nothing_is_404=True),
    WebScript(too_broad_at=3),
    WebScript(study_rows_max=2),
    WebScript(ignores_dates=True),
    WebScript(ignores_offset=True),
    WebScript(page_rows_max=1, offset_max=2),
    WebScript(bare_instances=True, part_pause_s=0.01),
    WebScript(strays=2),
], ids=["capped pages", "206", "warning and repeated rows", "xml", "no includes", "404 for nothing",
        "too broad", "silent limit", "dates ignored", "offset ignored", "no far pages", "slow",
        "strays"],
)  # fmt: skip
async def test_habits_that_cost_nothing_but_questions(script: WebScript, tmp_path: Path) -> None:
    async with WebWorld.of(tmp_path, STUDIES, script) as world:
        await world.migrate()

        await world.all_is_there()


async def test_a_search_that_takes_no_wildcard_is_told_and_costs_a_few_questions(
    tmp_path: Path,
) -> None:
    dateless = a_study(8, series=(1,), study_date="")
    script = WebScript(takes_prefixes=False)
    async with WebWorld.of(tmp_path, [*STUDIES, dateless], script) as world:
        result = await world.inventory()

        assert result.studies == 6, "the universal question has it"
        assert "the source refuses every patient ID prefix" in result.disagreements
        assert len(world.archive.searches) < 100


async def test_an_inventory_with_too_many_questions_is_none_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with WebWorld.of(tmp_path, STUDIES, WebScript(too_broad_at=1)) as world:
        monkeypatch.setattr("cloudmig.pipeline.asking._QUESTIONS_MAX", 12)
        with pytest.raises(SourceError, match="more than 12 questions") as caught:
            await world.inventory()
        assert "find_limit" in caught.value.hint
        closing = await world.close()
        assert any("no finished inventory" in each for each in closing.obstacles)
        monkeypatch.undo()

        result = await world.inventory()

        assert result.studies == len(STUDIES)


async def test_an_inventory_that_finds_the_archive_busy_asks_again(tmp_path: Path) -> None:
    async with WebWorld.of(tmp_path, STUDIES) as world:
        world.archive.search_statuses = [429, 503, 0, 429]

        result = await world.inventory()

    assert result.studies == len(STUDIES)


@pytest.mark.parametrize("broken", [
    Broken(how="reset"), Broken(how="ends"), Broken(how="half"), Broken(how="ends", after=0),
    Broken(status=500), Broken(status=503, headers=(("Retry-After", "0"),)), Broken(status=429),
    Broken(status=404), Broken(status=502),
], ids=str)  # fmt: skip
async def test_a_retrieve_that_breaks_off_is_made_up_for(broken: Broken, tmp_path: Path) -> None:
    archive = ScriptedArchive(STUDIES, breaks=[broken] * 2)
    async with WebWorld.of(tmp_path, STUDIES, archive=archive) as world:
        await world.migrate()

        await world.all_is_there()


@pytest.mark.parametrize("statuses", [[503], [500], [429, 429], [0, 0, 0, 0, 503, 500]], ids=str)
async def test_a_search_that_fails_is_asked_again(statuses: list[int], tmp_path: Path) -> None:
    async with WebWorld.of(tmp_path, STUDIES) as world:
        await world.inventory()
        await world.plan()
        world.archive.search_statuses = statuses

        await world.run()

        await world.all_is_there()


@pytest.mark.parametrize("script", [
    WebScript(missing=frozenset(UIDS[1:2])),
    WebScript(deadly=frozenset(UIDS[1:2])),
    WebScript(fails=frozenset(UIDS[1:2])),
], ids=["404", "it breaks off", "500"])  # fmt: skip
async def test_one_instance_that_cannot_be_had_waits_for_a_person_and_no_other(
    script: WebScript, tmp_path: Path
) -> None:
    async with WebWorld.of(tmp_path, STUDIES, script) as world:
        await world.migrate()

        assert world.quarantined() == {STUDIES[0].study_instance_uid: {"missing_instances"}}
        whole = {uid: digests for uid, digests in world.truth().items() if uid != UIDS[1]}
        assert world.held() == whole
        await world.explain_everything()


async def test_one_sent_in_the_place_of_another_is_no_substitute(tmp_path: Path) -> None:
    """The whole study has the other one twice; asked for by name, it is the wrong one."""
    script = WebScript(swapped={UIDS[1]: UIDS[0]})
    async with WebWorld.of(tmp_path, STUDIES, script) as world:
        await world.migrate()

        assert world.quarantined() == {STUDIES[0].study_instance_uid: {"uid_mismatch"}}
        assert UIDS[1] not in world.held()
        await world.explain_everything()


async def test_what_is_no_dicom_is_kept_for_a_person(tmp_path: Path) -> None:
    script = WebScript(no_part10=frozenset(UIDS[1:2]))
    async with WebWorld.of(tmp_path, STUDIES, script) as world:
        await world.migrate()

        assert world.quarantined() == {STUDIES[0].study_instance_uid: {"malformed"}}
        assert "quarantine" in world.held()
        await world.explain_everything()


@pytest.mark.parametrize(("study", "reason"), [
    (garbage(STUDIES[0], 1), "malformed"),
    (renamed(STUDIES[0], 1), "unusable_uid"),
], ids=["garbage", "unusable"])  # fmt: skip
async def test_trouble_of_one_instance_is_named(study: Study, reason: str, tmp_path: Path) -> None:
    async with WebWorld.of(tmp_path, [study, *STUDIES[1:]]) as world:
        await world.migrate()

        assert reason in world.quarantined()[study.study_instance_uid]
        assert set(world.quarantined()) == {study.study_instance_uid}
        await world.explain_everything()


async def test_two_contents_of_one_instance_are_a_conflict(tmp_path: Path) -> None:
    study = conflicting(STUDIES[0], 0)
    async with WebWorld.of(tmp_path, [study, *STUDIES[1:]]) as world:
        await world.migrate()

        assert world.quarantined() == {study.study_instance_uid: {"conflict"}}
        assert world.held() == world.truth()
        await world.explain_everything()


async def test_a_study_without_images_is_excluded_by_name(tmp_path: Path) -> None:
    async with WebWorld.of(tmp_path, [without_images(STUDIES[0]), *STUDIES[1:]]) as world:
        await world.migrate()

        assert world.quarantined() == {}
        closing = await world.explain_everything()
        assert sum(closing.statement.studies.excluded.values()) == 1


@pytest.mark.parametrize("script", [
    WebScript(not_listed=frozenset(UIDS[2:3])),
    WebScript(not_listed=frozenset(UIDS[2:3]), included_counts=False),
    WebScript(wrong_series_rows=True),
    WebScript(knows_path_of=frozenset(study.study_instance_uid for study in STUDIES[1:])),
], ids=["counts more than it lists", "lists less than it sends", "rows of other series",
        "a study it does not know"])  # fmt: skip
async def test_a_list_that_is_not_believed_is_replaced_by_two_equal_pulls(
    script: WebScript, tmp_path: Path
) -> None:
    async with WebWorld.of(tmp_path, STUDIES, script) as world:
        await world.migrate()

        assert world.held() == world.truth()
        assert world.quarantined() == {}
        await world.explain_everything()
        assert max(world.archive.sent.values()) > 1


@pytest.mark.parametrize("by_web", [True, False], ids=["DICOMweb", "DIMSE"])
async def test_a_study_that_is_gone_since_the_inventory_ends_alike_everywhere(
    by_web: bool, tmp_path: Path
) -> None:
    async with WebWorld.of(tmp_path, STUDIES[1:3], beside=STUDIES[3:]) as world:
        await world.inventory_of("pacs")
        await world.inventory()
        await world.plan()
        gone = STUDIES[1 if by_web else 3].study_instance_uid
        left = [each for each in STUDIES if each.study_instance_uid != gone]
        world.archive.holdings = Holdings(left)
        world.pacs._state.holdings = Holdings(left)

        await world.run()

        assert world.quarantined() == {gone: {"nothing_listed"}}
        assert f"/studies/{gone}" not in world.archive.retrieved, "it is not asked for blindly"
        await world.explain_everything()


@pytest.mark.parametrize("script", [
    WebScript(included_counts=False), WebScript(included_counts=False, nothing_is_404=True),
    WebScript(included_counts=False, unknown_is_empty=True),
], ids=["404", "404 for nothing", "empty, as Orthanc"])  # fmt: skip
async def test_a_study_that_is_gone_is_no_study_without_images(
    script: WebScript, tmp_path: Path
) -> None:
    """Nobody said how many instances it had."""
    async with WebWorld.of(tmp_path, STUDIES[:2], script) as world:
        await world.inventory()
        await world.plan()
        world.archive.holdings = Holdings(STUDIES[1:2])

        await world.run()

        assert world.quarantined() == {STUDIES[0].study_instance_uid: {"nothing_listed"}}


async def test_an_archive_that_would_convert_halts_the_run_and_says_so(tmp_path: Path) -> None:
    async with WebWorld.of(tmp_path, STUDIES, WebScript(takes_any_syntax=False)) as world:
        summary = await world.migrate()

        assert "406" in summary.halted
        assert "as_stored" in summary.hint
        assert world.held() == {}
        assert world.quarantined() == {}


async def test_what_may_be_converted_is_taken_when_a_person_says_so(tmp_path: Path) -> None:
    script = WebScript(takes_any_syntax=False)
    async with WebWorld.of(tmp_path, STUDIES, script, web={"as_stored": False}) as world:
        await world.migrate()

        await world.all_is_there()


async def test_a_source_that_does_not_know_us_halts_and_studies_stay_planned(
    tmp_path: Path,
) -> None:
    archive = ScriptedArchive(STUDIES)
    async with WebWorld.of(tmp_path, STUDIES, archive=archive) as world:
        await world.inventory()
        await world.plan()
        archive.tokens = {"something else"}

        summary = await world.run()

        assert "401" in summary.halted
        assert "credentials" in summary.hint
        assert CANARY not in summary.halted
        assert set(world.states().values()) == {"planned"}


async def test_an_expired_token_is_renewed_in_the_middle(tmp_path: Path) -> None:
    archive = ScriptedArchive(STUDIES, tokens={"unknown to us"})
    async with archive.running():
        token_url = archive.url.replace("/dicom-web", "/token")
        port = archive.port
    archive.port = port
    who = {"token_url": token_url, "client_id": "agent", "client_secret": "secret"}
    async with WebWorld.of(tmp_path, STUDIES, archive=archive, credentials=who) as world:
        await world.inventory()
        await world.plan()
        archive.script = replace(archive.script, part_pause_s=0.05)
        running = asyncio.create_task(world.run())
        async with asyncio.timeout(20):
            while not archive.sent:
                await asyncio.sleep(0.01)
        archive.tokens = {"another one"}  # Whatever was given out before is worth nothing now.
        await running

        await world.all_is_there()
        assert archive.token_requests >= 3


async def test_studies_of_a_pacs_and_of_a_web_archive_share_one_catalog(tmp_path: Path) -> None:
    theirs = [a_study(number, series=(2,), modality="MR") for number in range(11, 14)]
    async with WebWorld.of(tmp_path, STUDIES, beside=theirs) as world:
        await world.inventory_of("pacs")
        await world.migrate()

        await world.all_is_there()
        closing = await world.close()
        assert closing.statement.studies.inventory == len(STUDIES) + len(theirs)
    folders = {path.name for path in (tmp_path / "store" / "v1").iterdir()}
    assert folders == {"main", "pacs"}


async def test_killed_in_the_middle_it_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    script = WebScript(part_pause_s=0.05)
    async with WebWorld.of(tmp_path, STUDIES, script, settings={"agent": {"lease_s": 2}}) as world:
        await world.inventory()
        await world.plan()
        process = subprocess.Popen(
            [sys.executable, "-m", "cloudmig", "--config", str(world.config), "run"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        try:
            async with asyncio.timeout(60):
                while sum(world.archive.sent.values()) < 8:
                    assert process.poll() is None
                    await asyncio.sleep(0.01)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert world.held() != world.truth()

        await world.run()

        await world.all_is_there()
        assert world.spooled() == []


async def test_cancelled_in_the_middle_it_leaves_nothing_behind(tmp_path: Path) -> None:
    archive = ScriptedArchive(STUDIES, hold=None)
    async with WebWorld.of(tmp_path, STUDIES, archive=archive) as world:
        await world.inventory()
        await world.plan()
        archive.script = WebScript(part_pause_s=0.2)
        running = asyncio.create_task(world.run())
        async with asyncio.timeout(20):
            while not archive.sent:
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()
        archive.script = WebScript()

        await world.run()

        await world.all_is_there()
        assert world.spooled() == []
