"""The manifest of a copy: written beside the images, adopted when it says the same already."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from cloudmig import manifest
from cloudmig.catalog import Catalog
from cloudmig.catalog.records import ReceiptRow
from cloudmig.errors import DestinationUnavailable
from cloudmig.manifest import InstanceRecord, Manifest, ManifestUnreadable
from cloudmig.model.instance import ExpectedInstance, Receipt, Slot
from cloudmig.model.references import InstanceRef
from cloudmig.objects import manifest_key
from cloudmig.pipeline.attempt import Attempt, CopyInProgress

__all__ = ["adopt_manifest", "write_manifest"]

#: Revisions tried before giving up: each means that somebody else wrote one in the meantime.
_REVISIONS_MAX = 1000


async def write_manifest(attempt: Attempt, copy: CopyInProgress, missing: Collection[str]) -> None:
    """Put the next revision, or adopt the one that says the same, and mark the copy as stored.

    A destination that goes away now leaves the copy owed.
    """
    try:
        await _write(attempt, copy, missing)
    except DestinationUnavailable as error:
        copy.owed = copy.owed or str(error)


async def _write(attempt: Attempt, copy: CopyInProgress, missing: Collection[str]) -> None:
    parts, job = attempt.parts, attempt.job
    archive = parts.archive_of(job.source)
    revision, previous_sha256 = _first_revision(copy)
    now = parts.now().isoformat(timespec="seconds")
    rows = copy.rows()
    settings = parts.config.sources[job.source]
    for _ in range(_REVISIONS_MAX):
        wanted = Manifest(
            archive=archive,
            study_instance_uid=job.study.study_instance_uid,
            revision=revision,
            previous_sha256=previous_sha256,
            source={"name": job.source, **settings.identity, **attempt.provenance},
            destination=copy.destination.name,
            created_at=now,
            completeness=attempt.completeness,
            instances=tuple(_record(row) for row in rows),
            missing=tuple(sop for sop in missing if sop not in copy.receipts),
        )
        key = manifest_key(archive, job.study, revision)
        body, sha256 = manifest.encode(wanted)
        if not await copy.destination.put_evidence(key, body):
            held = await copy.destination.get_evidence(key)
            if held is None:
                raise DestinationUnavailable("a manifest is taken and cannot be read")
            sha256 = hashlib.sha256(held).hexdigest()
            if not _says_the_same(held, wanted):
                revision, previous_sha256 = revision + 1, sha256
                continue
        await parts.catalog.call(
            Catalog.record_copy,
            job,
            copy.destination.name,
            manifest_key=key,
            manifest_sha256=sha256,
            revision=revision,
            instances=len(copy.receipts),
            bytes=sum(row.receipt.size_bytes for row in rows),
            completeness=attempt.completeness,
        )
        return
    raise DestinationUnavailable("no manifest revision is free")


def _first_revision(copy: CopyInProgress) -> tuple[int, str]:
    """Return the revision to begin with, and the digest of the one before.

    A repair never says again what was found wrong: whoever looked at that revision must not be
    taken to have looked at the repaired copy, even where the object went back to its own key.
    """
    if copy.is_repair and copy.row.manifest_sha256 is not None:
        return copy.row.manifest_revision + 1, copy.row.manifest_sha256
    return 1, ""


def _says_the_same(held: bytes, wanted: Manifest) -> bool:
    try:
        return manifest.decode(held).evidence() == wanted.evidence()
    except ManifestUnreadable:
        return False


def _record(row: ReceiptRow) -> InstanceRecord:
    return InstanceRecord(
        series_instance_uid=row.instance.series_instance_uid,
        sop_instance_uid=row.instance.sop_instance_uid,
        sop_class_uid=row.sop_class_uid,
        transfer_syntax_uid=row.transfer_syntax_uid,
        size_bytes=row.receipt.size_bytes,
        file_sha256=row.receipt.file_sha256,
        dataset_sha256=row.receipt.dataset_sha256,
        location=row.receipt.location,
        etag=row.receipt.etag,
        storage_class=row.receipt.storage_class,
        slot=row.slot.value,
        unexpected=row.unexpected,
        stored_at=row.stored_at,
    )


async def adopt_manifest(attempt: Attempt, copy: CopyInProgress) -> None:
    """Take what the last manifest proves as receipts, except what a verdict found bad.

    A study that is repaired or has grown is not pulled again as a whole. A second content that is
    bad stays listed until it is mended: the source may never send it again, and then a person must
    hear of it. It is asked for by its instance, whose first content is recognised when it comes.
    """
    assert copy.row.manifest_key is not None
    held = await copy.destination.get_evidence(copy.row.manifest_key)
    if held is None or hashlib.sha256(held).hexdigest() != copy.row.manifest_sha256:
        return  # The manifest is what was bad; everything is asked for and recognised again.
    asked_again = copy.bad.keys() | {each.sop_instance_uid for each in copy.bad_beside.values()}
    for each in manifest.decode(held).instances:
        ref = InstanceRef(
            attempt.job.study.study_instance_uid, each.series_instance_uid, each.sop_instance_uid
        )
        if each.slot == Slot.PRIMARY.value and each.sop_instance_uid in asked_again:
            # Listed or not: a copy never loses an instance by being repaired.
            attempt.expected.setdefault(
                each.sop_instance_uid, ExpectedInstance(ref, each.sop_class_uid)
            )
            continue
        row = ReceiptRow(
            destination=copy.destination.name,
            instance=ref,
            sop_class_uid=each.sop_class_uid,
            transfer_syntax_uid=each.transfer_syntax_uid,
            slot=Slot(each.slot),
            receipt=Receipt(
                location=each.location,
                size_bytes=each.size_bytes,
                file_sha256=each.file_sha256,
                dataset_sha256=each.dataset_sha256,
                etag=each.etag,
                storage_class=each.storage_class,
            ),
            unexpected=each.unexpected,
            stored_at=each.stored_at,
        )
        if row.slot is Slot.PRIMARY:
            copy.receipts.setdefault(each.sop_instance_uid, row)
        elif each.dataset_sha256 not in copy.beside.get(each.sop_instance_uid, {}):
            copy.note_beside(row)
