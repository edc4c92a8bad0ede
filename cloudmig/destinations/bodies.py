"""The bytes of an object to put: in memory, or in the spool, read with bounded memory."""

from __future__ import annotations

import contextlib
import hashlib
import io
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cloudmig.errors import SpoolFull
from cloudmig.model.instance import StagedInstance

__all__ = [
    "PartPlan", "PartReader", "StagedBody", "body_pieces", "digest_parts", "map_spooled",
    "open_part_reader",
]  # fmt: skip

_PIECE_BYTES = 1 << 20
_MAPPED_PIECE_BYTES = 8 << 20
_PARTS_MAX = 10_000  # The limit of S3.
_MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class StagedBody:
    """What a store needs to know of the bytes it is to keep."""

    size_bytes: int
    file_sha256: str
    dataset_sha256: str
    body: bytes | bytearray | None = None
    path: Path | None = None

    @classmethod
    def of(cls, staged: StagedInstance) -> StagedBody:
        return cls(
            staged.size_bytes, staged.file_sha256, staged.dataset_sha256, staged.body, staged.path
        )

    @classmethod
    def of_evidence(cls, body: bytes) -> StagedBody:
        return cls(len(body), hashlib.sha256(body).hexdigest(), "", body)


@dataclass(frozen=True, slots=True)
class PartPlan:
    """How a large object is cut: equal parts and a last one, never more than S3 allows."""

    size_bytes: int
    part_bytes: int

    @classmethod
    def of(cls, size_bytes: int, part_bytes_min: int = 8 * _MEBIBYTE) -> PartPlan:
        needed = -(-size_bytes // _PARTS_MAX)
        whole = -(-needed // _MEBIBYTE) * _MEBIBYTE
        return cls(size_bytes, max(part_bytes_min, whole))

    def ranges(self) -> Iterator[tuple[int, int]]:
        """Yield start and length of each part."""
        for start in range(0, self.size_bytes, self.part_bytes):
            yield start, min(self.part_bytes, self.size_bytes - start)


@contextmanager
def open_part_reader(body: StagedBody) -> Iterator[PartReader]:
    """Open the body for reading parts, from several threads at once."""
    if body.path is None:
        assert body.body is not None
        yield PartReader(memoryview(body.body), None)
        return
    descriptor = os.open(body.path, os.O_RDONLY)
    try:
        yield PartReader(None, descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class PartReader:
    """Reads ranges of a body. A range of the spool is read when asked for, not before."""

    view: memoryview | None
    descriptor: int | None

    def read(self, start: int, length: int) -> bytes:
        if self.view is not None:
            return bytes(self.view[start : start + length])
        assert self.descriptor is not None
        data = os.pread(self.descriptor, length, start)
        if len(data) != length:
            raise _spool_damaged()
        return data

    def stream(self, size_bytes: int) -> BinaryIO:
        """Return the whole as a file, for one streamed PUT that owns it."""
        if self.view is not None:
            return io.BytesIO(self.view)
        assert self.descriptor is not None
        assert os.fstat(self.descriptor).st_size == size_bytes
        return os.fdopen(os.dup(self.descriptor), "rb")


@contextmanager
def body_pieces(body: StagedBody) -> Iterator[Iterator[bytes | bytearray]]:
    """Give the body in pieces; the last one raises when they are not what was received."""
    if body.body is not None:
        yield iter([body.body])
        return
    with open_part_reader(body) as reader:
        yield _checked_pieces(body, reader)


def _checked_pieces(body: StagedBody, reader: PartReader) -> Iterator[bytes]:
    digest = hashlib.sha256()
    for start, length in PartPlan(body.size_bytes, _PIECE_BYTES).ranges():
        piece = reader.read(start, length)
        digest.update(piece)
        yield piece
    if digest.hexdigest() != body.file_sha256:
        raise _spool_damaged()


def digest_parts(body: StagedBody, plan: PartPlan) -> list[bytes]:
    """Return the SHA-256 of each part; raise when the whole is not what was received."""
    whole, parts = hashlib.sha256(), []
    with open_part_reader(body) as reader:
        for start, length in plan.ranges():
            part = hashlib.sha256()
            for offset in range(start, start + length, _PIECE_BYTES):
                piece = reader.read(offset, min(_PIECE_BYTES, start + length - offset))
                whole.update(piece)
                part.update(piece)
            parts.append(part.digest())
    if whole.hexdigest() != body.file_sha256:
        raise _spool_damaged()
    return parts


def map_spooled(body: StagedBody) -> mmap.mmap:
    """Map a spooled file: no copy is made. It is unmapped when the last user lets go of it."""
    assert body.path is not None
    with contextlib.ExitStack() as stack:
        descriptor = os.open(body.path, os.O_RDONLY)
        stack.callback(os.close, descriptor)
        mapped = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
    digest = hashlib.sha256()
    with memoryview(mapped) as view:
        for start in range(0, len(view), _MAPPED_PIECE_BYTES):
            with view[start : start + _MAPPED_PIECE_BYTES] as piece:
                digest.update(piece)
            # What was looked at needs no memory of ours: the page cache has it.
            mapped.madvise(mmap.MADV_DONTNEED, start, len(view) - start)
    if digest.hexdigest() != body.file_sha256:
        raise _spool_damaged()
    return mapped


def _spool_damaged() -> SpoolFull:
    # The study is pulled again; putting these bytes would store them under a wrong digest.
    return SpoolFull("the spool does not hold what was received", hint="check the spool's disk")
