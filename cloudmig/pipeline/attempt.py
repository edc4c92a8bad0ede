"""What one attempt at a study knows: expected, received, held by each destination."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from cloudmig.catalog import Catalog
from cloudmig.catalog.records import BadInstance, CopyRow, OpenWork, ReceiptRow
from cloudmig.model.instance import ExpectedInstance, StagedInstance
from cloudmig.model.quarantine import QuarantineReason
from cloudmig.model.references import InstanceRef
from cloudmig.model.transfer import TransferJob
from cloudmig.pipeline.parts import Parts
from cloudmig.ports import Destination, StudySource

__all__ = ["Attempt", "CopyInProgress"]

#: Receipts gathered before they are committed: a crash in between repeats idempotent work.
_RECEIPTS_A_COMMIT = 64


@dataclass(slots=True)
class CopyInProgress:
    """One copy of the study while it is made."""

    destination: Destination
    storage_class: str
    row: CopyRow
    receipts: dict[str, ReceiptRow]  #: By SOP Instance UID.
    #: Conflicts stored beside the first content: by SOP Instance UID, and by data set digest.
    beside: dict[str, dict[str, ReceiptRow]]
    bad: dict[str, BadInstance]  #: By SOP Instance UID: first contents that a verdict found wrong.
    bad_beside: dict[str, BadInstance]  #: By key: conflicts that it found wrong, until mended.
    is_repair: bool = False
    owed: str = ""  #: Why the copy is left for later.

    def held_beside(self, sop_instance_uid: str) -> set[str]:
        """Return the data set digests of an instance's contents beside the first."""
        return {
            dataset_sha256
            for dataset_sha256, row in self.beside.get(sop_instance_uid, {}).items()
            if row.receipt.location.key not in self.bad_beside
        }

    def note_beside(self, row: ReceiptRow) -> None:
        """Take a receipt of a second content, once for each content."""
        contents = self.beside.setdefault(row.instance.sop_instance_uid, {})
        contents[row.receipt.dataset_sha256] = row

    def rows(self) -> list[ReceiptRow]:
        """Return the receipts of everything the copy holds, second contents last."""
        beside = (row for contents in self.beside.values() for row in contents.values())
        return [*self.receipts.values(), *beside]


@dataclass(slots=True)
class Attempt:
    """The state of one attempt. Used by one coroutine and the store tasks it starts."""

    parts: Parts
    job: TransferJob
    source: StudySource  #: Where the instances come from.
    work: OpenWork
    copies: dict[str, CopyInProgress]
    expected: dict[str, ExpectedInstance] = field(default_factory=dict)
    arrived: dict[str, str] = field(default_factory=dict)  #: SOP UID -> data set digest.
    unexpected: set[str] = field(default_factory=set)
    nameless: set[str] = field(default_factory=set)  #: File digests of what has no usable UIDs.
    reasons: list[QuarantineReason] = field(default_factory=list)
    completeness: str = "SET"
    whole: bool = False  #: Pull everything, whatever has a receipt: there is more than is listed.
    #: What its manifests say of another copy that this attempt copies; empty: it asks the PACS.
    provenance: Mapping[str, str] = field(default_factory=dict)
    #: What is expected and the PACS does not list: it has sent it before, to us or to that copy.
    unlisted: frozenset[str] = frozenset()
    strays: int = 0
    lost: str = ""  #: How the source fell over, where it did when asked for one instance alone.
    too_large: set[str] = field(default_factory=set)  #: What exceeds our limit: never asked again.
    #: Of what a content beside the first is there and did not come: no UID is missing then.
    unread: set[str] = field(default_factory=set)
    #: What a destination will not have, and why: sending it once more changes nothing.
    refused: dict[str, QuarantineReason] = field(default_factory=dict)
    torn: dict[str, str] = field(default_factory=dict)  #: SOP UID -> data set digest.
    _pending: list[ReceiptRow] = field(default_factory=list)
    _new_sizes: list[int] = field(default_factory=list)  #: Of those, what is counted as stored.
    _locks: dict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    def lock(self, sop_instance_uid: str) -> asyncio.Lock:
        """Return the lock under which contents of one SOP Instance UID are decided."""
        return self._locks[sop_instance_uid]

    def open_copies(self) -> list[CopyInProgress]:
        """Return the copies that still take instances."""
        return [copy for copy in self.copies.values() if not copy.owed]

    def is_unexpected(self, sop_instance_uid: str) -> bool:
        """Say whether the PACS sent an instance that it had not listed."""
        return sop_instance_uid not in self.expected or sop_instance_uid in self.unlisted

    def lacks(self, sop_instance_uid: str) -> bool:
        """Say whether some open copy lacks an instance, expected or not."""
        return any(sop_instance_uid not in copy.receipts for copy in self.open_copies())

    def missing(self) -> dict[str, ExpectedInstance]:
        """Return what is expected and lacks a receipt of an open copy.

        `completeness.missing` over all copies: a set difference, nobody's counts.
        """
        copies = self.open_copies()
        return {
            sop_instance_uid: each
            for sop_instance_uid, each in self.expected.items()
            if any(sop_instance_uid not in copy.receipts for copy in copies)
        }

    def wanted(self) -> dict[str, ExpectedInstance]:
        """Return what is missing and worth asking for."""
        missing = self.missing()
        hopeless = self.too_large | self.refused.keys()
        return {uid: missing[uid] for uid in missing if uid not in hopeless}

    def perhaps_mended(self) -> dict[str, ExpectedInstance]:
        """Return what was released as torn and is held so: there may be a whole one by now."""
        return {
            item.sop_instance_uid: self.expected[item.sop_instance_uid]
            for item in self.work.released
            if item.reason is QuarantineReason.TORN
            and item.sop_instance_uid in self.expected
            and self._holds(item.sop_instance_uid, item.detail.get("dataset_sha256"))
        }

    def note_what_waits(self) -> None:
        """Take findings of earlier attempts for reasons: what is held is not asked for again.

        That an instance did not come as itself, or was not taken, is over once every copy holds it;
        that it came torn, once they hold another content.
        """
        is_whole = not self.missing()
        for item in self.work.waiting:
            uid = item.sop_instance_uid
            is_held = uid is not None and self.open_copies() and not self.lacks(uid)
            stays = item.reason is QuarantineReason.CONFLICT or (
                item.reason is QuarantineReason.TORN
                and self._holds(uid, item.detail.get("dataset_sha256"))
            )
            if stays or not is_held:
                self.reasons.append(item.reason)
            if uid is None and is_whole:  # Nothing that is listed stands for it.
                self.nameless.add(str(item.detail.get("file_sha256")))

    def _holds(self, sop_instance_uid: str | None, dataset_sha256: object) -> bool:
        rows = (copy.receipts.get(sop_instance_uid or "") for copy in self.copies.values())
        return any(row is not None and row.receipt.dataset_sha256 == dataset_sha256 for row in rows)

    def count(self, staged: StagedInstance) -> None:
        """Count an instance that is stored when its first copy has it, not again for the others.

        Those that a store lacked while it was down are made by a later attempt. It counts with the
        next commit of receipts: without that, another attempt stores and counts it again.
        """
        assert staged.instance is not None
        uid, behind = staged.instance.sop_instance_uid, self.parts.counters.transfers_behind
        is_held = any(uid in copy.receipts for copy in self.copies.values())
        if not is_held and self.job.transfer_id not in behind:
            self._new_sizes.append(staged.size_bytes)

    async def add_receipt(self, row: ReceiptRow) -> None:
        """Note a receipt; commit when enough have gathered."""
        self._pending.append(row)
        if len(self._pending) >= _RECEIPTS_A_COMMIT:
            await self.flush()

    async def flush(self) -> None:
        """Commit the receipts noted so far."""
        rows, self._pending = self._pending, []
        sizes, self._new_sizes = self._new_sizes, []
        if not rows:
            return

        def count_if_written(recording: asyncio.Task[None]) -> None:
            if not recording.cancelled() and recording.exception() is None:
                self.parts.counters.instances_stored += len(sizes)
                self.parts.counters.bytes_stored += sum(sizes)

        # What was begun is written, though who waits for it may be cancelled.
        recording = asyncio.create_task(self.parts.catalog.record_receipts(self.job, rows))
        recording.add_done_callback(count_if_written)
        await asyncio.shield(recording)

    async def find(
        self,
        kind: str,
        reason: QuarantineReason | None,
        instance: InstanceRef | None,
        **detail: object,
    ) -> bool:
        """Record a finding; a reason that no person has let pass quarantines the study.

        Returns whether it does.
        """
        waits = await self.parts.catalog.call(
            Catalog.record_finding, self.job, kind, reason, detail, instance
        )
        if waits and reason is not None:
            self.reasons.append(reason)
        return waits
