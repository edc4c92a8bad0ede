"""Restores from archive classes: asked, completed, and how long that took."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa

from cloudmig.catalog import schema
from cloudmig.catalog.database import Database
from cloudmig.catalog.records import RestoreCounts

__all__ = ["RestoreCalls", "RestoreTold"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreTold:
    """What the cloud said about one restore."""

    destination: str
    source: str  #: Empty where its archive is none of ours.
    key: str
    study_instance_uid: str
    sop_instance_uid: str
    version_id: str
    storage_class: str
    tier: str
    promised_s: float
    asked_at: dt.datetime
    completed_at: dt.datetime | None
    took_s: float | None


class RestoreCalls(Database):
    """What was brought back from the cold."""

    def record_restore(self, told: RestoreTold, at: dt.datetime) -> bool:
        """Record that a restore was asked for, or completed. Return False when that is known.

        A completion that comes before its request is all there is to know.
        """
        table = schema.restore
        which = {
            "destination": told.destination,
            "key": told.key,
            "version_id": told.version_id,
            "asked_at": told.asked_at,
        }
        values = {
            "source": told.source,
            "storage_class": told.storage_class,
            "tier": told.tier,
            "promised_s": told.promised_s,
            "completed_at": told.completed_at,
            "took_s": told.took_s,
        }
        is_news = table.c.completed_at.is_(None) if told.completed_at else sa.false()
        with self._writing() as connection:
            row = connection.execute(
                self._insert(connection, table)
                .values(which | values)
                .on_conflict_do_update(index_elements=list(which), set_=values, where=is_news)
                .returning(table.c.key)
            ).one_or_none()
            if row is None:
                return False
            self._append(
                connection,
                "restore_completed" if told.completed_at else "restore_asked",
                at=at,
                source=told.source,
                study_instance_uid=told.study_instance_uid,
                destination=told.destination,
                sop_instance_uid=told.sop_instance_uid,
                detail={
                    "key": told.key,
                    "version_id": told.version_id,
                    "storage_class": told.storage_class,
                    "tier": told.tier,
                    "promised_s": told.promised_s,
                    "asked_at": told.asked_at.isoformat(),
                    "completed_at": told.completed_at and told.completed_at.isoformat(),
                    "took_s": told.took_s,
                },
            )
            return True

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
