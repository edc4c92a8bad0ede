"""Verification calls: which copies need a verdict, and what a verdict changes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import sqlalchemy as sa

from cloudmig.catalog import schema
from cloudmig.catalog.ending import EndingCalls
from cloudmig.catalog.records import BadInstance, CopyToVerify
from cloudmig.catalog.schema import AnyRow
from cloudmig.model.quarantine import QuarantineReason
from cloudmig.model.references import StudyRef
from cloudmig.model.states import CopyState, TransferState, advance, advance_copy

__all__ = ["VerificationCalls"]

#: A copy that differs again after this many repairs waits for a person (design section 5).
_REPAIRS_MAX = 2
#: How many bad instances a ledger event names; `bad_instance` has all of them.
_NAMED_MAX = 20


class VerificationCalls(EndingCalls):
    """What an independent check found."""

    def copies_to_verify(
        self,
        *,
        part: int = 1,
        parts: int = 1,
        again: bool = False,
        after: int | None = None,
        limit: int = 500,
    ) -> list[CopyToVerify]:
        """Return stored copies after a position; with `again` the verified ones, too.

        `part` of `parts` picks studies by the digest of their UID, so the parts never overlap
        and seven nights see everything. A study that is moving is left to its worker.
        """
        assert 1 <= part <= parts, "a part is counted from 1"
        copy, transfer = schema.copy.c, schema.transfer.c
        states = [CopyState.STORED.value] + ([CopyState.VERIFIED.value] if again else [])
        wanted = (
            sa.select(schema.copy, transfer.source, transfer.study_instance_uid)
            .join(schema.transfer, transfer.transfer_id == copy.transfer_id)
            .where(
                copy.state.in_(states),
                transfer.state != TransferState.MOVING.value,
                transfer.spread % parts == part - 1,
            )
            .order_by(copy.copy_id)
            .limit(limit)
        )
        if after is not None:
            wanted = wanted.where(copy.copy_id > after)
        with self._reading() as connection:
            return [_to_verify(row) for row in connection.execute(wanted)]

    def record_verdict(
        self,
        copy: CopyToVerify,
        *,
        agreed: bool,
        how: str,
        findings: Sequence[BadInstance],
        at: dt.datetime,
    ) -> TransferState | None:
        """Record a verdict about this manifest revision. Return where the study stands now.

        Returns None, and changes nothing, when the copy has been written since, or is just being
        written: the verdict is then about something that is no more.
        """
        assert agreed != bool(findings), "a verdict agrees, or says what differs"
        with self._writing() as connection:
            transfer = self._lock_study(connection, copy.source, copy.study)
            table = schema.copy.c
            held = connection.execute(
                sa.select(schema.copy).where(
                    table.copy_id == copy.copy_id,
                    table.manifest_revision == copy.manifest_revision,
                    table.manifest_sha256 == copy.manifest_sha256,
                    table.state.in_([CopyState.STORED.value, CopyState.VERIFIED.value]),
                )
            ).one_or_none()
            if held is None or transfer is None or transfer.state == TransferState.MOVING.value:
                return None
            new = CopyState.VERIFIED if agreed else CopyState.FAILED
            advance_copy(CopyState(held.state), new)
            connection.execute(
                sa.update(schema.copy)
                .where(table.copy_id == copy.copy_id)
                .values(
                    state=new.value,
                    verdict_how=how,
                    verified_at=at if agreed else None,
                    repairs=0 if agreed else held.repairs,
                )
            )
            self._append(
                connection,
                "copy_verified" if agreed else "copy_failed",
                at=at,
                source=copy.source,
                study_instance_uid=copy.study.study_instance_uid,
                destination=copy.destination,
                attempt=transfer.attempt,
                detail={"how": how, "manifest_revision": copy.manifest_revision}
                | ({} if agreed else {"differing": len(findings), "named": _named(findings)}),
            )
            if agreed:
                return self._after_agreement(connection, transfer)
            self._record_findings(connection, copy, findings)
            return self._after_difference(connection, transfer, copy, held, at)

    def _after_agreement(self, connection: sa.Connection, transfer: AnyRow) -> TransferState:
        state = TransferState(transfer.state)
        if state is TransferState.STORED and self._all_verified(connection, transfer.transfer_id):
            self._set_verified(
                connection, transfer.transfer_id, transfer.source, transfer.study_instance_uid
            )
            return TransferState.VERIFIED
        return state

    def _after_difference(
        self,
        connection: sa.Connection,
        transfer: AnyRow,
        copy: CopyToVerify,
        held: AnyRow,
        at: dt.datetime,
    ) -> TransferState:
        """Send the study back for repair, or to a person when repair has failed twice."""
        state = TransferState(transfer.state)
        values: dict[str, object]
        if state is TransferState.QUARANTINED:
            return state  # A person has it already.
        if held.repairs >= _REPAIRS_MAX:
            reason = QuarantineReason.VERIFICATION_FAILED
            cause = f"{copy.destination} differs after {held.repairs} repairs"
            new, kind = TransferState.QUARANTINED, "study_quarantined"
            values = {"reason": reason.value}
            detail: dict[str, object] = {"cause": cause, "reason": reason.value}
            self._add_item(connection, copy.source, copy.study, None, reason, {"cause": cause}, at)
        elif state is TransferState.PLANNED:
            return state  # It is on its way to a worker already.
        else:
            new, kind = TransferState.PLANNED, "study_put_back"
            values = {"not_before": 0.0, "reason": None}
            detail = {"cause": "repair"}
        advance(state, new)
        connection.execute(
            sa.update(schema.transfer)
            .where(schema.transfer.c.transfer_id == transfer.transfer_id)
            .values(state=new.value, **values)
        )
        self._append(
            connection,
            kind,
            at=at,
            source=copy.source,
            study_instance_uid=copy.study.study_instance_uid,
            attempt=transfer.attempt,
            detail=detail | {"failures": transfer.failures},
        )
        return new

    def _record_findings(
        self, connection: sa.Connection, copy: CopyToVerify, findings: Sequence[BadInstance]
    ) -> None:
        table = schema.bad_instance
        connection.execute(sa.delete(table).where(table.c.copy_id == copy.copy_id))
        rows = {
            (one.sop_instance_uid, one.key): {
                "copy_id": copy.copy_id,
                "sop_instance_uid": one.sop_instance_uid,
                "finding": one.finding,
                "key": one.key,
                "version_id": one.version_id,
                "etag": one.etag,
            }
            for one in findings
        }
        self._upsert(connection, table, list(rows.values()), update=None)


def _named(findings: Sequence[BadInstance]) -> list[list[str]]:
    return [[one.sop_instance_uid, one.finding] for one in findings[:_NAMED_MAX]]


def _to_verify(row: AnyRow) -> CopyToVerify:
    return CopyToVerify(
        copy_id=row.copy_id,
        transfer_id=row.transfer_id,
        source=row.source,
        study=StudyRef(row.study_instance_uid),
        destination=row.destination,
        storage_class=row.storage_class,
        manifest_key=row.manifest_key,
        manifest_sha256=row.manifest_sha256,
        manifest_revision=row.manifest_revision,
    )
