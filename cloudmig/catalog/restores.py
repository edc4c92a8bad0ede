"""Restores from archive classes: asked, completed, and how long that took."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict

import sqlalchemy as sa

from cloudmig.catalog import schema
from cloudmig.catalog.database import Database
from cloudmig.catalog.records import RestoreCounts, RestoreRow

__all__ = ["RestoreCalls"]


class RestoreCalls(Database):
    """What was brought back from the cold."""

    def record_restore(
        self, told: RestoreRow, at: dt.datetime, *, study_instance_uid: str, sop_instance_uid: str
    ) -> bool:
        """Record that a restore was asked for, or completed. Return False when that is known.

        A completion that comes before its request is all there is to know.
        """
        table = schema.restore
        values = asdict(told)
        is_news = table.c.completed_at.is_(None) if told.completed_at else sa.false()
        with self._writing() as connection:
            row = connection.execute(
                self._insert(connection, table)
                .values(values)
                .on_conflict_do_update(
                    index_elements=[column.name for column in table.primary_key],
                    set_=values,
                    where=is_news,
                )
                .returning(table.c.key)
            ).one_or_none()
            if row is None:
                return False
            times = {
                name: time.isoformat() if time else None
                for name, time in (("asked_at", told.asked_at), ("completed_at", told.completed_at))
            }
            self._append(
                connection,
                "restore_completed" if told.completed_at else "restore_asked",
                at=at,
                source=told.source,
                study_instance_uid=study_instance_uid,
                destination=told.destination,
                sop_instance_uid=sop_instance_uid,
                detail={
                    "key": told.key,
                    "version_id": told.version_id,
                    "storage_class": told.storage_class,
                    "tier": told.tier,
                    "promised_s": told.promised_s,
                    "took_s": told.took_s,
                    **times,
                },
            )
            return True

    def restores(self) -> list[RestoreRow]:
        """Return every restore that was told of, the oldest request first."""
        table = schema.restore
        wanted = sa.select(table).order_by(table.c.asked_at, table.c.destination, table.c.key)
        with self._reading() as connection:
            return [RestoreRow(**row._mapping) for row in connection.execute(wanted)]

    def _restore_counts(self, connection: sa.Connection) -> RestoreCounts:
        table = schema.restore.c
        late = sa.case((table.took_s > table.promised_s, 1), else_=0)
        row = connection.execute(
            sa.select(
                sa.func.count(),
                sa.func.count(table.completed_at),
                sa.func.coalesce(sa.func.sum(late), 0),
            )
        ).one()
        return RestoreCounts(asked=row[0] - row[1], completed=row[1], late=int(row[2]))
