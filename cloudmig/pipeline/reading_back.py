"""Read a copy back by name, recompute both digests, compare them with its manifest.

What is asked for is the object that lies under the key now, not the version that was put: a
stranger's overwrite must be seen. Where the storage class cannot be read, the checksum that the
store computed itself decides, and the verdict says so.

A bucket must give back every byte. A DICOMweb store may write an instance in its own way: then
the data set counts, and where that differs too, its elements and the bitstream of its pixels.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from cloudmig import manifest
from cloudmig.catalog.records import BadInstance, CopyToVerify
from cloudmig.dicom.compare import Comparison
from cloudmig.dicom.digest import FileDigests, StreamDigests
from cloudmig.errors import (
    CloudmigError,
    DestinationRefused,
    DestinationUnavailable,
    ObjectArchived,
)
from cloudmig.manifest import InstanceRecord, ManifestUnreadable
from cloudmig.model.instance import ARCHIVE_CLASSES, Location
from cloudmig.pipeline.deciding import decisive
from cloudmig.pipeline.second_copy import StudyBeside, is_same_data_set
from cloudmig.ports import Destination

__all__ = ["Look", "Rest", "read_copy"]

#: Waits for as long as a store is left alone.
Rest = Callable[[], Awaitable[None]]

_READS_AT_ONCE = 8
_NOBODY = "2.25.0"  #: A SOP Instance UID that nothing has: the UUID of zeros (PS3.5 B.2).
#: The ways to verify one object, the weakest first: a copy is verified as its weakest object is.
_WAYS = ("STORE_CHECKSUM", "READ_BACK_ELEMENTS", "READ_BACK")


@dataclass(slots=True)
class Look:
    """What was seen of one copy."""

    bad: list[BadInstance] = field(default_factory=list)
    instances: int = 0
    undecided: bool = False  #: An archived object for which the store has no checksum.
    ways: set[str] = field(default_factory=set)
    equal: Counter[str] = field(default_factory=Counter)  #: Instances by what of them is equal.
    #: What differs in its bytes, and no other copy is there to compare its elements with.
    without_reference: list[InstanceRecord] = field(default_factory=list)
    #: What cannot be read while the store answers, and what that said: no verdict is possible.
    unreadable: list[tuple[BadInstance, str]] = field(default_factory=list)

    def settle(self, record: InstanceRecord, compared: Comparison) -> None:
        """Take in how an instance without a reference compares with one that was found since."""
        self.without_reference.remove(record)
        [bad] = [each for each in self.bad if each.key == record.location.key]
        self.bad.remove(bad)
        if compared.equal:
            self.note_elements()
        else:
            finding = "incomparable" if compared.undecided else bad.finding
            self.bad.append(replace(bad, finding=finding, differences=compared.differences))

    def note_elements(self) -> None:
        """Note an instance of which elements and pixel bits are equal."""
        self.ways.add("READ_BACK_ELEMENTS")
        self.equal["elements"] += 1

    @property
    def how(self) -> str:
        """Return one word for the copy: what was weakest."""
        return next((way for way in _WAYS if way in self.ways), "READ_BACK")


async def read_copy(
    destination: Destination,
    copy: CopyToVerify,
    beside: StudyBeside | None,
    *,
    rest: Rest | None = None,
) -> Look:
    """Compare a copy with its manifest; with `beside`, elements with other copies, too.

    Raises `DestinationError` when it cannot be read. With `rest`, which waits while the store is
    left alone, only where the store itself does not answer: it is read slowly then, an object that
    cannot be read is named, and the next is looked at.
    """
    look = Look()
    held = await destination.get_evidence(copy.manifest_key)
    if held is not None and hashlib.sha256(held).hexdigest() != copy.manifest_sha256:
        held = await destination.get_evidence(copy.manifest_key)  # Damaged on its way to us?
    if held is None or hashlib.sha256(held).hexdigest() != copy.manifest_sha256:
        finding = "manifest missing" if held is None else "manifest altered"
        look.bad.append(BadInstance("", finding, copy.manifest_key))
        return look
    try:
        listed = manifest.decode(held)
    except ManifestUnreadable as error:
        raise AssertionError("a manifest of ours with the right digest is readable") from error
    digests = {each.dataset_sha256: each for each in listed.instances}
    reader = _Reader(destination, digests, beside, look, rest)
    # One at a time, one that fails over and over is not taken for the store.
    at_once = asyncio.Semaphore(_READS_AT_ONCE if rest is None else 1)

    async def check(record: InstanceRecord) -> BadInstance | None:
        async with at_once:
            try:
                return await reader.check(record)
            except (DestinationUnavailable, DestinationRefused) as error:
                if rest is None:
                    raise
                await reader.see_that_it_answers(record)
                look.unreadable.append((_bad(record, "unreadable", None, ""), str(error)))
                return None

    try:
        async with asyncio.TaskGroup() as group:
            checks = [group.create_task(check(record)) for record in listed.instances]
    except* CloudmigError as errors:
        raise decisive(errors) from errors
    look.bad += [bad for task in checks if (bad := task.result()) is not None]
    look.instances = len(checks)
    return look


@dataclass(frozen=True, slots=True)
class _Reader:
    """Looks at the objects of one copy."""

    destination: Destination
    others: Mapping[str, InstanceRecord]  #: By data set digest.
    beside: StudyBeside | None
    look: Look
    rest: Rest | None  #: Where an object that cannot be read is told from a store that is down.

    async def check(self, record: InstanceRecord) -> BadInstance | None:
        """Return what is wrong with one object, or None."""
        place = record.location
        now = Location(place.key, None, place.offset, place.length)
        if record.storage_class in ARCHIVE_CLASSES:
            return await self._check_unread(record, now)
        try:
            found = await self._read_twice(record, now)
        except ObjectArchived:  # Since then, by a lifecycle rule.
            return await self._check_unread(record, now)
        self.look.ways.add("READ_BACK")
        if found is None:
            return _bad(record, "missing", place.version_id, record.etag)
        if self._agrees(found, record):
            equal = "bytes" if found.file_sha256 == record.file_sha256 else "data set"
            self.look.equal[equal] += 1
            return None
        compared = await self._compare(record, now)
        if compared is not None and compared.equal:
            self.look.note_elements()
            return None
        finding = self._name(found, record)
        if compared is None and self.beside is not None and finding == "altered":
            self.look.without_reference.append(record)
        if compared is not None and compared.undecided:
            finding = "incomparable"
        held = await self.destination.find(Location(place.key))
        etag, version_id = (held.etag, held.location.version_id) if held else ("", None)
        tags = () if compared is None else compared.differences
        return _bad(record, finding, version_id, etag, tags)

    async def _compare(self, record: InstanceRecord, place: Location) -> Comparison | None:
        if self.beside is None:
            return None
        return await self.beside.compare(record, self.destination, place)

    async def _read_twice(self, record: InstanceRecord, place: Location) -> FileDigests | None:
        """Return what was read, the second time where it differs or breaks off; None: not there.

        An answer that is damaged on its way to us says nothing about what the store holds.
        """
        for last in (False, True):
            digests = StreamDigests()
            try:
                async for piece in self.destination.read(place):
                    digests.update(piece)
            except DestinationUnavailable:
                if self.rest is not None:
                    await self.see_that_it_answers(record)
                if await self.destination.find(Location(place.key)) is None:
                    return None
                if last:
                    raise
                continue
            if last or self._agrees(digests.result(), record):
                break
        return digests.result()

    async def see_that_it_answers(self, record: InstanceRecord) -> None:
        """Ask for what is not there, in the place of an object. Raises where the store is down."""
        assert self.rest is not None, "asked where it is to be told apart"
        await self.rest()
        folder = record.location.key.rpartition("/")[0]
        with contextlib.suppress(DestinationRefused):  # That is an answer.
            await self.destination.find(Location(f"{folder}/{_NOBODY}.dcm"))

    def _agrees(self, found: FileDigests, record: InstanceRecord) -> bool:
        if self.beside is not None and is_same_data_set(found, record):
            return True
        return (found.file_sha256, found.dataset_sha256) == (
            record.file_sha256,
            record.dataset_sha256,
        )

    def _name(self, found: FileDigests, record: InstanceRecord) -> str:
        other = self.others.get(found.dataset_sha256)
        if other is not None and other.sop_instance_uid != record.sop_instance_uid:
            return "swapped"
        # Of what a store may write anew, fewer bytes say nothing.
        is_shorter = self.beside is None and found.size_bytes < record.size_bytes
        return "truncated" if is_shorter else "altered"

    async def _check_unread(self, record: InstanceRecord, now: Location) -> BadInstance | None:
        """Decide by the checksum the store computed itself, without a restore."""
        self.look.ways.add("STORE_CHECKSUM")
        held = await self.destination.find(now)
        if held is None:
            return _bad(record, "missing", record.location.version_id, record.etag)
        checksum = await self.destination.stored_checksum(now)
        if checksum is None:
            self.look.undecided = True
            return None
        if checksum == record.file_sha256:
            return None
        finding = "truncated" if held.size_bytes < record.size_bytes else "altered"
        return _bad(record, finding, held.location.version_id, held.etag)


def _bad(
    record: InstanceRecord,
    finding: str,
    version_id: str | None,
    etag: str,
    differences: tuple[str, ...] = (),
) -> BadInstance:
    key = record.location.key
    return BadInstance(record.sop_instance_uid, finding, key, version_id, etag, differences)
