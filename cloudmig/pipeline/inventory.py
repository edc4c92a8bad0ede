"""Sweep a source until no answer can have been cut (field experience: limits are silent).

A limit cuts every larger answer to the same count. So only an answer as large as the largest
one seen, or of a known or round size, can have been cut; those are split, by date, then time, then
patient ID prefix, until none is left. Studies without a usable date are in no date window:
whenever the universal question and the date windows do not agree exactly, or the former with
itself when it is asked again, a second sweep by patient ID prefix goes over everything. What was
asked and answered stays in the catalog, and an interrupted sweep goes on.
"""

from __future__ import annotations

import datetime as dt
import string
from collections.abc import Callable
from dataclasses import dataclass, replace

from cloudmig.catalog import Catalog, CatalogThread
from cloudmig.catalog.records import Sweep
from cloudmig.config import SourceSettings
from cloudmig.errors import QueryTruncated
from cloudmig.model.files import FileTally
from cloudmig.model.window import DateWindow, StudyQuestion
from cloudmig.pipeline.answers import is_round
from cloudmig.pipeline.asking import Asked, SweepRun, ask, ask_or_none, can_be_cut, remember
from cloudmig.pipeline.surveying import disagreements_of, survey_source
from cloudmig.ports import InventorySource, SurveyedSource
from cloudmig.telemetry import Reporter

__all__ = ["InventoryResult", "take_inventory"]

_LAST_DAY = dt.date(2099, 12, 31)  #: Clocks of modalities run ahead; some stand in another century.
_PREFIX_CHARS = string.digits + string.ascii_uppercase
_PREFIX_CHARS_RARE = string.ascii_lowercase + "-_./+#&"
_PREFIX_MAX = 16
_UNNAMED = (
    "studies without a usable Study Instance UID: {}; they cannot be asked for and are in"
    " quarantine: correct them in the PACS, or keep them there"
)
_BEYOND = (
    "studies in answers that may be cut, and in no narrower one: {}; there may be more like them"
)
_AGAIN_MAX = 3  #: Where studies arrive all the time, no answer is the last.
#: Date windows refused in a row, none answered: 200 years halved so often are two weeks, so the
#: source does not refuse them for being broad; it takes no date range at all.
_DATES_REFUSED_MAX = 12
#: The same for patient ID prefixes, each a character longer: no archive has so many that share 12.
_PREFIXES_REFUSED_MAX = 12


@dataclass(frozen=True, slots=True)
class InventoryResult:
    """What one sweep found, and how sure it is."""

    source: str
    studies: int  #: Unnamed ones included.
    questions: int
    splits: int
    #: Studies the universal question answered; None where it may not be asked, or never settled.
    universal: int | None
    limit_found: int | None  #: The silent result limit, where one showed.
    dateless: int  #: Studies without a usable date.
    unnamed: int  #: Studies without a usable Study Instance UID: they wait for a person.
    disagreements: tuple[str, ...]
    duration_s: float
    files: tuple[FileTally, ...] = ()  #: Of a disk: how many entries are what.


async def take_inventory(
    source: InventorySource,
    catalog: CatalogThread,
    *,
    settings: SourceSettings,
    reporter: Reporter,
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
) -> InventoryResult:
    """Ask the source for all its studies; return what was found. Resumes an unfinished sweep."""
    started = now()
    sweep = await catalog.call(Catalog.begin_sweep, source.name, started)
    if isinstance(source, SurveyedSource):
        return await _by_survey(source, catalog, sweep, reporter, now)
    answered = dict(await catalog.call(Catalog.answered, sweep))
    run = SweepRun(source, catalog, settings, reporter, now, sweep, answered)
    if answered:
        await remember(run)
    everything = await _universal(run)
    universal = None if everything is None else everything.count
    await _by_date(run)
    # Two answers cut by one limit agree, too: where dates are ignored, agreement proves nothing.
    told = everything.studies if everything is not None else set()
    whole = universal == len(run.by_date) == len(run.found) and not run.ignored
    if whole:
        universal = await _again(run)
    if not whole or universal is None:
        await _by_patient(run, told)
    if run.unanswered or not run.answers:
        # Nobody knows what lies behind it: no inventory, so nothing can be closed on it.
        raise QueryTruncated(
            f"the source does not answer {run.unanswered or run.questions} questions to their end,"
            f" and none can be narrower; {len(run.found)} studies were found all the same",
            hint="allow more answers to one query at the source, then take the inventory again",
        )
    return await _finish(run, universal, started)


async def _finish(run: SweepRun, universal: int | None, started: dt.datetime) -> InventoryResult:
    """Say what does not fit together, and write down that the sweep is done."""
    if universal is not None and universal < len(run.found):
        run.limit = run.limit or universal
        run.disagreements.append(
            f"the universal question answered {universal} of {len(run.found)} studies:"
            " the source cuts its answers without a word"
        )
    if run.beyond:
        run.disagreements.append(_BEYOND.format(len(run.beyond)))
    if run.unnamed:
        run.disagreements.append(_UNNAMED.format(len(run.unnamed)))
    dateless = sum(not dated for dated in run.found.values())
    notes = {
        "studies": len(run.found), "universal": universal, "limit": run.limit,
        "dateless": dateless, "unnamed": len(run.unnamed), "disagreements": run.disagreements,
    }  # fmt: skip
    await run.catalog.call(Catalog.finish_sweep, run.sweep, run.now(), notes)
    return InventoryResult(
        source=run.source.name,
        studies=len(run.found),
        questions=run.questions,
        splits=run.splits,
        universal=universal,
        limit_found=run.limit,
        dateless=dateless,
        unnamed=len(run.unnamed),
        disagreements=tuple(run.disagreements),
        duration_s=(run.now() - started).total_seconds(),
    )


async def _by_survey(
    source: SurveyedSource,
    catalog: CatalogThread,
    sweep: Sweep,
    reporter: Reporter,
    now: Callable[[], dt.datetime],
) -> InventoryResult:
    """Ask once: what we have seen ourselves was not cut by anybody."""
    started = now()
    found = await survey_source(source, catalog, sweep, reporter=reporter, now=now)
    said = [_UNNAMED.format(found.unnamed)] if found.unnamed else []
    said += disagreements_of(found.tallies)
    notes = {
        "studies": found.studies, "universal": found.studies, "limit": None,
        "dateless": found.dateless, "unnamed": found.unnamed, "disagreements": said,
    }  # fmt: skip
    await catalog.call(Catalog.finish_sweep, sweep, now(), notes)
    return InventoryResult(
        source=source.name,
        studies=found.studies,
        questions=1,
        splits=0,
        universal=found.studies,
        limit_found=None,
        dateless=found.dateless,
        unnamed=found.unnamed,
        disagreements=tuple(said),
        duration_s=(now() - started).total_seconds(),
        files=found.tallies,
    )


async def _universal(run: SweepRun) -> Asked | None:
    if not run.settings.universal_query:
        return None
    try:
        return await ask(run, StudyQuestion())
    except QueryTruncated as error:
        run.disagreements.append(f"the universal question is not answered: {error}")
        return None


async def _again(run: SweepRun) -> int | None:
    """Ask the universal question until it names what is known and no more; return their number.

    None where it never does. A source that leaves out now this study, now that one, agrees with
    itself by chance; only a question asked twice gives it away. What arrived meanwhile, too, is
    found so.
    """
    for _ in range(_AGAIN_MAX):
        known = set(run.found)
        try:
            asked = await ask(run, StudyQuestion(), again=True)
        except QueryTruncated as error:
            run.disagreements.append(f"the universal question is not answered again: {error}")
            return None
        if left_out := len(known - asked.studies):
            run.disagreements.append(
                f"the universal question, asked again, left out {left_out} of {len(known)}"
                " studies: they were removed meanwhile, or the source does not answer alike, and"
                " there may be more"
            )
            return None
        if asked.studies == known:
            return asked.count
    run.disagreements.append(
        f"the universal question, asked {_AGAIN_MAX} times again, named further studies each time:"
        " take the inventory again when fewer arrive"
    )
    return None


async def _by_date(run: SweepRun) -> None:
    first = min(run.settings.inventory_from, _LAST_DAY)
    await _sweep_dates(run, StudyQuestion(DateWindow(first, _LAST_DAY)), parent="")
    dated = {key for key, has_date in run.found.items() if has_date}
    if dated - run.by_date:
        run.ignored.add("StudyDate")
        run.disagreements.append(
            f"{len(dated - run.by_date)} dated studies were in no answer to a date range"
        )


async def _sweep_dates(run: SweepRun, question: StudyQuestion, parent: str) -> set[int]:
    """Ask one window; split it while its answer may have been cut. Return all it brought."""
    assert question.dates is not None
    if "StudyDate" in run.ignored:
        return set()  # Splitting by an ignored key leads nowhere; the other sweep covers it.
    asked = await ask_or_none(run, question, parent)
    if asked is None and run.dates_refused >= 0:
        run.dates_refused += 1
        if run.dates_refused >= _DATES_REFUSED_MAX:
            run.ignored.add("StudyDate")
            run.disagreements.append("the source refuses every date range")
    if asked is not None:
        run.dates_refused = -1
        run.by_date |= asked.studies
        if asked.outside > max(1, asked.count // 2):  # One may be indexed under another day.
            run.ignored.add("StudyDate")
        if asked.before or not can_be_cut(run, question, asked.count):
            return asked.studies
    told = asked.studies if asked is not None else set()
    if "StudyDate" in run.ignored:
        return told
    run.splits += 1
    parts = question.halves()
    covered, before = len(run.by_date), run.before
    reached: set[int] = set()
    for part in parts or ():
        reached |= await _sweep_dates(run, part, question.text)
    if not parts or (question.times is None and question.dates.halves() is None):
        # Studies without a time are in no time window.
        reached |= await _sweep_patients(run, question, "", question.text)
        _note_beyond(run, question, told - reached, before)
        run.unanswered += asked is None and not (parts and (reached or run.before > before))
    if asked is not None and len(run.by_date) > covered:
        run.limit = run.limit or asked.count
    assert told <= run.by_date
    return told | reached


async def _by_patient(run: SweepRun, universal: set[int]) -> None:
    """Go over everything again by patient ID prefix: it finds what no date window holds."""
    before = run.before
    reached = await _sweep_patients(run, StudyQuestion(), "", "universal")
    if len(universal) < len(run.found) or is_round(len(universal)):
        _note_beyond(run, StudyQuestion(), universal - reached, before)


async def _sweep_patients(
    run: SweepRun, question: StudyQuestion, prefix: str, parent: str
) -> set[int]:
    """Ask for each patient ID that begins so, by its next character. Return all it brought."""
    reached: set[int] = set()
    for char in _PREFIX_CHARS + _PREFIX_CHARS_RARE:
        if "PatientID" in run.ignored:
            break
        longer = replace(question, patient_id_prefix=prefix + char)
        asked = await ask_or_none(run, longer, parent)
        if asked is None and run.prefixes_refused >= 0:
            run.prefixes_refused += 1
            if run.prefixes_refused >= _PREFIXES_REFUSED_MAX:
                run.ignored.add("PatientID")
                run.disagreements.append("the source refuses every patient ID prefix")
        if asked is not None:
            run.prefixes_refused = -1
            reached |= asked.studies
            if question.dates is not None:
                run.by_date |= asked.studies
            if asked.outside > asked.count // 2 and asked.outside > 1:
                run.disagreements.append("the source ignores a patient ID prefix")
                break
            if asked.before or not can_be_cut(run, longer, asked.count):
                continue
        if len(prefix) + 1 >= _PREFIX_MAX:
            run.unanswered += asked is None
            if asked is not None:  # Whose IDs is not told: so many characters may be all of one.
                run.disagreements.append("an answer to one patient ID may be cut")
            continue
        run.splits += 1
        before = run.before
        below = await _sweep_patients(run, question, prefix + char, longer.text)
        if asked is not None:
            _note_beyond(run, question, asked.studies - below, before)
        reached |= below
    return reached


def _note_beyond(run: SweepRun, question: StudyQuestion, left: set[int], before: int) -> None:
    """Note what only an answer that may be cut named: there may be more that none names.

    It may have been in answers that an interrupted sweep had got: how many they held is known.
    """
    if question.dates is None and "StudyDate" not in run.ignored:
        left = left - run.by_date  # The date windows have all that is like it.
    if len(left) > run.before - before:
        run.beyond |= left
