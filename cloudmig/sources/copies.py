"""A copy of a study as a source: what its manifest lists, read back and proven before it is given.

Nothing leaves here whose digests differ from the manifest's: such an object does not arrive, and
is listed as damaged.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence

from cloudmig import manifest
from cloudmig.catalog.records import BadInstance
from cloudmig.dicom.part10 import PREFIX_BYTES_MAX, NotPart10, file_prefix, read_prefix
from cloudmig.errors import (
    CloudmigError,
    DestinationRefused,
    DestinationUnavailable,
    ObjectArchived,
    SourceRefused,
    SourceUnavailable,
    SpoolFull,
)
from cloudmig.manifest import InstanceRecord, Manifest
from cloudmig.model.instance import (
    ARCHIVE_CLASSES,
    ExpectedInstance,
    Location,
    Slot,
    StagedInstance,
)
from cloudmig.model.references import InstanceRef, StudyRef
from cloudmig.ports import Destination, Listing, RetrieveRequest
from cloudmig.sources.arrivals import HeldArrival, RunningRetrieval, staged_instance
from cloudmig.staging import StagedBytes, StagingArea, StagingWriter

__all__ = ["CopyArrival", "CopyRetrieval", "CopySource"]

#: Objects of one study that are read, or wait to be stored, at once.
_IN_FLIGHT = 8


class CopySource:
    """One study at one destination, by the manifest that a verdict agreed with (`StudySource`)."""

    def __init__(
        self,
        destination: Destination,
        *,
        manifest_key: str,
        manifest_sha256: str,
        area: StagingArea,
    ) -> None:
        self.destination = destination
        self.area = area
        self.damaged: list[BadInstance] = []  #: What differs from the manifest; never given out.
        self.unusable = ""  #: Why this copy cannot be copied although it is well.
        self._manifest_key = manifest_key
        self._manifest_sha256 = manifest_sha256
        self._manifest: Manifest | None = None

    @property
    def name(self) -> str:
        return self.destination.name

    @property
    def completeness(self) -> str:
        """SET or WEAK: a copy is no better than what it was made from."""
        return self._manifest.completeness if self._manifest else "WEAK"

    @property
    def provenance(self) -> Mapping[str, str]:
        """What the manifest of a new copy says about this one."""
        return {"copied_from": self.name, "copied_from_sha256": self._manifest_sha256}

    @property
    def unlisted(self) -> frozenset[str]:
        """Return the SOP Instance UIDs that the PACS sent without having listed them."""
        records = self._manifest.instances if self._manifest else ()
        return frozenset(each.sop_instance_uid for each in records if each.unexpected)

    @property
    def beside(self) -> Mapping[str, Sequence[str]]:
        """Return the data set digests of conflicts by SOP Instance UID."""
        found: dict[str, list[str]] = {}
        for each in self._manifest.instances if self._manifest else ():
            if each.slot == Slot.CONFLICT.value:
                found.setdefault(each.sop_instance_uid, []).append(each.dataset_sha256)
        return found

    async def ping(self) -> None:
        """Ask for the manifest: a destination that answers that answers."""
        await self._evidence()

    async def list_instances(self, study: StudyRef) -> Listing:
        """Return what the manifest lists; nothing where it is damaged or not to be copied."""
        held = await self._evidence()
        if held is not None and hashlib.sha256(held).hexdigest() != self._manifest_sha256:
            held = await self._evidence()  # Damaged on its way to us?
        if held is None or hashlib.sha256(held).hexdigest() != self._manifest_sha256:
            finding = "manifest missing" if held is None else "manifest altered"
            self.damaged.append(BadInstance("", finding, self._manifest_key))
            return Listing((), complete=False)
        self._manifest = read = manifest.decode(held)
        assert read.study_instance_uid == study.study_instance_uid, "a manifest is of its study"
        if read.missing:
            self.unusable = "incomplete"  # Only the PACS, or a person, can say what is missing.
        elif any(each.storage_class in ARCHIVE_CLASSES for each in read.instances):
            self.unusable = "archived"
        if self.unusable:
            return Listing((), complete=False)
        listed = {
            each.sop_instance_uid: ExpectedInstance(_ref(read, each), each.sop_class_uid)
            for each in read.instances
            if each.slot == Slot.PRIMARY.value
        }
        return Listing(tuple(listed.values()), complete=True)

    def retrieve(self, request: RetrieveRequest) -> CopyRetrieval:
        """Read back every content of the expected instances, conflicts included."""
        assert self._manifest is not None, "list before you retrieve"
        wanted = [
            each for each in self._manifest.instances if each.sop_instance_uid in request.expected
        ]
        return CopyRetrieval(self, request, self._manifest, wanted)

    def alternatives(self, sop_class_uids: Sequence[str]) -> Sequence[str]:  # noqa: ARG002
        """Return nothing: a copy is what it is."""
        return ()

    async def _evidence(self) -> bytes | None:
        with translated():
            return await self.destination.get_evidence(self._manifest_key)


class CopyArrival(HeldArrival):
    """One object that was read back and found to be what its manifest says (port `Arrival`)."""

    __slots__ = ("_room", "slot")

    def __init__(
        self, staged: StagedInstance, held: StagedBytes, slot: Slot, room: asyncio.Semaphore
    ) -> None:
        super().__init__(staged, held, unexpected=False, trouble="")
        self.slot = slot  #: Where it lies there, and belongs here.
        self._room = room

    def settle(self, *, stored: bool) -> None:
        """Give its room back."""
        super().settle(stored=stored)
        self._room.release()


class CopyRetrieval(RunningRetrieval[CopyArrival]):
    """Reads objects, several at once, as long as those before are stored (port `Retrieval`)."""

    def __init__(
        self,
        source: CopySource,
        request: RetrieveRequest,
        manifest_: Manifest,
        wanted: Sequence[InstanceRecord],
    ) -> None:
        super().__init__(request)
        self._source = source
        self._manifest = manifest_
        self._wanted = wanted
        self._room = asyncio.Semaphore(_IN_FLIGHT)

    async def _work(self) -> None:
        try:
            async with asyncio.TaskGroup() as readings:
                for record in self._wanted:
                    await self._room.acquire()
                    if self._source.unusable:
                        return
                    readings.create_task(self._bring(record))
        except* CloudmigError as group:
            # All of them ask one store: whoever failed first says it for all.
            raise group.exceptions[0] from None

    async def _bring(self, record: InstanceRecord) -> None:
        """Read one object and hand it over; the room is given back where there is none."""
        arrival = None
        try:
            with translated():
                arrival = await self._read_twice(record)
        except ObjectArchived:
            self._source.unusable = "archived"
        except SpoolFull:
            self.evidence.no_room += 1
        finally:
            if arrival is None:
                self._room.release()
            else:
                self._hand_over(arrival)

    async def _read_twice(self, record: InstanceRecord) -> CopyArrival | None:
        """Read what lies under the key now, again where it differs: it may have been the way."""
        place = record.location
        now = Location(place.key, None, place.offset, place.length)
        finding = ""
        for last in (False, True):
            try:
                held = await self._read(record, now)
            except DestinationUnavailable:
                if await self._source.destination.find(Location(place.key)) is None:
                    self._blame(record, "missing", place.version_id, record.etag)
                    return None
                if last:
                    raise
                continue
            if isinstance(held, StagedBytes):
                return self._arrival(record, held)
            finding = held
        found = await self._source.destination.find(Location(place.key))
        etag, version_id = (found.etag, found.location.version_id) if found else ("", None)
        self._blame(record, finding, version_id, etag)
        return None

    def _blame(
        self, record: InstanceRecord, finding: str, version_id: str | None, etag: str
    ) -> None:
        self.evidence.failed = (self.evidence.failed or 0) + 1
        self._source.damaged.append(
            BadInstance(record.sop_instance_uid, finding, record.location.key, version_id, etag)
        )

    def _arrival(self, record: InstanceRecord, held: StagedBytes) -> CopyArrival:
        staged = staged_instance(
            held,
            _ref(self._manifest, record),
            sop_class_uid=record.sop_class_uid,
            transfer_syntax_uid=record.transfer_syntax_uid,
        )
        return CopyArrival(staged, held, Slot(record.slot), self._room)

    async def _read(self, record: InstanceRecord, place: Location) -> StagedBytes | str:
        """Return the object under our own prefix, or the name of what is wrong with it."""
        area = self._source.area
        credit_bytes = min(record.size_bytes, area.limits.credit_bytes)
        wait_s = area.limits.credit_wait_max_s
        if not await area.memory.take(credit_bytes, wait_max_s=wait_s):
            credit_bytes = 0
        writer = area.open(
            sop_class_uid=record.sop_class_uid,
            sop_instance_uid=record.sop_instance_uid,
            transfer_syntax_uid=record.transfer_syntax_uid,
            credit_bytes=credit_bytes,
        )
        reading = _Reading(record, writer)
        try:
            async with contextlib.aclosing(_pieces(self._source.destination, place)) as pieces:
                async for piece in pieces:
                    await reading.take(piece)
            held = await writer.complete()
        except BaseException:
            writer.discard()
            raise
        if reading.agrees(held):
            return held
        held.release()
        return "truncated" if reading.size_bytes < record.size_bytes else "altered"


class _Reading:
    """Takes a Part 10 file apart as it comes: its data set goes on under our own prefix."""

    def __init__(self, record: InstanceRecord, writer: StagingWriter) -> None:
        self.size_bytes = 0
        self._record = record
        self._writer = writer
        self._beginning: bytearray | None = bytearray()
        self._ours = file_prefix(
            record.sop_class_uid, record.sop_instance_uid, record.transfer_syntax_uid
        )
        #: The digest of the file as it lies there, unless that is the one the writer makes.
        self._file_hash = hashlib.sha256()
        self._is_ours = False
        self._transfer_syntax_uid = ""

    async def take(self, piece: bytes) -> None:
        """Take the next piece of the file."""
        self.size_bytes += len(piece)
        if self._beginning is None:
            await self._pass_on(memoryview(piece))
            return
        self._beginning += piece
        try:
            offset, self._transfer_syntax_uid = read_prefix(self._beginning)
        except NotPart10:
            if len(self._beginning) <= PREFIX_BYTES_MAX:
                return  # Perhaps more will tell; the digests decide.
            offset = 0
        if offset < len(self._beginning):
            beginning, self._beginning = self._beginning, None
            self._is_ours = beginning[:offset] == self._ours
            if not self._is_ours:
                self._file_hash.update(memoryview(beginning)[:offset])
            await self._pass_on(memoryview(beginning)[offset:])

    async def _pass_on(self, data: memoryview) -> None:
        if not self._is_ours:
            self._file_hash.update(data)
        if (waiting := self._writer.write(data)) is not None:
            await waiting

    def agrees(self, held: StagedBytes) -> bool:
        """Say whether both digests are those of the manifest, and so is the transfer syntax.

        The manifest's is written over it: under another one nobody could read the data set.
        """
        if self._beginning is not None:  # It ends with its prefix, or in it.
            self._file_hash.update(self._beginning)
        file_sha256 = held.file_sha256 if self._is_ours else self._file_hash.hexdigest()
        found = (file_sha256, held.dataset_sha256, self._transfer_syntax_uid)
        return found == (
            self._record.file_sha256,
            self._record.dataset_sha256,
            self._record.transfer_syntax_uid,
        )


async def _pieces(destination: Destination, place: Location) -> AsyncGenerator[bytes, None]:
    async for piece in destination.read(place):
        yield piece


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Say of a destination that is read what is said of a source."""
    try:
        yield
    except DestinationUnavailable as error:
        raise SourceUnavailable(str(error), hint=error.hint) from error
    except DestinationRefused as error:
        raise SourceRefused(str(error), hint=error.hint) from error


def _ref(read: Manifest, record: InstanceRecord) -> InstanceRef:
    return InstanceRef(read.study_instance_uid, record.series_instance_uid, record.sop_instance_uid)
