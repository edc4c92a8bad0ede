"""Takes one object as it arrives: hashes it, keeps it in memory, spills it when memory is short."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from cloudmig.errors import SpoolFull

if TYPE_CHECKING:
    from cloudmig.staging.area import StagingArea

__all__ = ["StagedBytes", "StagingWriter"]

#: Bytes gathered before a spilled object goes to the disk in one write, in a thread.
_SPILL_PIECE_BYTES = 1 << 20


@dataclass(slots=True)
class StagedBytes:
    """A complete object and the room it holds. `release` gives that back, exactly once."""

    area: StagingArea
    body: bytearray | None
    path: Path | None
    size_bytes: int
    dataset_offset: int
    file_sha256: str
    dataset_sha256: str
    beginning: bytearray  #: The first bytes of the file: the whole of it when it is in memory.
    memory_bytes: int  #: What it counts for in the memory budget.
    released: bool = False

    def release(self) -> None:
        """Give memory or spool room back."""
        assert not self.released, "released twice"
        self.released = True
        self.body = None
        self.beginning = bytearray()
        if self.memory_bytes:
            self.area.memory.give(self.memory_bytes)
        if self.path is not None:
            self.area.spool.remove(self.path, self.size_bytes)


class StagingWriter:
    """One object on its way in.

    Ends with `complete` or `discard`. After either, `discard` does nothing, so that it may follow a
    `complete` that was cancelled, however far that came.
    """

    def __init__(self, area: StagingArea, prefix: bytes, *, credit_bytes: int) -> None:
        """Start an object whose first `credit_bytes` of memory are reserved already."""
        self._area = area
        self._body = bytearray(prefix)
        self._prefix_bytes = len(prefix)
        self._size = len(prefix)
        self._memory = credit_bytes
        self._file_hash = hashlib.sha256(prefix)
        self._dataset_hash = hashlib.sha256()
        self._beginning: bytearray | None = None
        self._path: Path | None = None
        self._file: BinaryIO | None = None
        self._reserved = 0
        self._writing: asyncio.Task[None] | None = None
        self.trouble: SpoolFull | None = None  #: Set when the object has nowhere to go: drain it.

    def write(self, data: memoryview) -> Awaitable[None] | None:
        """Take the next bytes. An awaitable asks the caller to stop reading until it is done."""
        if self.trouble is not None:
            return None
        self._file_hash.update(data)
        self._dataset_hash.update(data)
        self._size += len(data)
        if self._file is None:
            if self._size <= self._memory or self._more_memory():
                self._body += data
                return None
            if not self._begin_spill():
                return None
        assert self._beginning is not None
        room = self._area.limits.beginning_bytes - len(self._beginning)
        if room > 0:
            # An object without credit spills with its first byte; its UIDs are wanted all the same.
            self._beginning += data[:room]
        self._body += data
        if len(self._body) < _SPILL_PIECE_BYTES:
            return None
        return self._flush()

    def _more_memory(self) -> bool:
        """Take another step of memory if the budget has it free: nobody waits in mid-object."""
        step = max(self._size - self._memory, self._area.limits.credit_bytes)
        if self._memory + step > self._area.limits.memory_object_bytes_max:
            return False
        if not self._area.memory.try_take(step):
            return False
        self._memory += step
        return True

    def _begin_spill(self) -> bool:
        try:
            self._path, self._file = self._area.spool.create()
        except SpoolFull as error:
            self._fail(error)
            return False
        self._beginning = self._body[: self._area.limits.beginning_bytes]
        return True

    def _flush(self) -> Awaitable[None] | None:
        piece, self._body = self._body, bytearray()
        try:
            self._area.spool.reserve(len(piece))
        except SpoolFull as error:
            self._fail(error)
            return None
        self._reserved += len(piece)
        assert self._writing is None or self._writing.done(), "the caller did not wait"
        assert self._file is not None, "spilling has begun"
        self._writing = asyncio.ensure_future(self._write_piece(self._file, piece))
        # Shielded: a thread cannot be cancelled, and `discard` must know that it still writes.
        return asyncio.shield(self._writing)

    async def _write_piece(self, file: BinaryIO, piece: bytearray) -> None:
        try:
            await asyncio.to_thread(self._area.spool.write, file, piece)
        except SpoolFull as error:
            self._fail(error)

    def _fail(self, error: SpoolFull) -> None:
        self.trouble = error
        self._body = bytearray()

    def complete_at_once(self) -> StagedBytes | None:
        """Return the object if it lies in memory; None where `complete` has to be waited for."""
        if self._file is not None or self.trouble is not None:
            return None
        return self._staged()

    async def complete(self) -> StagedBytes:
        """Return the object. Raises `SpoolFull` when it could not be kept; then nothing is held."""
        if self._file is not None and self.trouble is None and self._body:
            flushed = self._flush()
            if flushed is not None:
                await flushed
        if self.trouble is not None:
            self.discard()
            raise self.trouble
        return self._staged()

    def _staged(self) -> StagedBytes:
        if self._file is not None:
            self._file.close()
            self._area.memory.give(self._memory)
            memory, body = 0, None
            beginning = self._beginning or bytearray()
        else:
            # Keep what it really takes; the rest of the credit is free again.
            memory = min(self._size, self._memory)
            self._area.memory.give(self._memory - memory)
            body = beginning = self._body
        path, self._path, self._file, self._memory = self._path, None, None, 0
        return StagedBytes(
            area=self._area,
            body=body,
            path=path,
            size_bytes=self._size,
            dataset_offset=self._prefix_bytes,
            file_sha256=self._file_hash.hexdigest(),
            dataset_sha256=self._dataset_hash.hexdigest(),
            beginning=beginning,
            memory_bytes=memory,
        )

    def discard(self) -> None:
        """Give back what is still held: the object will not be complete, or had no room."""
        self._body = bytearray()
        self._area.memory.give(self._memory)
        file, path, self._file, self._path, self._memory = self._file, self._path, None, None, 0
        if file is None or path is None:
            return
        if self._writing is not None and not self._writing.done():
            # A thread still writes: it must not write into the file of somebody else.
            self._writing.add_done_callback(lambda _: self._remove(file, path))
        else:
            self._remove(file, path)

    def _remove(self, file: BinaryIO, path: Path) -> None:
        file.close()
        self._area.spool.remove(path, self._reserved)
