"""Work calls: what a worker writes down while it moves a study. Every write is fenced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from cloudmig.catalog import schema
from cloudmig.catalog.claiming import ClaimCalls
from cloudmig.catalog.quarantining import SETTLED, QuarantineCalls, is_same, quarantine_item
from cloudmig.catalog.records import (
    BadInstance,
    CopyRow,
    Detail,
    ExpectedSet,
    OpenWork,
    ReceiptRow,
)
from cloudmig.catalog.rows import copy_row
from cloudmig.catalog.schema import AnyRow
from cloudmig.errors import LeaseLost
from cloudmig.model.instance import ExpectedInstance, Location, Receipt, Slot
from cloudmig.model.quarantine import QuarantineReason
from cloudmig.model.references import InstanceRef
from cloudmig.model.states import CopyState, TransferState, advance_copy
from cloudmig.model.transfer import TransferJob

__all__ = ["WorkCalls"]


class WorkCalls(ClaimCalls, QuarantineCalls):
    """What happens while a study is open."""

    def open_work(self, job: TransferJob) -> OpenWork:
        """Return what earlier attempts left: the expected set, receipts, bad instances."""
        with self._writing() as connection:
            transfer = self._fence(connection, job)
            of_job = {"transfer_id": job.transfer_id}
            expected = _select(connection, schema.open_instance, **of_job)
            receipts = _select(connection, schema.open_receipt, **of_job)
            copies = _select(connection, schema.copy, **of_job)
            bad = {
                copy.destination: [
                    _bad_instance(row)
                    for row in _select(connection, schema.bad_instance, copy_id=copy.copy_id)
                ]
                for copy in copies
            }
            items = _select(
                connection,
                schema.quarantine_item,
                source=job.source,
                study_instance_uid=job.study.study_instance_uid,
            )
        found = [quarantine_item(row) for row in items]
        primary: dict[str, dict[str, ReceiptRow]] = {copy.destination: {} for copy in copies}
        beside: dict[str, list[ReceiptRow]] = {copy.destination: [] for copy in copies}
        for row in receipts:
            receipt = _receipt_row(job, row)
            if receipt.slot is Slot.PRIMARY:
                primary.setdefault(row.destination, {})[row.sop_instance_uid] = receipt
            else:
                beside.setdefault(row.destination, []).append(receipt)
        return OpenWork(
            expected=tuple(_expected(job, row) for row in expected),
            listing_complete=transfer.listing_complete,
            notes=tuple(transfer.listing_notes),
            series_found=transfer.series_found,
            receipts=primary,
            beside=beside,
            bad={destination: rows for destination, rows in bad.items() if rows},
            copies={copy.destination: copy_row(copy) for copy in copies},
            released=tuple(row for row in found if row.released_at and row.note != SETTLED),
            waiting=tuple(row for row in found if not row.released_at),
        )

    def record_expected(self, job: TransferJob, listing: ExpectedSet) -> None:
        """Replace the expected set of an open study by a newer listing."""
        table = schema.open_instance
        with self._writing() as connection:
            self._fence(connection, job)
            connection.execute(sa.delete(table).where(table.c.transfer_id == job.transfer_id))
            rows = {
                one.instance.sop_instance_uid: {
                    "transfer_id": job.transfer_id,
                    "sop_instance_uid": one.instance.sop_instance_uid,
                    "series_instance_uid": one.instance.series_instance_uid,
                    "sop_class_uid": one.sop_class_uid,
                }
                for one in listing.instances
            }
            self._upsert(connection, table, list(rows.values()), update=None)
            self._update_job(
                connection,
                job,
                listing_complete=listing.complete,
                listing_notes=list(listing.notes),
                series_found=listing.series_found,
                instances_counted=job.instances_claimed,
            )

    def record_receipts(self, job: TransferJob, rows: Sequence[ReceiptRow]) -> None:
        """Record what destinations hold. A newer receipt of the same object replaces the older."""
        with self._writing() as connection:
            self._fence(connection, job)
            self._put_receipts(connection, job, rows)

    def record_receipts_of_many(
        self, batches: Sequence[tuple[TransferJob, Sequence[ReceiptRow]]]
    ) -> list[LeaseLost | None]:
        """Record receipts of several transfers in one commit. A lost lease spoils only its own."""
        with self._writing() as connection:
            results: list[LeaseLost | None] = [None] * len(batches)
            # One order for all agents, so that two of them never wait for each other in a ring.
            for number in sorted(range(len(batches)), key=lambda n: batches[n][0].transfer_id):
                job, rows = batches[number]
                try:
                    self._fence(connection, job)
                except LeaseLost as error:
                    results[number] = error
                else:
                    self._put_receipts(connection, job, rows)
            return results

    def record_finding(
        self,
        job: TransferJob,
        kind: str,
        reason: QuarantineReason | None,
        detail: Detail,
        instance: InstanceRef | None,
    ) -> bool:
        """Record something about an instance, once, however often it is found again.

        Return True when it waits for a person, False when it needs none or one has released it.
        """
        with self._writing() as connection:
            self._fence(connection, job)
            sop_instance_uid = instance.sop_instance_uid if instance else ""
            if reason is not None:
                standing = self._standing_item(
                    connection, job.source, job.study, sop_instance_uid or None, reason, detail
                )
                if standing is not None:
                    return standing.released_at is None
                self._add_item(
                    connection, job.source, job.study, sop_instance_uid or None, reason, detail
                )
            elif self._is_told(connection, job, kind, sop_instance_uid, detail):
                return False
            told = dict(detail) | ({"reason": reason.value} if reason else {})
            self._append_for(connection, job, kind, sop_instance_uid=sop_instance_uid, detail=told)
            return reason is not None

    def record_strays(self, job: TransferJob, strays: int) -> None:
        """Add to the count of instances of other studies that were sent and refused."""
        with self._writing() as connection:
            row = self._fence(connection, job)
            self._update_job(connection, job, strays=row.strays + strays)

    def record_copy(
        self,
        job: TransferJob,
        destination: str,
        *,
        manifest_key: str,
        manifest_sha256: str,
        revision: int,
        instances: int,
        bytes: int,  # noqa: A002 - the column's name
        completeness: str,
    ) -> None:
        """Mark a copy as stored: every instance has a receipt and the manifest lies beside them."""
        assert completeness in {"SET", "WEAK"}
        with self._writing() as connection:
            self._fence(connection, job)
            held = self._copy(connection, job, destination)
            advance_copy(held.state, CopyState.STORED)
            repairs = held.repairs + (held.state is CopyState.FAILED)
            is_same_manifest = (held.manifest_key, held.manifest_sha256) == (
                manifest_key, manifest_sha256,
            )  # fmt: skip
            self._update_copy(
                connection,
                held,
                state=CopyState.STORED.value,
                manifest_key=manifest_key,
                manifest_sha256=manifest_sha256,
                manifest_revision=revision,
                instances=instances,
                bytes=bytes,
                completeness=completeness,
                repairs=repairs,
                verdict_how=None,
                verified_at=None,
                judged_at=held.judged_at if is_same_manifest else None,
            )
            bad = schema.bad_instance
            connection.execute(sa.delete(bad).where(bad.c.copy_id == held.copy_id))
            self._append_for(
                connection,
                job,
                "copy_stored",
                destination=destination,
                detail={
                    "manifest_key": manifest_key,
                    "manifest_sha256": manifest_sha256,
                    "manifest_revision": revision,
                    "instances": instances,
                    "bytes": bytes,
                    "completeness": completeness,
                    "repairs": repairs,
                },
            )

    def owe_copy(self, job: TransferJob, destination: str, reason: str) -> None:
        """Note that a destination is down: the copy is made later. A failed copy stays failed."""
        with self._writing() as connection:
            self._fence(connection, job)
            held = self._copy(connection, job, destination)
            if held.state is CopyState.FAILED:
                return
            advance_copy(held.state, CopyState.OWED)
            self._update_copy(connection, held, state=CopyState.OWED.value)
            if held.state is not CopyState.OWED:
                self._append_for(
                    connection, job, "copy_owed", destination=destination,
                    detail={"reason": reason},
                )  # fmt: skip

    def reopen_copies(self, job: TransferJob, destinations: Sequence[str]) -> None:
        """Take copies that were made for such as are to be made: they lack what is there by now."""
        with self._writing() as connection:
            self._fence(connection, job)
            for destination in destinations:
                held = self._copy(connection, job, destination)
                advance_copy(held.state, CopyState.PLANNED)
                self._update_copy(
                    connection, held, state=CopyState.PLANNED.value, verdict_how=None,
                    verified_at=None,
                )  # fmt: skip
                self._append_for(connection, job, "copy_reopened", destination=destination)

    def _put_receipts(
        self, connection: sa.Connection, job: TransferJob, rows: Sequence[ReceiptRow]
    ) -> None:
        values = {}
        for row in rows:
            assert row.instance.study == job.study, "a receipt belongs to the study of its job"
            value = _receipt_values(job, row)
            values[row.destination, row.instance.sop_instance_uid, value["beside"]] = value
        self._upsert(
            connection,
            schema.open_receipt,
            list(values.values()),
            update=lambda new: {
                column.name: new[column.name]
                for column in schema.open_receipt.columns
                if not column.primary_key
            },
        )

    def _is_told(
        self,
        connection: sa.Connection,
        job: TransferJob,
        kind: str,
        sop_instance_uid: str,
        detail: Detail,
    ) -> bool:
        told = _select(
            connection,
            schema.ledger_event,
            study_instance_uid=job.study.study_instance_uid,
            source=job.source,
            kind=kind,
            sop_instance_uid=sop_instance_uid,
        )
        return any(is_same(row.detail, detail) for row in told)

    def _copy(self, connection: sa.Connection, job: TransferJob, destination: str) -> CopyRow:
        [row] = _select(
            connection, schema.copy, transfer_id=job.transfer_id, destination=destination
        )
        return copy_row(row)

    def _update_copy(self, connection: sa.Connection, held: CopyRow, **values: object) -> None:
        table = schema.copy
        connection.execute(sa.update(table).where(table.c.copy_id == held.copy_id).values(**values))

    def _update_job(self, connection: sa.Connection, job: TransferJob, **values: object) -> None:
        table = schema.transfer
        touched = connection.execute(
            sa.update(table)
            .where(
                table.c.transfer_id == job.transfer_id,
                table.c.attempt == job.attempt,
                table.c.state == TransferState.MOVING.value,
            )
            .values(**values)
        )
        assert touched.rowcount == 1, "the fence holds the row"


def _select(connection: sa.Connection, table: sa.Table, **equal: object) -> Sequence[AnyRow]:
    return connection.execute(
        sa.select(table)
        .where(*(table.c[name] == value for name, value in equal.items()))
        .order_by(*table.primary_key.columns)
    ).all()


def _expected(job: TransferJob, row: AnyRow) -> ExpectedInstance:
    instance = InstanceRef(
        job.study.study_instance_uid, row.series_instance_uid, row.sop_instance_uid
    )
    return ExpectedInstance(instance, row.sop_class_uid)


def _bad_instance(row: AnyRow) -> BadInstance:
    return BadInstance(row.sop_instance_uid, row.finding, row.key, row.version_id, row.etag)


def _receipt_values(job: TransferJob, row: ReceiptRow) -> dict[str, Any]:
    receipt = row.receipt
    return {
        "transfer_id": job.transfer_id,
        "destination": row.destination,
        "sop_instance_uid": row.instance.sop_instance_uid,
        "beside": "" if row.slot is Slot.PRIMARY else receipt.dataset_sha256,
        "series_instance_uid": row.instance.series_instance_uid,
        "sop_class_uid": row.sop_class_uid,
        "transfer_syntax_uid": row.transfer_syntax_uid,
        "slot": row.slot.value,
        "key": receipt.location.key,
        "version_id": receipt.location.version_id,
        "offset_bytes": receipt.location.offset,
        "length_bytes": receipt.location.length,
        "size_bytes": receipt.size_bytes,
        "file_sha256": receipt.file_sha256,
        "dataset_sha256": receipt.dataset_sha256,
        "etag": receipt.etag,
        "storage_class": receipt.storage_class,
        "unexpected": row.unexpected,
        "stored_at": row.stored_at,
    }


def _receipt_row(job: TransferJob, row: AnyRow) -> ReceiptRow:
    return ReceiptRow(
        destination=row.destination,
        instance=InstanceRef(
            job.study.study_instance_uid, row.series_instance_uid, row.sop_instance_uid
        ),
        sop_class_uid=row.sop_class_uid,
        transfer_syntax_uid=row.transfer_syntax_uid,
        slot=Slot(row.slot),
        receipt=Receipt(
            Location(row.key, row.version_id, row.offset_bytes, row.length_bytes),
            row.size_bytes,
            row.file_sha256,
            row.dataset_sha256,
            row.etag,
            row.storage_class,
        ),
        unexpected=row.unexpected,
        stored_at=row.stored_at,
    )
