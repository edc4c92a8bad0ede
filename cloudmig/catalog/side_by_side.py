"""Side-by-side calls: the copies at each destination, and those of one study beside each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from cloudmig.catalog import schema
from cloudmig.catalog.database import Database
from cloudmig.catalog.records import BadInstance, TransferRow
from cloudmig.model.references import StudyRef
from cloudmig.model.states import CopyState

__all__ = ["DestinationCounts", "SideBySideCalls"]

_HELD = (CopyState.STORED, CopyState.VERIFIED)


@dataclass(slots=True)
class DestinationCounts:
    """The copies at one destination."""

    states: Counter[CopyState] = field(default_factory=Counter)
    verified_by: Counter[str] = field(default_factory=Counter)  #: How -> verified copies.
    instances: int = 0  #: In stored and verified copies.
    bytes: int = 0


class SideBySideCalls(Database):
    """Copies beside each other."""

    def destination_counts(self) -> Mapping[str, DestinationCounts]:
        """Count the copies at each destination, and what they hold."""
        copy = schema.copy.c
        found: dict[str, DestinationCounts] = {}
        with self._reading() as connection:
            rows = connection.execute(
                sa.select(
                    copy.destination,
                    copy.state,
                    copy.verdict_how,
                    sa.func.count().label("copies"),
                    sa.func.coalesce(sa.func.sum(copy.instances), 0).label("held"),
                    sa.func.coalesce(sa.func.sum(copy.bytes), 0).label("held_bytes"),
                )
                .group_by(copy.destination, copy.state, copy.verdict_how)
                .order_by(copy.destination, copy.state, copy.verdict_how)
            ).all()
        for row in rows:
            counts = found.setdefault(row.destination, DestinationCounts())
            state = CopyState(row.state)
            counts.states[state] += row.copies
            if state in _HELD:
                counts.instances += int(row.held)
                counts.bytes += int(row.held_bytes)
            if state is CopyState.VERIFIED:
                counts.verified_by[row.verdict_how] += row.copies
        return found

    def open_findings(self, row: TransferRow) -> Mapping[str, list[BadInstance]]:
        """Return by destination what the last verdicts named and nobody has repaired yet."""
        bad = schema.bad_instance
        found: dict[str, list[BadInstance]] = {}
        with self._reading() as connection:
            for copy in row.copies:
                held = connection.execute(
                    sa.select(bad)
                    .where(bad.c.copy_id == copy.copy_id)
                    .order_by(bad.c.sop_instance_uid, bad.c.key)
                )
                found[copy.destination] = [
                    BadInstance(
                        each.sop_instance_uid, each.finding, each.key, each.version_id, each.etag
                    )
                    for each in held
                ]
        return found

    def lacking(self, source: str, study: StudyRef) -> Mapping[str, Sequence[str]]:
        """Name by destination the SOP Instance UIDs that the source lists and a copy lacks.

        Of a study that is under way or in quarantine; of any other its manifests tell.
        """
        transfer, copy = schema.transfer.c, schema.copy.c
        listed, receipt = schema.open_instance.c, schema.open_receipt.c
        received = sa.and_(
            receipt.transfer_id == copy.transfer_id, receipt.destination == copy.destination
        )
        # What an earlier attempt completed has its receipts in the manifest.
        is_open = sa.or_(
            copy.state.not_in([state.value for state in _HELD]), sa.exists().where(received)
        )
        wanted = (
            sa.select(copy.destination, listed.sop_instance_uid)
            .select_from(schema.transfer)
            .join(schema.copy, copy.transfer_id == transfer.transfer_id)
            .join(schema.open_instance, listed.transfer_id == transfer.transfer_id)
            .where(
                transfer.source == source,
                transfer.study_instance_uid == study.study_instance_uid,
                is_open,
                ~sa.exists().where(
                    received,
                    receipt.sop_instance_uid == listed.sop_instance_uid,
                    receipt.beside == "",
                ),
            )
            .order_by(copy.destination, listed.sop_instance_uid)
        )
        found: dict[str, list[str]] = {}
        with self._reading() as connection:
            for row in connection.execute(wanted):
                found.setdefault(row.destination, []).append(row.sop_instance_uid)
        return found
