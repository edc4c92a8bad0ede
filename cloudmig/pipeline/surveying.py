"""Inventory of a source that we look through ourselves: no answer of it can have been cut.

So there is one question and nothing to split. What is no instance is counted by its kind: the third
equation, which the closing statement repeats.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cloudmig.catalog import Catalog, CatalogThread
from cloudmig.catalog.records import Sweep
from cloudmig.model.files import Account, FileTally
from cloudmig.model.study import Answer, StudySummary, UnnamedStudy
from cloudmig.model.window import StudyQuestion
from cloudmig.ports import SurveyedSource
from cloudmig.telemetry import Reporter

__all__ = ["Surveyed", "disagreements_of", "survey_source"]

_SUMMARIES_A_COMMIT = 2000


@dataclass(slots=True)
class Surveyed:
    """What a survey found."""

    studies: int = 0
    dateless: int = 0
    unnamed: int = 0
    tallies: tuple[FileTally, ...] = ()


async def survey_source(
    source: SurveyedSource,
    catalog: CatalogThread,
    sweep: Sweep,
    *,
    reporter: Reporter,
    now: Callable[[], dt.datetime],
) -> Surveyed:
    """Look through the source, and write down every study and how many files are what."""
    survey = await source.survey(reporter)
    found = Surveyed(tallies=survey.tallies)
    seen: dict[int, bool] = {}  # Hash -> has a usable date.
    unnamed: set[int] = set()
    batch: list[StudySummary] = []

    async def write(verdict: str) -> None:
        answer = Answer(StudyQuestion().text, len(seen), verdict)
        await catalog.call(Catalog.record_answer, sweep, answer, batch, now())
        batch.clear()

    async for summary in source.find_studies(StudyQuestion()):
        key = hash(summary.study)
        seen[key] = seen.get(key, False) or summary.study_date is not None
        if isinstance(summary.study, UnnamedStudy):
            unnamed.add(key)
        batch.append(summary)
        if len(batch) >= _SUMMARIES_A_COMMIT:
            await write("failed")  # Not all of it, if we die here.
            reporter.event("inventory.progress", source=source.name, studies=len(seen))
    await write("complete")
    await catalog.call(Catalog.record_tallies, sweep.source, survey.tallies, now())
    found.studies, found.unnamed = len(seen), len(unnamed)
    found.dateless = sum(not dated for dated in seen.values())
    return found


_TELLING = {
    (Account.LISTING, "disagrees"): "rows of the listing disagree with the file they name",
    (Account.LISTING, "elsewhere"): "rows of the listing name a file that is not there; its"
    " instance lies under another name",
    (Account.LISTING, "missing"): "rows of the listing name an instance that is not there",
    (Account.LISTING, "double"): "rows of the listing say what an earlier row says",
    (Account.LISTING, "bad"): "rows of the listing cannot be read",
    (Account.LISTING, "outside"): "rows of the listing lead out of the folder",
    (Account.DICOMDIR, "disagrees"): "records of a DICOMDIR disagree with the file they name",
    (Account.DICOMDIR, "elsewhere"): "records of a DICOMDIR name a file that is not there; its"
    " instance lies under another name",
    (Account.DICOMDIR, "missing"): "records of a DICOMDIR name an instance that is not there",
    (Account.DICOMDIR, "double"): "records of a DICOMDIR say what an earlier one says",
    (Account.DICOMDIR, "bad"): "records of a DICOMDIR, or whole ones, cannot be read",
    (Account.DICOMDIR, "outside"): "records of a DICOMDIR lead out of the folder",
    (Account.NOTES, "not_listed"): "files with images are in no row of the listing",
    (Account.NOTES, "not_in_dicomdir"): "files with images are in no DICOMDIR",
    (Account.NOTES, "gone"): "files are gone since an earlier inventory; their instances are"
    " expected still",
    (
        Account.NOTES,
        "meta_differs",
    ): "files have a group 0002 that names another SOP class or instance"
    " than their data set, which is believed",
    (Account.NOTES, "shared"): "files have a SOP Instance UID that is in another study, too",
}


def disagreements_of(tallies: Sequence[FileTally]) -> list[str]:
    """Say in words, and in counts only, what a listing or a DICOMDIR says and the disk does not."""
    return [
        f"{_TELLING[tally.account, tally.kind]}: {tally.count:,}"
        for tally in tallies
        if (tally.account, tally.kind) in _TELLING
    ]
