"""Sampling calls: which stored copies there are, with what a sample is stratified by."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa

from cloudmig.catalog import schema
from cloudmig.catalog.database import Database
from cloudmig.catalog.records import RestoreRow
from cloudmig.model.references import StudyRef
from cloudmig.model.states import CopyState

__all__ = ["SamplingCalls", "StoredCopy"]


@dataclass(frozen=True, slots=True)
class StoredCopy:
    """A copy that a reader may ask for."""

    copy_id: int  #: Position for `stored_copies(after=...)`.
    study: StudyRef
    study_date: dt.date | None
    modalities: tuple[str, ...]
    storage_class: str
    size_bytes: int
    manifest_key: str
    manifest_sha256: str


class SamplingCalls(Database):
    """What can be read back."""

    def stored_copies(
        self, destination: str, *, after: int = 0, limit: int = 5000
    ) -> list[StoredCopy]:
        """Return copies that are complete at a destination, after a position."""
        copy, transfer, study = schema.copy.c, schema.transfer.c, schema.study.c
        wanted = (
            sa.select(
                copy.copy_id, copy.storage_class, copy.bytes, copy.manifest_key,
                copy.manifest_sha256, transfer.study_instance_uid, transfer.study_date,
                study.modalities,
            )
            .join(schema.transfer, transfer.transfer_id == copy.transfer_id)
            .outerjoin(
                schema.study,
                sa.and_(
                    study.source == transfer.source,
                    study.study_instance_uid == transfer.study_instance_uid,
                ),
            )
            .where(
                copy.copy_id > after,
                copy.destination == destination,
                copy.state.in_([CopyState.STORED.value, CopyState.VERIFIED.value]),
            )
            .order_by(copy.copy_id)
            .limit(limit)
        )  # fmt: skip
        with self._reading() as connection:
            return [
                StoredCopy(
                    copy_id=row.copy_id,
                    study=StudyRef(row.study_instance_uid),
                    study_date=row.study_date,
                    modalities=tuple(filter(None, (row.modalities or "").split("\\"))),
                    storage_class=row.storage_class,
                    size_bytes=row.bytes or 0,
                    manifest_key=row.manifest_key,
                    manifest_sha256=row.manifest_sha256,
                )
                for row in connection.execute(wanted)
            ]

    def completed_restores(self, since: dt.datetime) -> list[RestoreRow]:
        """Return the restores that were completed since then."""
        table = schema.restore.c
        wanted = (
            sa.select(schema.restore)
            .where(table.completed_at >= since, table.took_s.is_not(None))
            .order_by(table.completed_at)
        )
        with self._reading() as connection:
            return [RestoreRow(**row._mapping) for row in connection.execute(wanted)]

    def record_service_level(
        self, destination: str, tier: str, *, breached: bool, burnt: float, at: dt.datetime
    ) -> None:
        """Note in the ledger that a tier breached its service level, or keeps it again."""
        kind = "sla_breached" if breached else "sla_recovered"
        detail = {"tier": tier, "burnt": burnt}
        with self._writing() as connection:
            self._append(connection, kind, at=at, source="", destination=destination, detail=detail)
