"""One question of a sweep: asked, its answer written down, and what it gives away."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field

from cloudmig.catalog import Catalog, CatalogThread
from cloudmig.catalog.records import Sweep
from cloudmig.config import SourceSettings
from cloudmig.errors import QueryTruncated, SourceError
from cloudmig.model.references import StudyRef
from cloudmig.model.study import Answer, StudySummary, UnnamedStudy
from cloudmig.model.window import DateWindow, StudyQuestion
from cloudmig.pipeline.answers import is_outside, may_be_cut, window_of
from cloudmig.ports import InventorySource
from cloudmig.telemetry import Reporter

__all__ = ["Asked", "SweepRun", "ask", "ask_or_none", "can_be_cut", "remember"]

_SUMMARIES_A_COMMIT = 2000
_QUESTIONS_MAX = 200_000


@dataclass(slots=True)
class Asked:
    """The answer to one question, as far as the sweep needs it."""

    count: int  #: Distinct studies.
    studies: set[int]  #: Hashes of their references.
    outside: int = 0  #: Answers that do not match the question: its key was ignored.
    before: bool = False  #: An interrupted sweep had asked it; it was complete.


@dataclass(slots=True)
class SweepRun:
    """One sweep while it runs."""

    source: InventorySource
    catalog: CatalogThread
    settings: SourceSettings
    reporter: Reporter
    now: Callable[[], dt.datetime]
    sweep: Sweep
    answered: dict[str, Answer]
    found: dict[int, bool] = field(default_factory=dict)  #: Hash -> has a usable date.
    unnamed: set[int] = field(default_factory=set)  #: Of those, what has no usable UID.
    by_date: set[int] = field(default_factory=set)
    largest: int = 0
    limit: int | None = None
    questions: int = 0
    answers: int = 0  #: Questions that were answered to their end, now or before.
    unanswered: int = 0  #: Questions that never were, and that cannot be asked more narrowly.
    splits: int = 0
    dates_refused: int = 0  #: In a row, before the first that was answered; then -1.
    prefixes_refused: int = 0  #: The same of patient ID prefixes.
    ignored: set[str] = field(default_factory=set)  #: Keys that the source ignores or refuses.
    undated_in: dict[int, DateWindow] = field(default_factory=dict)  #: The last window of each.
    before: int = 0  #: Studies in answers that an interrupted sweep had got.
    beyond: set[int] = field(default_factory=set)  #: In no answer but one that may be cut.
    disagreements: list[str] = field(default_factory=list)


async def remember(run: SweepRun) -> None:
    """Take up what an interrupted sweep had found."""
    after: int | None = None
    windows = [
        window for text, answer in run.answered.items()
        if answer.verdict == "complete" and (window := window_of(text)) is not None
    ]  # fmt: skip

    def take_up(study: StudyRef | UnnamedStudy, study_date: dt.date | None) -> None:
        key = hash(study)
        run.found[key] = study_date is not None
        if study_date and any(study_date in window for window in windows):
            run.by_date.add(key)

    while page := await run.catalog.call(Catalog.studies, run.source.name, after=after):
        for each in page:
            take_up(each.study, each.study_date)
        after = page[-1].study_id
    for row in await run.catalog.call(Catalog.unnamed_studies, run.source.name, sweep=run.sweep):
        take_up(row.study, row.study_date)
        run.unnamed.add(hash(row.study))
    whole = (each.answered for each in run.answered.values() if each.verdict != "failed")
    run.largest = max(whole, default=0)


def can_be_cut(run: SweepRun, question: StudyQuestion, count: int) -> bool:
    """Say whether a limit, known or not, may have cut this answer."""
    limits = [each for each in (run.settings.find_limit, run.limit) if each is not None]
    return may_be_cut(question, count, limit=min(limits, default=None), largest=run.largest)


async def ask_or_none(run: SweepRun, question: StudyQuestion, parent: str) -> Asked | None:
    """Ask; None when the source refuses the question as too broad, so that it is split."""
    try:
        return await ask(run, question, parent)
    except QueryTruncated:
        return None


async def ask(
    run: SweepRun, question: StudyQuestion, parent: str = "", *, again: bool = False
) -> Asked:
    """Ask, once a sweep unless `again`, and write down every study with the evidence."""
    text = f"{question.text}, again" if again else question.text
    done = None if again else run.answered.get(text)
    if done is not None and done.verdict == "complete":
        run.answers += 1
        run.before += done.answered
        return Asked(done.answered, set(), before=True)
    if run.questions >= _QUESTIONS_MAX:
        raise SourceError(f"more than {_QUESTIONS_MAX} questions", hint="set find_limit")
    run.questions += 1
    asked = Asked(0, set())
    batch: list[StudySummary] = []

    async def record(verdict: str) -> None:
        answer = Answer(text, len(asked.studies), verdict, parent)
        await run.catalog.call(Catalog.record_answer, run.sweep, answer, batch, run.now())
        batch.clear()

    try:
        async for summary in run.source.find_studies(question):
            key = hash(summary.study)
            if isinstance(summary.study, UnnamedStudy):
                run.unnamed.add(key)
            asked.studies.add(key)
            asked.outside += is_outside(question, summary, run.undated_in)
            run.found[key] = run.found.get(key, False) or summary.study_date is not None
            batch.append(summary)
            if len(batch) >= _SUMMARIES_A_COMMIT:
                await record("failed")
    except QueryTruncated:
        await record("failed")  # What it told before it gave up is there all the same.
        raise
    run.answers += 1
    asked.count = len(asked.studies)
    cut = can_be_cut(run, question, asked.count) and question != StudyQuestion()
    await record("split" if cut else "complete")
    run.largest = max(run.largest, asked.count)
    run.reporter.event(
        "inventory.progress",
        source=run.source.name,
        question=question.text if question.patient_id_prefix is None else "by patient ID prefix",
        answered=asked.count,
        studies=len(run.found),
        questions=run.questions,
    )
    return asked
