"""Read every copy back by name, recompute both digests, compare them with the manifest.

What is asked for is the object that lies under the key now, not the version that was put: a
stranger's overwrite must be seen. Where the storage class cannot be read, the checksum that the
store computed itself decides, and the verdict says so. Agreement is never assumed.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

from cloudmig import manifest
from cloudmig.catalog import Catalog
from cloudmig.catalog.records import BadInstance, CopyToVerify
from cloudmig.dicom.digest import FileDigests, StreamDigests
from cloudmig.errors import CloudmigError, DestinationUnavailable, ObjectArchived
from cloudmig.manifest import InstanceRecord, ManifestUnreadable
from cloudmig.model.instance import ARCHIVE_CLASSES, Location
from cloudmig.pipeline.deciding import decisive
from cloudmig.pipeline.parts import Parts
from cloudmig.ports import Destination
from cloudmig.telemetry import Reporter

__all__ = [
    "FINDINGS_MAX", "Finding", "VerifySummary", "found", "stored_copies", "verify_copies",
    "verify_each",
]  # fmt: skip

_COPIES_AT_ONCE = 4
_READS_AT_ONCE = 8
FINDINGS_MAX = 10_000  #: How many a summary keeps; the catalog has them all.


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference, by name."""

    source: str
    destination: str
    study_instance_uid: str
    sop_instance_uid: str  #: Empty when it is the manifest.
    finding: str  #: missing | truncated | altered | swapped | manifest missing | ...

    def __str__(self) -> str:
        what = self.sop_instance_uid or "its manifest"
        return f"{self.destination}: study {self.study_instance_uid}: {what}: {self.finding}"


@dataclass(slots=True)
class VerifySummary:
    """What one verification looked at and found."""

    copies: int = 0
    instances: int = 0
    agreed: int = 0
    failed: int = 0
    undecided: int = 0  #: Neither readable nor checksummed by the store: still unverified.
    findings: list[Finding] = field(default_factory=list)
    how: Counter[str] = field(default_factory=Counter)
    extras: int = 0  #: Objects in no manifest; only the cloud's code looks for them.


#: Noted beside how a copy was read: an archived object for which the store has no checksum.
_UNDECIDED = "UNDECIDED"


async def verify_copies(
    opened: Parts, *, part: int = 1, parts: int = 1, again: bool = False
) -> VerifySummary:
    """Verify stored copies, all or one part of them. Safe to stop and to repeat.

    Raises `DestinationError` when a store cannot be read; what was decided stays decided.
    """
    summary = VerifySummary()

    async def verify(copy: CopyToVerify) -> None:
        await _verify_copy(opened, copy, summary)

    await verify_each(opened, stored_copies(opened, part, parts, again=again), verify, summary)
    return summary


async def verify_each(
    opened: Parts,
    queue: AsyncGenerator[CopyToVerify, None],
    verify: Callable[[CopyToVerify], Awaitable[None]],
    summary: VerifySummary,
) -> None:
    """Verify what is queued, some copies at once, and tell how far it is after each.

    The first error ends it; of several at once the decisive one is raised.
    """
    lock = asyncio.Lock()

    async def work() -> None:
        while True:
            async with lock:
                copy = await anext(queue, None)
            if copy is None:
                return
            await verify(copy)
            opened.reporter.event(
                "verify.progress",
                copies=summary.copies,
                instances=summary.instances,
                failed=summary.failed,
            )

    try:
        async with aclosing(queue), asyncio.TaskGroup() as group:
            for _ in range(_COPIES_AT_ONCE):
                group.create_task(work())
    except* CloudmigError as errors:
        raise decisive(errors) from errors


async def stored_copies(
    opened: Parts, part: int, parts: int, *, again: bool
) -> AsyncGenerator[CopyToVerify, None]:
    """Yield the copies that need a verdict; with `again` those that have one, too."""
    after: int | None = None
    while page := await opened.catalog.call(
        Catalog.copies_to_verify, part=part, parts=parts, again=again, after=after
    ):
        for copy in page:
            yield copy
        after = page[-1].copy_id


def found(reporter: Reporter, copy: CopyToVerify, bad: BadInstance) -> Finding:
    """Tell what is wrong with a copy, and return it."""
    study = copy.study.study_instance_uid
    reporter.event(
        "verify.difference",
        destination=copy.destination,
        study=study,
        instance=bad.sop_instance_uid,
        finding=bad.finding,
    )
    return Finding(copy.source, copy.destination, study, bad.sop_instance_uid, bad.finding)


async def _verify_copy(parts: Parts, copy: CopyToVerify, summary: VerifySummary) -> None:
    destination = parts.destinations[copy.destination, copy.source]
    how: set[str] = set()
    bad, instances = await _compare(destination, copy, how)
    if _UNDECIDED in how and not bad:
        summary.copies += 1
        summary.undecided += 1
        return
    # One word for the copy: what was weakest.
    verdict = "STORE_CHECKSUM" if "STORE_CHECKSUM" in how else "READ_BACK"
    await parts.catalog.call(
        Catalog.record_verdict, copy, agreed=not bad, how=verdict, findings=bad, at=parts.now()
    )
    summary.copies += 1
    summary.instances += instances
    summary.how[verdict] += 1
    summary.agreed += not bad
    summary.failed += bool(bad)
    room = max(0, FINDINGS_MAX - len(summary.findings))
    summary.findings += [found(parts.reporter, copy, each) for each in bad[:room]]


async def _compare(
    destination: Destination, copy: CopyToVerify, how: set[str]
) -> tuple[list[BadInstance], int]:
    held = await destination.get_evidence(copy.manifest_key)
    if held is not None and hashlib.sha256(held).hexdigest() != copy.manifest_sha256:
        held = await destination.get_evidence(copy.manifest_key)  # Damaged on its way to us?
    if held is None:
        return [BadInstance("", "manifest missing", copy.manifest_key)], 0
    if hashlib.sha256(held).hexdigest() != copy.manifest_sha256:
        return [BadInstance("", "manifest altered", copy.manifest_key)], 0
    try:
        listed = manifest.decode(held)
    except ManifestUnreadable as error:
        raise AssertionError("a manifest of ours with the right digest is readable") from error
    digests = {each.dataset_sha256: each for each in listed.instances}
    at_once = asyncio.Semaphore(_READS_AT_ONCE)

    async def check(record: InstanceRecord) -> BadInstance | None:
        async with at_once:
            return await _check(destination, record, digests, how)

    async with asyncio.TaskGroup() as group:
        checks = [group.create_task(check(record)) for record in listed.instances]
    return [bad for task in checks if (bad := task.result()) is not None], len(checks)


async def _check(
    destination: Destination,
    record: InstanceRecord,
    others: Mapping[str, InstanceRecord],
    how: set[str],
) -> BadInstance | None:
    """Return what is wrong with one object, or None."""
    place = record.location
    now = Location(place.key, None, place.offset, place.length)
    if record.storage_class in ARCHIVE_CLASSES:
        return await _check_unread(destination, record, now, how)
    try:
        found = await _read_twice(destination, record, now)
    except ObjectArchived:  # Since then, by a lifecycle rule.
        return await _check_unread(destination, record, now, how)
    how.add("READ_BACK")
    if found is None:
        return _bad(record, "missing", place.version_id, record.etag)
    if _agrees(found, record):
        return None
    held = await destination.find(Location(place.key))
    etag, version_id = (held.etag, held.location.version_id) if held else ("", None)
    return _bad(record, _name(found, record, others), version_id, etag)


async def _read_twice(
    destination: Destination, record: InstanceRecord, place: Location
) -> FileDigests | None:
    """Return what was read, the second time where it differs or breaks off; None: not there.

    An answer that is damaged on its way to us says nothing about what the store holds.
    """
    for last in (False, True):
        digests = StreamDigests()
        try:
            async for piece in destination.read(place):
                digests.update(piece)
        except DestinationUnavailable:
            if await destination.find(Location(place.key)) is None:
                return None
            if last:
                raise
            continue
        if last or _agrees(digests.result(), record):
            break
    return digests.result()


def _agrees(found: FileDigests, record: InstanceRecord) -> bool:
    return (found.file_sha256, found.dataset_sha256) == (
        record.file_sha256,
        record.dataset_sha256,
    )


def _name(found: FileDigests, record: InstanceRecord, others: Mapping[str, InstanceRecord]) -> str:
    other = others.get(found.dataset_sha256)
    if other is not None and other.sop_instance_uid != record.sop_instance_uid:
        return "swapped"
    return "truncated" if found.size_bytes < record.size_bytes else "altered"


def _bad(record: InstanceRecord, finding: str, version_id: str | None, etag: str) -> BadInstance:
    return BadInstance(record.sop_instance_uid, finding, record.location.key, version_id, etag)


async def _check_unread(
    destination: Destination, record: InstanceRecord, now: Location, how: set[str]
) -> BadInstance | None:
    """Decide by the checksum the store computed itself, without a restore."""
    how.add("STORE_CHECKSUM")
    held = await destination.find(now)
    if held is None:
        return _bad(record, "missing", record.location.version_id, record.etag)
    checksum = await destination.stored_checksum(now)
    if checksum is None:
        how.add(_UNDECIDED)
        return None
    if checksum == record.file_sha256:
        return None
    finding = "truncated" if held.size_bytes < record.size_bytes else "altered"
    return _bad(record, finding, held.location.version_id, held.etag)
