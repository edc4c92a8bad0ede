"""An inventory finds every study, whatever the PACS leaves out without a word."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cloudmig.bootstrap import Parts
from cloudmig.cli import close
from cloudmig.demo.oddities import two_patients, without_images
from cloudmig.demo.pacs import Script
from cloudmig.demo.studies import Study, StudyMaker
from cloudmig.errors import QueryTruncated
from cloudmig.model.study import StudySummary
from cloudmig.model.window import StudyQuestion
from cloudmig.pipeline.inventory import InventoryResult, take_inventory
from cloudmig.telemetry import Pseudonyms
from tests.integration.migration_world import TODAY, World, a_study

STUDIES = StudyMaker(TODAY, seed=3, instances_per_series_max=1).archive(60)
DATELESS = sum(1 for study in STUDIES if not study.study_date or study.study_date == "20130231")

LONG_ID = replace(STUDIES[0].patient, patient_id="CANARY01")
#: So that nobody has to ask for sixteen characters.
FEW = ("cloudmig.pipeline.inventory._PREFIX_MAX", 4)


def found(world: World) -> set[str]:
    with world.catalog() as catalog:
        return {each.study.study_instance_uid for each in catalog.studies(limit=10_000)}


def held(studies: tuple[Study, ...] | list[Study]) -> set[str]:
    return {study.study_instance_uid for study in studies}


@pytest.mark.parametrize(
    "script",
    [
        Script(),
        Script(study_limit=7),
        Script(study_limit=13),
        Script(study_limit=37),
        Script(study_limit=50),
        Script(study_limit=59),
        Script(study_limit=20, limit_is_refused=True),
        Script(ignores_dates=True),
        Script(ignores_dates=True, study_limit=37),
        Script(study_limit=37, answers_twice=True),
        Script(study_limit=37, optional_counts=False, character_set_told=False),
    ],
    ids=lambda script: script.to_json(),
)
async def test_every_study_is_found(script: Script, tmp_path: Path) -> None:
    world = World(tmp_path, STUDIES, script)
    with world.serving():
        result = await world.inventory()

    assert found(world) == held(STUDIES)
    assert result.studies == len(STUDIES)
    assert result.dateless == DATELESS
    if script.study_limit and not script.limit_is_refused:
        assert result.limit_found is not None
        assert result.disagreements


async def test_a_busy_day_is_split_by_time_and_by_patient(tmp_path: Path) -> None:
    busy = [
        replace(study, study_date="20200101", study_time="" if n % 9 == 0 else study.study_time)
        for n, study in enumerate(STUDIES[:40])
    ]
    world = World(tmp_path, busy, Script(study_limit=5))
    with world.serving():
        await world.inventory()

    assert found(world) == held(busy)


async def test_one_uid_of_two_patients_is_one_study_with_both_answers(tmp_path: Path) -> None:
    one, other = two_patients(a_study(1))
    world = World(tmp_path, [one, other, without_images(a_study(2))])
    with world.serving():
        await world.inventory()

    with world.catalog() as catalog:
        rows = {each.study.study_instance_uid: each for each in catalog.studies()}
    assert rows.keys() == held([one, a_study(2)])
    assert rows[one.study_instance_uid].patients == 2
    assert rows[one.study_instance_uid].answers == 2


@pytest.mark.parametrize("questions", [3, 15])
async def test_an_interrupted_inventory_goes_on_where_it_was(
    questions: int, tmp_path: Path
) -> None:
    world = World(tmp_path, STUDIES, Script(study_limit=13))

    with world.serving():
        whole = await world.inventory()
        with world.catalog() as catalog:
            assert catalog.coverage("main").last_finished_at is not None
        asked_before = len(world.pacs.counters.queries)
        with pytest.raises(InterruptedError):
            await world.inventory(questions_max=questions)
        refused = await world.close()
        assert any("unfinished" in each for each in refused.obstacles)
        again = await world.inventory()
        asked = len(world.pacs.counters.queries) - asked_before

    assert found(world) == held(STUDIES)
    assert again.studies == whole.studies
    # What was answered whole is not asked again.
    assert asked <= whole.questions + questions


async def test_the_catalog_keeps_what_was_asked_and_answered(tmp_path: Path) -> None:
    world = World(tmp_path, STUDIES, Script(study_limit=37))
    with world.serving():
        result = await world.inventory()

    with world.catalog() as catalog:
        coverage = catalog.coverage("main")
    assert coverage.questions == result.questions
    assert coverage.splits == result.splits > 0
    assert coverage.failed == 0
    assert coverage.universal_count == 37
    assert coverage.studies == len(STUDIES)
    assert (coverage.first_date, coverage.last_date) != (None, None)


async def test_a_pacs_that_goes_away_in_mid_sweep_costs_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, STUDIES, Script(study_limit=37))
    with world.serving():
        task = asyncio.create_task(world.inventory())
        async with asyncio.timeout(20):
            while len(world.pacs.counters.queries) < 5:
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await world.inventory()

    assert found(world) == held(STUDIES)


async def test_answers_that_name_no_study_are_said_aloud(tmp_path: Path) -> None:
    nameless = replace(a_study(1), study_instance_uid="../../x")
    world = World(tmp_path, [nameless, a_study(2)])
    with world.serving():
        result = await world.inventory()

    assert (result.studies, result.unnamed) == (2, 1)
    assert any("without a usable Study Instance UID" in each for each in result.disagreements)
    with world.catalog() as catalog:
        [finished] = [each for each in catalog.ledger() if each.kind == "sweep_finished"]
    assert finished.detail["unnamed"] == 1


async def test_what_nobody_can_ask_for_more_narrowly_is_no_inventory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*FEW)
    alike = [replace(a_study(n), study_date="", patient=LONG_ID) for n in (1, 2, 3)]
    world = World(tmp_path, alike, Script(study_limit=2, limit_is_refused=True))
    with world.serving():
        with pytest.raises(QueryTruncated, match="to their end") as refused:
            await world.inventory()
        closing = await world.close()

    assert refused.value.hint
    assert any("no finished inventory" in each for each in closing.obstacles)


async def test_a_patient_id_is_in_no_disagreement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*FEW)
    alike = [replace(a_study(n), study_date="", patient=LONG_ID) for n in (1, 2, 3)]
    world = World(tmp_path, [*alike, a_study(4)], Script(study_limit=2))
    with world.serving():
        result = await world.inventory()

    assert any("may be cut" in each for each in result.disagreements)
    assert not any("CANA" in each for each in result.disagreements)


async def test_studies_told_before_an_answer_breaks_off_are_kept(tmp_path: Path) -> None:
    world = World(tmp_path, STUDIES, Script(study_limit=37))
    with world.serving():
        async with world.opened() as parts:
            source = parts.sources["main"]
            ask = source.find_studies

            async def gives_up(question: StudyQuestion) -> AsyncIterator[StudySummary]:
                async for summary in ask(question):
                    yield summary
                raise QueryTruncated("C-FIND ended with A700")

            source.find_studies = gives_up  # type: ignore[method-assign]
            with pytest.raises(QueryTruncated, match="studies were found all the same"):
                await take_inventory(
                    source,
                    parts.catalog,
                    settings=parts.config.sources["main"],
                    reporter=world.reporter,
                )
        closing = await world.close()

    assert len(found(world)) >= 37
    assert closing.refused


async def test_what_did_not_fit_together_is_on_the_closing_statement(tmp_path: Path) -> None:
    """Everything that was found is explained, and a person has to judge what was not."""
    world = World(tmp_path, STUDIES[:6], Script(study_limit=4, image_find=False))
    with world.serving():
        result = await world.inventory()
        await world.plan()
        await world.run()
    closing = await world.explain_everything()
    [said] = result.disagreements
    assert "cuts its answers without a word" in said

    both = [said, "listing instances: no IMAGE-level answers (studies: 6)"]
    assert closing.disagreements == {"main": both}
    document = close.document(closing, Pseudonyms(b"k" * 32))
    assert document["disagreements"] == {"main": both}
    page = closing.report.read_text()
    assert page.index("It may hold more than that") < page.index(both[0]) < page.index(both[1])
    shown = subprocess.run(
        [sys.executable, "-m", "cloudmig", "--config", str(world.config), "close"],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "200"},
    ).stdout  # fmt: skip
    assert f"  ! {said}" in shown
    assert "nothing unexplained of what the sources named" in shown


async def test_where_all_fits_together_the_closing_statement_says_so(tmp_path: Path) -> None:
    world = World(tmp_path, [a_study(1, series=(1,))])
    with world.serving():
        await world.migrate()

    closing = await world.explain_everything()

    assert closing.disagreements == {}
    page = closing.report.read_text()
    assert "fit together in the inventory</h2><p class=legend>none" in page


@contextlib.asynccontextmanager
async def served(world: World) -> AsyncIterator[Parts]:
    with world.serving():
        async with world.opened() as parts:
            yield parts


async def _swept(world: World, limit: int, told: Sequence[Told]) -> InventoryResult:
    """Take the inventory of a PACS that cuts every answer to `limit` without a word."""
    return await _swept_by(
        world, lambda question: [each for each in told if each.matches(question)][:limit]
    )


async def _swept_by(
    world: World, answers: Callable[[StudyQuestion], Sequence[Told]]
) -> InventoryResult:
    async with served(world) as parts:
        source = parts.sources["main"]

        async def find(question: StudyQuestion) -> AsyncIterator[StudySummary]:
            for each in answers(question):
                yield each.summary

        source.find_studies = find  # type: ignore[method-assign, assignment]
        settings = parts.config.sources["main"]
        return await take_inventory(
            source, parts.catalog, settings=settings, reporter=world.reporter
        )


@dataclass(frozen=True)
class Told:
    """A study as a PACS finds it, and the date that it tells."""

    number: int
    day: dt.date
    date_told: str
    patient_id: str = ""

    def matches(self, question: StudyQuestion) -> bool:
        prefix = question.patient_id_prefix
        return (
            (question.dates is None or self.day in question.dates)
            and question.times is None  # None has a time.
            and (prefix is None or self.patient_id.startswith(prefix))
        )

    @property
    def summary(self) -> StudySummary:
        answer = {
            "StudyInstanceUID": f"1.2.{self.number}",
            "StudyDate": self.date_told,
            "PatientID": self.patient_id,
        }
        return StudySummary.of_answer(answer, instances_claimed=1, patient_key=lambda *_: "key")


DAYS = [dt.date(2015, 1, 1) + dt.timedelta(days=3 * n) for n in range(60)]


@pytest.mark.parametrize("date_told", ["2015-02-03", "20160204", ""])
async def test_one_date_told_otherwise_does_not_end_the_sweep_by_date(
    date_told: str, tmp_path: Path
) -> None:
    told = [Told(n, day, f"{day:%Y%m%d}", "山田") for n, day in enumerate(DAYS)]
    told[11] = replace(told[11], date_told=date_told)

    result = await _swept(World(tmp_path, []), 20, told)

    assert result.studies == len(told)


@pytest.mark.parametrize("patient_id", ["", "山田", "P1"])
async def test_what_no_narrower_question_brings_is_said_aloud(
    patient_id: str, tmp_path: Path
) -> None:
    """Sixty studies of one day, without a time, and no two patient IDs to tell them apart."""
    told = [Told(n, DAYS[0], "20150101", patient_id) for n in range(60)]

    result = await _swept(World(tmp_path, []), 20, told)

    assert result.studies == 20
    [said] = result.disagreements
    assert "may be cut, and in no narrower one: 20" in said


@pytest.mark.parametrize(
    ("hidden", "universal", "said"),
    [
        ([1, 0, 0], 10, ()),  # As where one arrived meanwhile.
        ([1, 0, 1], None, ("left out 1 of 10 studies",)),
        ([0, 1], None, ("left out 1 of 10 studies",)),
        ([3, 2, 1, 0], None, ("named further studies each time",)),
    ],
)
async def test_a_source_that_does_not_answer_alike_is_found_out(
    hidden: list[int], universal: int | None, said: tuple[str, ...], tmp_path: Path
) -> None:
    """Of ten studies the last ones have neither date nor patient ID, and show only at times."""
    dated = [Told(n, day, f"{day:%Y%m%d}", f"P{n}") for n, day in enumerate(DAYS[:7])]
    told = [*dated, *(Told(n, dt.date(1900, 1, 1), "") for n in range(7, 10))]
    turns = iter(hidden)
    # The dateless are in the first window: what the first answer shows, the windows show, too.
    shown = told[: len(told) - hidden[0]]

    def answers(question: StudyQuestion) -> list[Told]:
        if question == StudyQuestion():
            return told[: len(told) - next(turns)]
        return [each for each in shown if each.matches(question)]

    result = await _swept_by(World(tmp_path, []), answers)

    assert result.studies == 10
    assert result.universal == universal
    assert len(result.disagreements) == len(said)
    for line, part in zip(result.disagreements, said, strict=True):
        assert part in line
    assert next(turns, None) is None, "it was asked so often, and no more"
