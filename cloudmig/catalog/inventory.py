"""Inventory calls: sweeps, the questions they asked, and the studies that were answered."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from cloudmig.catalog import schema
from cloudmig.catalog.records import CatalogedStudy, Coverage, Detail, StudyAnswer, Sweep
from cloudmig.catalog.rows import of_study, rows_answered
from cloudmig.catalog.schema import AnyRow
from cloudmig.catalog.unnamed import UnnamedCalls
from cloudmig.model.references import StudyRef
from cloudmig.model.study import Answer, StudySummary, parse_study_date

__all__ = ["InventoryCalls"]

#: Made once: `json.dumps` makes an encoder for every call that is not plain.
_ENCODE = json.JSONEncoder(sort_keys=True, ensure_ascii=False).encode
_DATE_PART = re.compile(r"\bdate=(\d{8})(?:-(\d{8}))?")


class InventoryCalls(UnnamedCalls):
    """What exists, by what was asked and answered."""

    def begin_sweep(self, source: str, at: dt.datetime) -> Sweep:
        """Return the unfinished sweep of this source if there is one, else begin another."""
        with self._writing() as connection:
            table = schema.sweep
            found = connection.execute(
                sa.select(table).where(table.c.source == source, table.c.finished_at.is_(None))
            ).one_or_none()
            if found is not None:
                return _sweep(found)
            sweep_id = connection.execute(
                sa.insert(table)
                .values(source=source, started_at=at, notes={})
                .returning(table.c.sweep_id)
            ).scalar_one()
            self._append(connection, "sweep_begun", at=at, source=source)
            return Sweep(sweep_id, source, at)

    def answered(self, sweep: Sweep) -> Mapping[str, Answer]:
        """Return what this sweep has asked already, by the text of the question."""
        table = schema.question
        with self._reading() as connection:
            rows = connection.execute(sa.select(table).where(table.c.sweep_id == sweep.sweep_id))
            return {
                row.question: Answer(row.question, row.answered, row.verdict, row.parent)
                for row in rows
            }

    def record_answer(
        self, sweep: Sweep, answer: Answer, summaries: Sequence[StudySummary], at: dt.datetime
    ) -> None:
        """Record how a question ended and every study it answered. Safe to repeat."""
        with self._writing() as connection:
            self._record_question(connection, sweep, answer, at)
            numbers = self._record_studies(connection, _study_rows(sweep, summaries, at))
            rows = _answer_rows(numbers, summaries, at)
            self._upsert(connection, schema.study_answer, rows, update=None)
            self._record_unnamed(connection, sweep, summaries, at)

    def finish_sweep(self, sweep: Sweep, at: dt.datetime, notes: Detail) -> None:
        """Mark a sweep as done, with what is worth knowing about it."""
        table = schema.sweep
        with self._writing() as connection:
            connection.execute(
                sa.update(table)
                .where(table.c.sweep_id == sweep.sweep_id)
                .values(finished_at=at, notes=dict(notes))
            )
            self._append(connection, "sweep_finished", at=at, source=sweep.source, detail=notes)

    def coverage(self, source: str) -> Coverage:
        """Say what the latest sweep of a source asked, and which days it covered."""
        sweep, question = schema.sweep.c, schema.question.c
        with self._reading() as connection:
            sweeps = connection.execute(
                sa.select(schema.sweep).where(sweep.source == source).order_by(sweep.sweep_id)
            ).all()
            latest = _sweep(sweeps[-1]) if sweeps else None
            rows = connection.execute(
                sa.select(schema.question).where(
                    question.sweep_id == (latest.sweep_id if latest else -1)
                )
            ).all()
            studies = sum(
                connection.execute(
                    sa.select(sa.func.count()).where(table.c.source == source)
                ).scalar_one()
                for table in (schema.study, schema.unnamed_study)
            )
        complete = [row for row in rows if row.verdict == "complete"]
        days = [day for row in complete for day in _days(row.question)]
        return Coverage(
            source=source,
            sweep=latest,
            questions=len(rows),
            answered=sum(row.answered for row in complete),
            splits=sum(row.verdict == "split" for row in rows),
            failed=sum(row.verdict == "failed" for row in rows),
            universal_count=next(
                (row.answered for row in complete if row.question == "universal"), None
            ),
            first_date=min(days, default=None),
            last_date=max(days, default=None),
            last_finished_at=max(
                (row.finished_at for row in sweeps if row.finished_at is not None), default=None
            ),
            studies=studies,
        )

    def studies(
        self, source: str | None = None, after: int | None = None, limit: int = 1000
    ) -> list[CatalogedStudy]:
        """Return studies of the inventory after a position, in the order they were found."""
        table = schema.study.c
        wanted = _study_query().order_by(table.study_id).limit(limit)
        if source is not None:
            wanted = wanted.where(table.source == source)
        if after is not None:
            wanted = wanted.where(table.study_id > after)
        with self._reading() as connection:
            return [_cataloged(row) for row in connection.execute(wanted)]

    def study(self, source: str, study: StudyRef) -> CatalogedStudy | None:
        """Return one study of the inventory, or None where no source answered it."""
        with self._reading() as connection:
            row = connection.execute(
                _study_query().where(*of_study(schema.study, source, study))
            ).one_or_none()
            return None if row is None else _cataloged(row)

    def study_answers(self, source: str, study: StudyRef) -> list[StudyAnswer]:
        """Return every distinct answer about a study, oldest first. Patient data."""
        table = schema.study_answer
        with self._reading() as connection:
            rows = connection.execute(
                sa.select(table)
                .join(schema.study, schema.study.c.study_id == table.c.study_id)
                .where(*of_study(schema.study, source, study))
                .order_by(table.c.first_seen_at, table.c.digest)
            )
            return [
                StudyAnswer(row.digest, row.patient_key, json.loads(row.answer), row.first_seen_at)
                for row in rows
            ]

    def _record_question(
        self, connection: sa.Connection, sweep: Sweep, answer: Answer, at: dt.datetime
    ) -> None:
        row = {
            "sweep_id": sweep.sweep_id,
            "question": answer.question,
            "answered": answer.answered,
            "verdict": answer.verdict,
            "parent": answer.parent,
            "at": at,
        }
        self._upsert(
            connection,
            schema.question,
            [row],
            update=lambda new: {
                "answered": new.answered, "verdict": new.verdict, "parent": new.parent,
                "at": new.at,
            },
        )  # fmt: skip

    def _record_studies(
        self, connection: sa.Connection, rows: list[dict[str, Any]]
    ) -> dict[str, int]:
        """Insert or update studies. Return the number of each by its Study Instance UID."""
        if not rows:
            return {}
        old = schema.study.c
        insert = self._insert(connection, schema.study)
        new = insert.excluded
        statement = insert.on_conflict_do_update(
            index_elements=["source", "study_instance_uid"],
            set_={
                # A later answer wins, but silence does not erase what was said before.
                "study_date": sa.func.coalesce(new.study_date, old.study_date),
                "study_date_text": _said(new.study_date_text, old.study_date_text),
                "study_time_text": _said(new.study_time_text, old.study_time_text),
                "modalities": _said(new.modalities, old.modalities),
                # Nor does a 0, which some sources tell of every study.
                "instances_claimed": sa.func.coalesce(
                    sa.func.nullif(new.instances_claimed, 0),
                    old.instances_claimed,
                    new.instances_claimed,
                ),
                "last_sweep_id": new.last_sweep_id,
            },
        ).returning(old.study_id, old.study_instance_uid)
        found = connection.execute(statement, rows)
        return {row.study_instance_uid: row.study_id for row in found}


def _said(new: sa.ColumnElement[str], old: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    return sa.func.coalesce(sa.func.nullif(new, ""), old)


def _study_rows(
    sweep: Sweep, summaries: Iterable[StudySummary], at: dt.datetime
) -> list[dict[str, Any]]:
    rows = (
        {
            "source": sweep.source,
            "study_instance_uid": summary.study.study_instance_uid,
            "study_date": summary.study_date,
            "study_date_text": summary.study_date_text,
            "study_time_text": summary.study_time_text,
            "modalities": "\\".join(summary.modalities),
            "instances_claimed": summary.instances_claimed,
            "first_seen_at": at,
            "last_sweep_id": sweep.sweep_id,
        }
        for summary in summaries
        if isinstance(summary.study, StudyRef)
    )
    return rows_answered(rows, key="study_instance_uid")


def _answer_rows(
    numbers: Mapping[str, int], summaries: Iterable[StudySummary], at: dt.datetime
) -> list[dict[str, object]]:
    rows: dict[tuple[int, str], dict[str, object]] = {}
    for summary in summaries:
        if not isinstance(summary.study, StudyRef):
            continue
        answer = _ENCODE(dict(summary.answer))
        told = f"{answer}\0{summary.patient_key}\0{summary.instances_claimed}"
        digest = hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        study_id = numbers[summary.study.study_instance_uid]
        rows[study_id, digest] = {
            "study_id": study_id,
            "digest": digest,
            "patient_key": summary.patient_key,
            "answer": answer,
            "first_seen_at": at,
        }
    return [rows[key] for key in sorted(rows)]


def _study_query() -> sa.Select[Any]:
    study, answer = schema.study.c, schema.study_answer.c
    same = (answer.study_id == study.study_id,)
    answers = sa.select(sa.func.count()).where(*same).scalar_subquery()
    patients = (
        sa.select(sa.func.count(sa.distinct(sa.func.nullif(answer.patient_key, ""))))
        .where(*same)
        .scalar_subquery()
    )
    return sa.select(schema.study, answers.label("answers"), patients.label("patients"))


def _cataloged(row: AnyRow) -> CatalogedStudy:
    return CatalogedStudy(
        study_id=row.study_id,
        source=row.source,
        study=StudyRef(row.study_instance_uid),
        study_date=row.study_date,
        study_date_text=row.study_date_text,
        study_time_text=row.study_time_text,
        modalities=tuple(row.modalities.split("\\")) if row.modalities else (),
        instances_claimed=row.instances_claimed,
        answers=row.answers,
        patients=row.patients,
        last_sweep_id=row.last_sweep_id,
    )


def _sweep(row: AnyRow) -> Sweep:
    return Sweep(row.sweep_id, row.source, row.started_at, row.finished_at, row.notes)


def _days(question: str) -> list[dt.date]:
    found = _DATE_PART.search(question)
    if found is None:
        return []
    days = (parse_study_date(found[1]), parse_study_date(found[2] or found[1]))
    return [day for day in days if day is not None]
