"""One running retrieve: reads the files of a study, and hands over what is as the index says.

A file that has changed, vanished or moved to other UIDs since the inventory is not handed over: it
is missing, its trouble noted in the index, until another inventory has looked at it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cloudmig.dicom.header import Identity
from cloudmig.dicom.part10 import file_prefix
from cloudmig.errors import SpoolFull
from cloudmig.model.files import FileKind
from cloudmig.model.quarantine import QuarantineReason
from cloudmig.model.references import InstanceRef
from cloudmig.ports import RetrieveRequest
from cloudmig.sources.arrivals import HeldArrival, RunningRetrieval, identity_of, staged_instance
from cloudmig.sources.directory.as_indexed import (
    NotAsIndexedError,
    opened_as_indexed,
    trouble_of,
)
from cloudmig.sources.directory.studies import IndexedFile, duplicates_of, files_of
from cloudmig.staging import (
    FileShrankError,
    FileToStage,
    OpenedFile,
    ReadBody,
    StagedBytes,
    stage_file,
)

if TYPE_CHECKING:
    from cloudmig.sources.directory.source import DirectorySource

__all__ = ["DirectoryRetrieval"]

#: Files of one study that are read at once: the next is read while the one before is stored.
_AHEAD = 3


class DirectoryRetrieval(RunningRetrieval[HeldArrival]):
    """Port `Retrieval` over files. Works while its context is entered."""

    def __init__(self, source: DirectorySource, request: RetrieveRequest) -> None:
        super().__init__(request)
        self._source = source
        self._without_first: set[str] = set()  #: SOP Instance UIDs whose first content is amiss.

    async def _work(self) -> None:
        async with self._source.lanes:
            with self._source.opened_root() as root:
                files = await asyncio.to_thread(self._wanted)
                reading: deque[asyncio.Task[HeldArrival | None]] = deque()
                try:
                    for file in files:
                        if len(reading) >= _AHEAD:
                            await self._hand_over_first(reading)
                        reading.append(asyncio.create_task(self._read(root, file)))
                    while reading:
                        await self._hand_over_first(reading)
                finally:
                    # A thread that reads cannot be stopped: the root stays open until it is done.
                    for task in reading:
                        task.cancel()
                    for left in await asyncio.gather(*reading, return_exceptions=True):
                        if isinstance(left, HeldArrival):
                            left.settle(stored=False)

    async def _hand_over_first(self, reading: deque[asyncio.Task[HeldArrival | None]]) -> None:
        """Wait for the file that comes first: of two contents it is the one that is kept."""
        await asyncio.wait([reading[0]])
        arrival = reading.popleft().result()
        if arrival is None:
            return
        instance = arrival.staged.instance
        if instance is not None and instance.sop_instance_uid in self._without_first:
            arrival.settle(stored=False)  # It would pass for the first.
        else:
            self._hand_over(arrival)

    def _wanted(self) -> list[IndexedFile]:
        request = self.request
        files = files_of(self._source.index, request.study)
        if request.narrow:
            files = [file for file in files if file.sop_instance_uid in request.expected]
        if request.transfer_syntax_uid is not None:
            files = [f for f in files if f.transfer_syntax_uid == request.transfer_syntax_uid]
        return files

    async def _read(self, root: int, file: IndexedFile) -> HeldArrival | None:
        """Return one file, or another with the same content; note where there is none."""
        arrival = await self._read_any(root, file)
        if arrival is None and file.kind is FileKind.INSTANCE:
            self._without_first.add(file.sop_instance_uid)
        elif arrival is None:
            self.evidence.unread.add(file.sop_instance_uid)
        return arrival

    async def _read_any(self, root: int, file: IndexedFile) -> HeldArrival | None:
        for each in self._same(file):
            try:
                held = await self._staged(root, each)
            except SpoolFull:
                self.evidence.no_room += 1
                return None
            except (OSError, NotAsIndexedError) as error:
                await self._note(each, error)
                continue
            return None if held is None else self._arrival(each, held)
        return None

    def _same(self, file: IndexedFile) -> Iterator[IndexedFile]:
        yield file
        if file.dataset_sha256 is not None:
            yield from duplicates_of(self._source.index, self.request.study, file)

    async def _staged(self, root: int, file: IndexedFile) -> StagedBytes | None:
        if file.size_bytes > self._source.settings.object_bytes_max:
            self.evidence.too_large.add(file.sop_instance_uid)
            return None
        prefix = file_prefix(file.sop_class_uid, file.sop_instance_uid, file.transfer_syntax_uid)
        to_stage = FileToStage(
            opened=lambda: _opened(root, file),
            size_bytes=file.size_bytes,
            prefix=prefix,
            check=lambda held: self._check(identity_of(held, file.transfer_syntax_uid), file),
            read_apart=lambda: self._read_apart(file, prefix),
        )
        return await stage_file(self._source.area, to_stage, self._source.threads)

    async def _read_apart(self, file: IndexedFile, prefix: bytes) -> ReadBody | None:
        read = await self._source.readers.read(file.facts, prefix)
        if read is None:
            return None
        self._check(read.identity, file)
        return read.body

    def _check(self, found: Identity | None, file: IndexedFile) -> None:
        """Never store something under a UID that it does not carry."""
        wanted = Identity(
            file.sop_class_uid,
            file.sop_instance_uid,
            self.request.study.study_instance_uid,
            file.series_instance_uid,
        )
        if found != wanted:
            raise NotAsIndexedError("changed")

    def _arrival(self, file: IndexedFile, held: StagedBytes) -> HeldArrival:
        instance, trouble = None, QuarantineReason.UNUSABLE_UID.value
        if file.kind is not FileKind.UNUSABLE_UID:
            study = self.request.study.study_instance_uid
            instance = InstanceRef(study, file.series_instance_uid, file.sop_instance_uid)
            trouble = ""
        staged = staged_instance(
            held,
            instance,
            sop_class_uid=file.sop_class_uid,
            transfer_syntax_uid=file.transfer_syntax_uid,
        )
        expected = file.sop_instance_uid in self.request.expected
        return HeldArrival(staged, held, unexpected=not expected, trouble=trouble)

    async def _note(self, file: IndexedFile, error: Exception) -> None:
        """Write down what is wrong with a file; raise where the folder itself is gone."""
        await self._source.ping()
        trouble = "changed" if isinstance(error, FileShrankError) else trouble_of(error)
        await asyncio.to_thread(self._source.index.note_trouble, file.file_id, trouble)


@contextlib.contextmanager
def _opened(root: int, file: IndexedFile) -> Iterator[OpenedFile]:
    with opened_as_indexed(root, file.facts) as (descriptor, dataset_offset):
        yield OpenedFile(descriptor, dataset_offset)
