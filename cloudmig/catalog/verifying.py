"""Verification calls: which copies need a verdict, and what a verdict changes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from cloudmig.catalog import schema
from cloudmig.catalog.ending import EndingCalls
from cloudmig.catalog.records import BadInstance, CopyToVerify, Detail
from cloudmig.catalog.schema import AnyRow
from cloudmig.messages import FINDINGS_MAX
from cloudmig.model.quarantine import QuarantineReason
from cloudmig.model.references import StudyRef
from cloudmig.model.states import CopyState, TransferState, advance, advance_copy

__all__ = ["Judgement", "VerificationCalls", "repairs_are_spent"]

#: A copy that differs again after this many repairs waits for a person (design section 5).
_REPAIRS_MAX = 2
#: How many bad instances a ledger event names: as many as the cloud does in one message.
_NAMED_MAX = FINDINGS_MAX


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an independent check said about one copy."""

    how: str  #: READ_BACK, READ_BACK_ELEMENTS, STORE_CHECKSUM or CLOUD.
    findings: tuple[BadInstance, ...]  #: Empty: it agrees with its manifest.
    at: dt.datetime  #: When we heard of it.
    judged_at: dt.datetime  #: When the look began. A later look outweighs an earlier one.
    detail: Detail = field(default_factory=dict)

    @property
    def agreed(self) -> bool:
        return not self.findings


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
        detail: Detail | None = None,
    ) -> TransferState | None:
        """Record a verdict about this manifest revision. Return where the study stands now.

        Returns None, and changes nothing, when the copy has been written since, or is just being
        written: the verdict is then about something that is no more.
        """
        assert agreed != bool(findings), "a verdict agrees, or says what differs"
        with self._writing() as connection:
            seen = self._lock_seen(connection, copy)
            if seen is None:
                return None
            transfer, held = seen
            said = Judgement(how, tuple(findings), at, at, detail or {})
            return self._judge(connection, transfer, held, said)

    def record_unreadable(
        self, copy: CopyToVerify, unreadable: Sequence[BadInstance], at: dt.datetime
    ) -> None:
        """Note what of a copy cannot be read, and take an earlier verdict back.

        Changes nothing where `record_verdict` would not.
        """
        with self._writing() as connection:
            seen = self._lock_seen(connection, copy)
            if seen is None:
                return
            transfer, held = seen
            advance_copy(CopyState(held.state), CopyState.STORED)
            connection.execute(
                sa.update(schema.copy)
                .where(schema.copy.c.copy_id == held.copy_id)
                .values(state=CopyState.STORED.value, verdict_how=None, verified_at=None)
            )
            self._append(
                connection,
                "copy_unreadable",
                at=at,
                source=copy.source,
                study_instance_uid=copy.study.study_instance_uid,
                destination=copy.destination,
                attempt=transfer.attempt,
                detail={"unreadable": len(unreadable), "named": _named(unreadable)},
            )

    def _lock_seen(
        self, connection: sa.Connection, copy: CopyToVerify
    ) -> tuple[AnyRow, AnyRow] | None:
        """Lock the study of a copy that was looked at; return the rows of both.

        Returns None when the copy has been written since, or is just being written.
        """
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
        return transfer, held

    def _judge(
        self, connection: sa.Connection, transfer: AnyRow, held: AnyRow, said: Judgement
    ) -> TransferState:
        """Write down what an independent check said about a copy, and what follows from it."""
        self._mark(connection, transfer, held, said)
        if said.agreed:
            return self._after_agreement(connection, transfer)
        return self._after_difference(connection, transfer, held, said.at)

    def _mark(
        self, connection: sa.Connection, transfer: AnyRow, held: AnyRow, said: Judgement
    ) -> None:
        """Write down what an independent check said about a copy."""
        new = CopyState.VERIFIED if said.agreed else CopyState.FAILED
        judged_at = max(held.judged_at or said.judged_at, said.judged_at)
        advance_copy(CopyState(held.state), new)
        connection.execute(
            sa.update(schema.copy)
            .where(schema.copy.c.copy_id == held.copy_id)
            .values(
                state=new.value,
                verdict_how=said.how,
                verified_at=said.at if said.agreed else None,
                judged_at=judged_at,
                repairs=0 if said.agreed else held.repairs,
            )
        )
        differing = {
            "differing": len(said.findings),
            "named": _named(said.findings),
            **_differences(said.findings),
        }
        self._append(
            connection,
            "copy_verified" if said.agreed else "copy_failed",
            at=said.at,
            source=transfer.source,
            study_instance_uid=transfer.study_instance_uid,
            destination=held.destination,
            attempt=transfer.attempt,
            detail={
                "how": said.how,
                "manifest_revision": held.manifest_revision,
                "judged_at": judged_at.isoformat(),
                **said.detail,
                **({} if said.agreed else differing),
            },
        )
        if not said.agreed:
            self._record_findings(connection, held.copy_id, said.findings)
            self._take_back_receipts(connection, held)

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
        held: AnyRow,
        at: dt.datetime,
    ) -> TransferState:
        """Send the study back for repair, or to a person when repair has failed twice."""
        state, study = TransferState(transfer.state), StudyRef(transfer.study_instance_uid)
        if state is TransferState.QUARANTINED:
            return state  # A person has it already.
        if not repairs_are_spent(held):
            if state is not TransferState.PLANNED:  # Else it is on its way to a worker already.
                self._put_back(connection, transfer, "repair", at)
            return TransferState.PLANNED
        reason = QuarantineReason.VERIFICATION_FAILED
        cause = f"{held.destination} differs after {held.repairs} repairs"
        self._add_item(connection, transfer.source, study, None, reason, {"cause": cause}, at)
        advance(state, TransferState.QUARANTINED)
        connection.execute(
            sa.update(schema.transfer)
            .where(schema.transfer.c.transfer_id == transfer.transfer_id)
            .values(state=TransferState.QUARANTINED.value, reason=reason.value)
        )
        self._append(
            connection,
            "study_quarantined",
            at=at,
            source=transfer.source,
            study_instance_uid=transfer.study_instance_uid,
            attempt=transfer.attempt,
            detail={"cause": cause, "reason": reason.value, "failures": transfer.failures},
        )
        return TransferState.QUARANTINED

    def _record_findings(
        self, connection: sa.Connection, copy_id: int, findings: Sequence[BadInstance]
    ) -> None:
        table = schema.bad_instance
        connection.execute(sa.delete(table).where(table.c.copy_id == copy_id))
        rows = {
            (one.sop_instance_uid, one.key): {
                "copy_id": copy_id,
                "sop_instance_uid": one.sop_instance_uid,
                "finding": one.finding,
                "key": one.key,
                "version_id": one.version_id,
                "etag": one.etag,
            }
            for one in findings
        }
        self._upsert(connection, table, list(rows.values()), update=None)

    def _take_back_receipts(self, connection: sa.Connection, held: AnyRow) -> None:
        """Forget the receipts of what is bad: of a study that waits for another copy they are kept.

        A repair would take the bad object for stored.
        """
        receipt, bad = schema.open_receipt.c, schema.bad_instance.c
        named = sa.select(bad.key).where(bad.copy_id == held.copy_id)
        connection.execute(
            sa.delete(schema.open_receipt).where(
                receipt.transfer_id == held.transfer_id,
                receipt.destination == held.destination,
                receipt.key.in_(named),
            )
        )


def repairs_are_spent(held: AnyRow) -> bool:
    """Say whether a copy that differs has been repaired as often as it may (design section 5)."""
    return bool(held.repairs >= _REPAIRS_MAX)


def _named(findings: Sequence[BadInstance]) -> list[list[str]]:
    return [[one.sop_instance_uid, one.finding] for one in findings[:_NAMED_MAX]]


def _differences(findings: Sequence[BadInstance]) -> dict[str, object]:
    """Return the tags that differ, where elements were compared: never a value."""
    told = [[one.sop_instance_uid, *one.differences] for one in findings if one.differences]
    return {"differences": told[:_NAMED_MAX]} if told else {}


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
