"""Extra objects: what lies in a bucket and in no manifest, and waits for a person.

A table of their own holds them: they are no part of the inventory, spoil no copy and put no study
back. The cloud's word raises them; a manifest that names them, their disappearance or a person
settles them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa

from cloudmig.catalog import schema
from cloudmig.catalog.database import Database
from cloudmig.catalog.records import ExtraObjectRow, QuarantineItem
from cloudmig.catalog.schema import AnyRow
from cloudmig.errors import CatalogError
from cloudmig.model.extra_object import ExtraObject
from cloudmig.model.quarantine import QuarantineReason

__all__ = ["EXPLAINED", "ExtraObjectCalls", "FoundExtra"]

#: What is said about one that the cloud no longer finds, or finds in a manifest.
EXPLAINED = "explained by a later look"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundExtra:
    """What the cloud said about one extra object."""

    extra: ExtraObject
    source: str  #: Empty where its archive is none of ours.
    study_instance_uid: str  #: From its key; empty where that names no study.
    reason: QuarantineReason
    version_id: str | None
    etag: str
    judged_at: dt.datetime  #: When the look began.


class ExtraObjectCalls(Database):
    """What is there and should not be."""

    def extra_objects(self, *, released: bool = True) -> list[ExtraObjectRow]:
        """Return extra objects, oldest first; with `released` also those that are settled."""
        with self._reading() as connection:
            return self._extras(connection, None, released=released)

    def release_extra(self, extra: ExtraObject, *, at: dt.datetime, note: str) -> None:
        """Settle an extra object by a person's word. Found again as it is, it is not raised."""
        table = schema.extra_object.c
        this = sa.and_(table.destination == extra.destination, table.key == extra.key)
        with self._writing() as connection:
            if not self._release_extras(connection, this, at=at, note=note):
                raise CatalogError(
                    "this object is not in quarantine", hint="see `cloudmig quarantine list`"
                )

    def _release_extras(
        self,
        connection: sa.Connection,
        which: sa.ColumnElement[bool],
        *,
        at: dt.datetime,
        note: str,
    ) -> int:
        """Settle those of them that wait, by a person's word. Return how many did."""
        table = schema.extra_object
        rows = connection.execute(
            sa.update(table)
            .where(which, table.c.released_at.is_(None))
            .values(released_at=at, note=note)
            .returning(*table.c)
        ).all()
        for row in rows:
            self._append_extra(connection, "extra_object_released", row, at, {"note": note})
        return len(rows)

    def _note_extra(self, connection: sa.Connection, found: FoundExtra, at: dt.datetime) -> bool:
        """Raise an extra object. Return False where it is known, or known better."""
        table = schema.extra_object
        values = {
            "source": found.source,
            "destination": found.extra.destination,
            "key": found.extra.key,
            "study_instance_uid": found.study_instance_uid,
            "reason": found.reason.value,
            "version_id": found.version_id,
            "etag": found.etag,
            "at": at,
            "judged_at": found.judged_at,
            "released_at": None,
            "note": "",
        }
        # One statement, so two agents that hear the same at once raise it once.
        row = connection.execute(
            self._insert(connection, table)
            .values(values)
            .on_conflict_do_update(
                index_elements=["destination", "key"],
                set_=values,
                # Other content than what a person has seen, or what was explained away.
                where=sa.and_(
                    table.c.judged_at < found.judged_at,
                    sa.or_(
                        table.c.etag != found.etag,
                        table.c.version_id.is_distinct_from(found.version_id),
                    ),
                ),
            )
            .returning(*table.c)
        ).one_or_none()
        if row is None:
            return False
        self._append_extra(connection, "extra_object_found", row, at, {})
        return True

    def _explain_extras(
        self,
        connection: sa.Connection,
        destination: str,
        source: str,
        study_instance_uid: str,
        *,
        but: Collection[str],
        judged_at: dt.datetime,
        at: dt.datetime,
    ) -> None:
        """Settle those of a study that a later look at all of it does not name any more."""
        table = schema.extra_object
        rows = connection.execute(
            sa.select(table).where(
                table.c.destination == destination,
                table.c.source == source,
                table.c.study_instance_uid == study_instance_uid,
                table.c.released_at.is_(None),
                table.c.judged_at < judged_at,
            )
        ).all()
        for row in rows:
            if row.key in but:
                continue
            # Without its ETag, so that the same bytes in the same place are news again.
            connection.execute(
                sa.update(table)
                .where(table.c.extra_id == row.extra_id)
                .values(
                    released_at=at, note=EXPLAINED, judged_at=judged_at, etag="", version_id=None
                )
            )
            self._append_extra(connection, "extra_object_explained", row, at, {})

    def _append_extra(
        self,
        connection: sa.Connection,
        kind: str,
        row: AnyRow,
        at: dt.datetime,
        more: dict[str, object],
    ) -> None:
        told = {
            "key": row.key, "reason": row.reason, "version_id": row.version_id, "etag": row.etag,
            "judged_at": row.judged_at.isoformat(),
        }  # fmt: skip
        self._append(
            connection,
            kind,
            at=at,
            source=row.source,
            study_instance_uid=row.study_instance_uid,
            destination=row.destination,
            detail=told | more,
        )

    def _extras(
        self, connection: sa.Connection, source: str | None, *, released: bool
    ) -> list[ExtraObjectRow]:
        table = schema.extra_object
        wanted = sa.select(table).order_by(table.c.extra_id)
        if source is not None:
            wanted = wanted.where(table.c.source == source)
        if not released:
            wanted = wanted.where(table.c.released_at.is_(None))
        return [_extra_row(row) for row in connection.execute(wanted)]

    def _extra_items(
        self, connection: sa.Connection, source: str | None, *, released: bool
    ) -> list[QuarantineItem]:
        """Return extra objects as what waits, or waited, for a person."""
        return [_item(row) for row in self._extras(connection, source, released=released)]

    def _extra_counts(self, connection: sa.Connection) -> dict[str, int]:
        """Return how many wait, by reason."""
        table = schema.extra_object.c
        counted = sa.select(table.reason, sa.func.count()).where(table.released_at.is_(None))
        rows = connection.execute(counted.group_by(table.reason).order_by(table.reason))
        return {row[0]: row[1] for row in rows}


def _extra_row(row: AnyRow) -> ExtraObjectRow:
    return ExtraObjectRow(
        extra=ExtraObject(row.destination, row.key),
        source=row.source,
        study_instance_uid=row.study_instance_uid,
        reason=QuarantineReason(row.reason),
        version_id=row.version_id,
        etag=row.etag,
        at=row.at,
        released_at=row.released_at,
        note=row.note,
    )


def _item(row: ExtraObjectRow) -> QuarantineItem:
    """Return what may be shown. A key that a stranger made up could hold anything."""
    told: dict[str, object] = {"destination": row.extra.destination}
    if row.study_instance_uid:
        told["study_instance_uid"] = row.study_instance_uid
    if row.version_id is not None:
        told["version_id"] = row.version_id
    return QuarantineItem(
        item_id=0,
        source=row.source,
        study=row.extra,
        sop_instance_uid=None,
        reason=row.reason,
        detail=told,
        at=row.at,
        released_at=row.released_at,
        note=row.note,
    )
