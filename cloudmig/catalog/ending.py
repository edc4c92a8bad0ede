"""Ending calls: how an attempt ended."""

from __future__ import annotations

import sqlalchemy as sa

from cloudmig.catalog import schema
from cloudmig.catalog.claiming import ClaimCalls
from cloudmig.catalog.quarantining import SETTLED, QuarantineCalls
from cloudmig.model.quarantine import QuarantineReason
from cloudmig.model.states import CopyState, TransferState, advance
from cloudmig.model.transfer import TransferJob

__all__ = ["EndingCalls"]

_KINDS = {
    TransferState.STORED: "study_stored",
    TransferState.PLANNED: "study_put_back",
    TransferState.QUARANTINED: "study_quarantined",
    TransferState.EXCLUDED: "study_excluded",
}
_HELD = (CopyState.STORED.value, CopyState.VERIFIED.value)


class EndingCalls(ClaimCalls, QuarantineCalls):
    """How an attempt ended."""

    def finish(
        self,
        job: TransferJob,
        state: TransferState,
        *,
        cause: str,
        delay_s: float = 0.0,
        failed: bool = False,
        reason: QuarantineReason | None = None,
        instances_inventory: int | None = None,
    ) -> None:
        """End an attempt and give the lease back.

        STORED needs every copy stored. PLANNED puts the study back, for `delay_s` seconds;
        `failed` counts it against the study. QUARANTINED needs a reason. EXCLUDED takes `cause`
        as the name of the rule.
        """
        assert (reason is not None) == (state is TransferState.QUARANTINED), (
            "quarantine has a reason"
        )
        with self._writing() as connection:
            row = self._fence(connection, job)
            advance(TransferState.MOVING, state)
            values: dict[str, object] = {
                "state": state.value,
                "lease_owner": None,
                "lease_until": None,
                "failures": row.failures + failed,
                "not_before": self._clock(connection) + delay_s if delay_s > 0 else 0.0,
                "reason": reason.value if reason else None,
            }
            detail: dict[str, object] = {"cause": cause, "failures": row.failures + failed}
            if instances_inventory is not None:
                values["instances_inventory"] = instances_inventory
                detail["instances_inventory"] = instances_inventory
            if reason is not None:
                detail["reason"] = reason.value
                self._quarantine_study(connection, job, reason, cause)
            if state is TransferState.EXCLUDED:
                values["rule"] = detail["rule"] = cause
                self._drop_copies(connection, job)
            if state is TransferState.STORED:
                self._close_open_rows(connection, job)
                self._settle_findings(connection, job)
            connection.execute(
                sa.update(schema.transfer)
                .where(
                    schema.transfer.c.transfer_id == job.transfer_id,
                    schema.transfer.c.attempt == job.attempt,
                    schema.transfer.c.state == TransferState.MOVING.value,
                )
                .values(**values)
            )
            self._append_for(connection, job, _KINDS[state], detail=detail)
            if state is TransferState.STORED and self._all_verified(connection, job.transfer_id):
                # Nothing had to be made: every copy was verified by an earlier attempt.
                self._set_verified(
                    connection, job.transfer_id, job.source, job.study.study_instance_uid
                )

    def _quarantine_study(
        self, connection: sa.Connection, job: TransferJob, reason: QuarantineReason, cause: str
    ) -> None:
        detail = {"cause": cause}
        standing = self._standing_item(connection, job.source, job.study, None, reason, detail)
        if standing is None or standing.released_at is not None:
            self._add_item(connection, job.source, job.study, None, reason, detail)

    def _drop_copies(self, connection: sa.Connection, job: TransferJob) -> None:
        for table in (schema.copy, schema.open_receipt, schema.open_instance):
            connection.execute(sa.delete(table).where(table.c.transfer_id == job.transfer_id))

    def _close_open_rows(self, connection: sa.Connection, job: TransferJob) -> None:
        copy = schema.copy.c
        missing = connection.execute(
            sa.select(sa.func.count()).where(
                copy.transfer_id == job.transfer_id, copy.state.not_in(_HELD)
            )
        ).scalar_one()
        assert missing == 0, "a study is stored when every copy is"
        for table in (schema.open_instance, schema.open_receipt):
            connection.execute(sa.delete(table).where(table.c.transfer_id == job.transfer_id))

    def _settle_findings(self, connection: sa.Connection, job: TransferJob) -> None:
        """Settle what is over: an instance that was refused, say, and that every copy holds now.

        A study that is stored is in nobody's quarantine, so that nobody could release it there.
        """
        item = schema.quarantine_item.c
        settled = connection.execute(
            sa.update(schema.quarantine_item)
            .where(
                item.source == job.source,
                item.study_instance_uid == job.study.study_instance_uid,
                item.sop_instance_uid.is_not(None),
                item.reason != QuarantineReason.CONFLICT.value,
                item.released_at.is_(None),
            )
            .values(released_at=self._now(), note=SETTLED)
        ).rowcount
        if settled:
            self._append_for(connection, job, "findings_settled", detail={"findings": settled})

    def _all_verified(self, connection: sa.Connection, transfer_id: int) -> bool:
        copy = schema.copy.c
        states = connection.execute(
            sa.select(copy.state).where(copy.transfer_id == transfer_id)
        ).scalars()
        return {CopyState(state) for state in states} == {CopyState.VERIFIED}

    def _set_verified(
        self, connection: sa.Connection, transfer_id: int, source: str, study_instance_uid: str
    ) -> None:
        advance(TransferState.STORED, TransferState.VERIFIED)
        connection.execute(
            sa.update(schema.transfer)
            .where(
                schema.transfer.c.transfer_id == transfer_id,
                schema.transfer.c.state == TransferState.STORED.value,
            )
            .values(state=TransferState.VERIFIED.value)
        )
        self._append(
            connection, "study_verified", source=source, study_instance_uid=study_instance_uid
        )
