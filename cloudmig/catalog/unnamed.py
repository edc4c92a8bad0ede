"""Unnamed calls: studies that a source lists under no usable Study Instance UID.

They are in the inventory and in the closing equation, but nobody can ask for them: there is no
transfer to plan, no copy and no instance. A table of their own holds them, keyed by the digest of
the answer, so that no query on studies or transfers can take such a digest for a UID. Each waits
in quarantine from the sweep that finds it until a person releases it; then it stays where it is,
excluded by a named rule.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from cloudmig.catalog import schema
from cloudmig.catalog.database import Database
from cloudmig.catalog.records import QuarantineItem, Sweep, UnnamedStudyRow
from cloudmig.catalog.rows import rows_answered
from cloudmig.catalog.schema import AnyRow
from cloudmig.errors import CatalogError
from cloudmig.model.quarantine import QuarantineReason
from cloudmig.model.study import StudySummary, UnnamedStudy

__all__ = ["RELEASED_RULE", "UnnamedCalls"]

#: What keeps a released one on site: the name it has in the closing statement.
RELEASED_RULE = "released without a usable Study Instance UID"


class UnnamedCalls(Database):
    """What is listed and cannot be asked for."""

    def unnamed_studies(
        self, source: str | None = None, *, sweep: Sweep | None = None, released: bool = True
    ) -> list[UnnamedStudyRow]:
        """Return unnamed studies, oldest first; of one sweep, or only unreleased ones, if asked."""
        with self._reading() as connection:
            return self._unnamed(connection, source, sweep=sweep, released=released)

    def release_unnamed(
        self,
        source: str,
        study: UnnamedStudy,
        *,
        at: dt.datetime,
        note: str,
        rule: str = RELEASED_RULE,
    ) -> None:
        """Let an unnamed study out of quarantine: it stays in its source, excluded by a rule.

        A later sweep that finds it again does not raise it again.
        """
        table = schema.unnamed_study
        with self._writing() as connection:
            touched = connection.execute(
                sa.update(table)
                .where(*_is(source, study.answer_sha256), table.c.released_at.is_(None))
                .values(released_at=at, note=note, rule=rule)
            )
            if touched.rowcount != 1:
                raise CatalogError(
                    "this study is not in quarantine", hint="see `cloudmig quarantine list`"
                )
            self._append(
                connection,
                "unnamed_study_released",
                at=at,
                source=source,
                detail={"answer_sha256": study.answer_sha256, "note": note, "rule": rule},
            )

    def _record_unnamed(
        self,
        connection: sa.Connection,
        sweep: Sweep,
        summaries: Iterable[StudySummary],
        at: dt.datetime,
    ) -> None:
        """Insert what is new, which puts it into quarantine; note that the rest is still there."""
        rows = _rows(sweep, summaries, at)
        if not rows:
            return
        table = schema.unnamed_study
        insert = self._insert(connection, table).on_conflict_do_nothing()
        new = set(connection.execute(insert.returning(table.c.answer_sha256), rows).scalars())
        for row in rows:
            digest = row["answer_sha256"]
            if digest in new:
                told = {"answer_sha256": digest, "reason": QuarantineReason.UNUSABLE_UID.value}
                self._append(
                    connection, "unnamed_study_quarantined", at=at, source=sweep.source, detail=told
                )
                continue
            claimed = sa.func.coalesce(row["instances_claimed"], table.c.instances_claimed)
            connection.execute(
                sa.update(table)
                .where(*_is(sweep.source, digest))
                .values(
                    answer=row["answer"], instances_claimed=claimed, last_sweep_id=sweep.sweep_id
                )
            )

    def _unnamed(
        self,
        connection: sa.Connection,
        source: str | None,
        *,
        sweep: Sweep | None = None,
        released: bool,
    ) -> list[UnnamedStudyRow]:
        table, sweeps = schema.unnamed_study, schema.sweep
        wanted = (
            sa.select(table, sweeps.c.started_at.label("last_listed_at"))
            .join(sweeps, sweeps.c.sweep_id == table.c.last_sweep_id)
            .order_by(table.c.unnamed_id)
        )
        if source is not None:
            wanted = wanted.where(table.c.source == source)
        if sweep is not None:
            wanted = wanted.where(table.c.last_sweep_id == sweep.sweep_id)
        if not released:
            wanted = wanted.where(table.c.released_at.is_(None))
        return [_unnamed_row(row) for row in connection.execute(wanted)]

    def _unnamed_items(
        self, connection: sa.Connection, source: str | None, *, released: bool
    ) -> list[QuarantineItem]:
        """Return unnamed studies as what waits, or waited, for a person."""
        return [_item(row) for row in self._unnamed(connection, source, released=released)]

    def _unnamed_counts(self, connection: sa.Connection) -> dict[tuple[str, bool], int]:
        """Return how many there are by source, and by whether a person has released them."""
        table = schema.unnamed_study.c
        released = table.released_at.is_not(None)
        counted = sa.select(table.source, released, sa.func.count())
        rows = connection.execute(counted.group_by(table.source, released).order_by(table.source))
        return {(row[0], bool(row[1])): row[2] for row in rows}


def _rows(sweep: Sweep, summaries: Iterable[StudySummary], at: dt.datetime) -> list[dict[str, Any]]:
    rows = (
        {
            "source": sweep.source,
            "answer_sha256": summary.study.answer_sha256,
            "study_date": summary.study_date,
            "instances_claimed": summary.instances_claimed,
            # ASCII: what a source sends in a UID's place may be no text that a database takes.
            "answer": json.dumps(dict(summary.answer), sort_keys=True),
            "first_seen_at": at,
            "last_sweep_id": sweep.sweep_id,
            "rule": "",
            "note": "",
        }
        for summary in summaries
        if isinstance(summary.study, UnnamedStudy)
    )
    return rows_answered(rows, key="answer_sha256")


def _is(source: str, answer_sha256: str) -> tuple[sa.ColumnElement[bool], ...]:
    table = schema.unnamed_study.c
    return (table.source == source, table.answer_sha256 == answer_sha256)


def _unnamed_row(row: AnyRow) -> UnnamedStudyRow:
    return UnnamedStudyRow(
        source=row.source,
        study=UnnamedStudy(row.answer_sha256),
        study_date=row.study_date,
        instances_claimed=row.instances_claimed,
        answer=json.loads(row.answer),
        first_seen_at=row.first_seen_at,
        last_listed_at=row.last_listed_at,
        rule=row.rule,
        released_at=row.released_at,
        note=row.note,
    )


def _item(row: UnnamedStudyRow) -> QuarantineItem:
    return QuarantineItem(
        item_id=0,
        source=row.source,
        study=row.study,
        sop_instance_uid=None,
        reason=QuarantineReason.UNUSABLE_UID,
        detail={
            "study_instance_uid_is": row.uid_problem,
            "instances_claimed": row.instances_claimed,
            "last_listed_at": row.last_listed_at.isoformat(),
        },
        at=row.first_seen_at,
        released_at=row.released_at,
        note=row.note,
    )
