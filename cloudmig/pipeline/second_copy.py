"""Compares an instance that a DICOMweb store wrote anew with another copy of it (field notes 5).

A manifest holds digests only, which say that bytes differ and not in what. What to compare with is
another copy of the same study: an object that, read back, has exactly the data set that the
manifest names. Without one nothing is assumed.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from cloudmig import manifest
from cloudmig.catalog import Catalog
from cloudmig.catalog.records import CopyRow, CopyToVerify
from cloudmig.dicom.compare import Comparison, compare_files
from cloudmig.dicom.digest import FileDigests
from cloudmig.errors import DestinationUnavailable, ObjectArchived, SpoolFull
from cloudmig.manifest import InstanceRecord
from cloudmig.model.instance import ARCHIVE_CLASSES, Location
from cloudmig.pipeline.parts import Parts
from cloudmig.pipeline.spooling import spooled
from cloudmig.ports import Destination

__all__ = ["StudyBeside", "is_same_data_set"]


def is_same_data_set(found: FileDigests, record: InstanceRecord) -> bool:
    """Say whether these are the recorded bytes but for group 0002, which every hop may rewrite.

    The transfer syntax is in it, and tells how to read the rest: that one has to be the same.
    """
    return (found.dataset_sha256, found.transfer_syntax_uid) == (
        record.dataset_sha256,
        record.transfer_syntax_uid,
    )


@dataclass(slots=True)
class _OtherCopy:
    """Another copy, as its manifest tells it."""

    destination: Destination
    records: dict[str, InstanceRecord]  #: By data set digest.


@dataclass(slots=True)
class StudyBeside:
    """The other copies of one study; their manifests are read once, and only if needed."""

    parts: Parts
    copy: CopyToVerify
    _others: list[_OtherCopy] | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def compare(
        self, record: InstanceRecord, destination: Destination, place: Location
    ) -> Comparison | None:
        """Compare what lies at a place with the recorded instance; None: with nothing.

        Raises `DestinationError` when a copy that should help cannot be read now.
        """
        async with self._lock:
            if self._others is None:
                self._others = await self._find_others()
        for other in self._others:
            twin = other.records.get(record.dataset_sha256)
            if twin is None:
                continue
            async with self.parts.comparisons, AsyncExitStack() as files:
                reference = await self._fetch(files, other.destination, twin)
                if reference is None:
                    continue
                path, _ = await self._spool(files, destination.read(place))
                return await _compare(reference, path)
        return None

    async def _fetch(
        self, files: AsyncExitStack, destination: Destination, twin: InstanceRecord
    ) -> Path | None:
        """Put the twin into the spool; None where it is no more what its manifest says."""
        place = Location(twin.location.key, None, twin.location.offset, twin.location.length)
        try:
            path, found = await self._spool(files, destination.read(place))
        except ObjectArchived:
            return None  # It helps nobody before a restore.
        except DestinationUnavailable:
            if await destination.find(Location(twin.location.key)) is not None:
                raise
            return None
        return path if is_same_data_set(found, twin) else None

    async def _spool(
        self, files: AsyncExitStack, pieces: AsyncIterator[bytes]
    ) -> tuple[Path, FileDigests]:
        return await files.enter_async_context(spooled(self.parts.area.spool, pieces))

    async def _find_others(self) -> list[_OtherCopy]:
        study = await self.parts.catalog.call(Catalog.transfer, self.copy.source, self.copy.study)
        rows = [] if study is None else study.copies
        others = [await self._open(row) for row in rows if row.copy_id != self.copy.copy_id]
        # Buckets first: they hold the bytes as they came.
        found = [(self._is_web(name), other) for name, other in others if other is not None]
        return [other for _, other in sorted(found, key=lambda each: each[0])]

    def _is_web(self, name: str) -> bool:
        return self.parts.config.destinations[name].is_dicomweb

    async def _open(self, row: CopyRow) -> tuple[str, _OtherCopy | None]:
        destination = self.parts.destinations.get((row.destination, self.copy.source))
        if destination is None or row.manifest_key is None:
            return row.destination, None
        held = await destination.get_evidence(row.manifest_key)
        if held is None or hashlib.sha256(held).hexdigest() != row.manifest_sha256:
            return row.destination, None  # Its own verification says so.
        records = {
            each.dataset_sha256: each
            for each in manifest.decode(held).instances
            if each.storage_class not in ARCHIVE_CLASSES
        }
        return row.destination, _OtherCopy(destination, records)


async def _compare(reference: Path, path: Path) -> Comparison:
    try:
        return await compare_files(reference, path)
    except FileNotFoundError as error:
        # An agent that starts clears the spool that both use: that says nothing of the store.
        raise SpoolFull("the spool was cleared meanwhile", hint="verify again") from error
