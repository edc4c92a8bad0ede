"""What the answer to one question of an inventory gives away, by itself and beside the others."""

from __future__ import annotations

import datetime as dt

from cloudmig.model.study import StudySummary
from cloudmig.model.window import DateWindow, StudyQuestion

__all__ = ["is_outside", "is_round", "may_be_cut", "window_of"]


def is_round(count: int) -> bool:
    """Say whether somebody may have chosen this number for a limit."""
    return count >= 50 and (count % 50 == 0 or count & (count - 1) == 0)


def may_be_cut(question: StudyQuestion, count: int, *, limit: int | None, largest: int) -> bool:
    """Say whether this many answers can be the work of a limit.

    `limit` is the lowest that is known, `largest` the largest number answered so far.
    """
    if count == 0:
        return False
    if limit is not None and count >= limit:
        return True
    if question.dates is not None and question.dates.halves() is None and count < largest:
        return count >= 100 and is_round(count)
    return (count >= largest and count > 1) or is_round(count)


def is_outside(
    question: StudyQuestion, summary: StudySummary, undated_in: dict[int, DateWindow]
) -> bool:
    """Say whether an answer is none to its question: optional keys are ignored, ranges misread.

    A study with a date that is no day, or none, may be in one window; `undated_in` remembers in
    which. Where it is in another, too, dates are no key.
    """
    day, dates = summary.study_date, question.dates
    if dates is not None and day is not None and day not in dates:
        return True
    if dates is not None and day is None:
        before = undated_in.get(hash(summary.study), dates)
        undated_in[hash(summary.study)] = dates
        if before.last < dates.first or dates.last < before.first:
            return True
    prefix = question.patient_id_prefix
    patient_id = summary.answer.get("PatientID", "")
    return prefix is not None and not patient_id.upper().startswith(prefix.upper())


def window_of(question: str) -> DateWindow | None:
    """Return the days of a question, given as its text, that is nothing but days."""
    if not question.startswith("date=") or " " in question:
        return None
    first, _, last = question.removeprefix("date=").partition("-")
    day = dt.datetime.strptime
    ends = [day(text, "%Y%m%d").replace(tzinfo=dt.UTC).date() for text in (first, last or first)]
    return DateWindow(*ends)
