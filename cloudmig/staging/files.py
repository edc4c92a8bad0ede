"""Take in a file that lies on a disk of ours: read once, hashed in its thread, copied nowhere else.

Its size is known beforehand, so its room is taken in one piece and nothing grows. Everything about
one file happens in one call to a thread: handing work to threads is what costs most here.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVarTuple, Unpack

from cloudmig.staging.area import StagingArea
from cloudmig.staging.writer import StagedBytes

__all__ = ["FileShrankError", "FileToStage", "OpenedFile", "ReadBody", "stage_file"]

_PIECE_BYTES = 1 << 20

Arguments = TypeVarTuple("Arguments")


class FileShrankError(OSError):
    """The file ended before its size said it would."""


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """A file that is, so far, what it should be."""

    descriptor: int
    dataset_offset: int


@dataclass(frozen=True, slots=True)
class ReadBody:
    """A file in memory: a prefix of ours, and its data set."""

    body: bytearray
    dataset_offset: int
    file_sha256: str
    dataset_sha256: str


@dataclass(frozen=True, slots=True)
class FileToStage:
    """What is to be taken in, and what must be true of it. `opened` and `check` run in a thread."""

    #: Opens the file and, when left, says by an exception if it changed meanwhile.
    opened: Callable[[], AbstractContextManager[OpenedFile]]
    size_bytes: int
    prefix: bytes  #: What stands before the data set in our file.
    check: Callable[[StagedBytes], None]  #: Raises where the content is not what was expected.
    #: Reads and checks it otherwise, where it fits into memory; None says that this cannot be now.
    read_apart: Callable[[], Awaitable[ReadBody | None]]


async def stage_file(area: StagingArea, file: FileToStage, threads: Executor) -> StagedBytes:
    """Return our prefix and the data set of a file, in memory or in the spool.

    `threads` are for this alone: those that write wait for disks, and hashing must not wait with
    them.

    Raises `SpoolFull` when neither has room, and what opening, reading and checking raise; then
    nothing is held.
    """
    room = len(file.prefix) + file.size_bytes
    limits = area.limits
    in_memory = room <= limits.memory_object_bytes_max and await area.memory.take(
        room, wait_max_s=limits.credit_wait_max_s
    )
    if in_memory:
        try:
            read = await file.read_apart()
            if read is not None:
                held = _staged(area, read)
            else:
                held = await _finished(threads, _in_memory, area, file)
        except BaseException:
            area.memory.give(room)
            raise
        area.memory.give(room - held.memory_bytes)
        return held
    area.spool.reserve(room)
    try:
        path, spooled = area.spool.create()
    except BaseException:
        area.spool.give_back(room)
        raise
    try:
        with spooled:
            held = await _finished(threads, _in_spool, area, file, path, spooled)
    except BaseException:
        area.spool.remove(path, room)
        raise
    area.spool.give_back(room - held.size_bytes)
    return held


async def _finished(
    threads: Executor, read: Callable[[Unpack[Arguments]], StagedBytes], *given: *Arguments
) -> StagedBytes:
    """Wait for a thread that cannot be stopped, even when nobody wants its answer any more."""
    reading = asyncio.get_running_loop().run_in_executor(threads, read, *given)
    try:
        return await asyncio.shield(reading)
    except asyncio.CancelledError:
        await asyncio.wait([reading])
        raise


def _in_memory(area: StagingArea, file: FileToStage) -> StagedBytes:
    begin = len(file.prefix)
    with file.opened() as opened:
        body = bytearray(begin + file.size_bytes - opened.dataset_offset)
        body[:begin] = file.prefix
        with memoryview(body) as whole, whole[begin:] as dataset:
            done = 0
            while done < len(dataset):
                with dataset[done:] as rest:
                    read = os.preadv(opened.descriptor, [rest], opened.dataset_offset + done)
                if not read:
                    raise FileShrankError
                done += read
            dataset_sha256 = hashlib.sha256(dataset).hexdigest()
            file_sha256 = hashlib.sha256(whole).hexdigest()
    held = _staged(area, ReadBody(body, begin, file_sha256, dataset_sha256))
    file.check(held)
    return held


def _staged(area: StagingArea, read: ReadBody) -> StagedBytes:
    return StagedBytes(
        area=area,
        body=read.body,
        path=None,
        size_bytes=len(read.body),
        dataset_offset=read.dataset_offset,
        file_sha256=read.file_sha256,
        dataset_sha256=read.dataset_sha256,
        beginning=read.body,
        memory_bytes=len(read.body),
    )


def _in_spool(area: StagingArea, file: FileToStage, path: Path, spooled: BinaryIO) -> StagedBytes:
    whole, dataset = hashlib.sha256(file.prefix), hashlib.sha256()
    area.spool.write(spooled, file.prefix)
    with file.opened() as opened:
        dataset_bytes = file.size_bytes - opened.dataset_offset
        for piece in _pieces(opened, dataset_bytes):
            whole.update(piece)
            dataset.update(piece)
            area.spool.write(spooled, piece)
    with path.open("rb") as written:
        beginning = bytearray(written.read(area.limits.beginning_bytes))
    held = StagedBytes(
        area=area,
        body=None,
        path=path,
        size_bytes=len(file.prefix) + dataset_bytes,
        dataset_offset=len(file.prefix),
        file_sha256=whole.hexdigest(),
        dataset_sha256=dataset.hexdigest(),
        beginning=beginning,
        memory_bytes=0,
    )
    file.check(held)
    return held


def _pieces(opened: OpenedFile, size_bytes: int) -> Iterator[bytes]:
    done = 0
    while done < size_bytes:
        wanted = min(_PIECE_BYTES, size_bytes - done)
        piece = os.pread(opened.descriptor, wanted, opened.dataset_offset + done)
        if not piece:
            raise FileShrankError
        done += len(piece)
        yield piece
