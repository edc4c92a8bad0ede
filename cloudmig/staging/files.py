"""Take in a file that lies on a disk of ours: read once, hashed in a thread, copied nowhere else.

Its size is known beforehand, so its room is taken in one piece and nothing grows.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from cloudmig.staging.area import StagingArea
from cloudmig.staging.writer import StagedBytes

__all__ = ["FileShrankError", "stage_file"]

_PIECE_BYTES = 1 << 20

T = TypeVar("T")


class FileShrankError(OSError):
    """The file ended before its size said it would."""


async def stage_file(
    area: StagingArea, file: int, *, prefix: bytes, dataset_offset: int, size_bytes: int
) -> StagedBytes:
    """Return our prefix and the data set of an open file, in memory or in the spool.

    Raises `SpoolFull` when neither has room, and OSError when the file cannot be read; then nothing
    is held.
    """
    dataset_bytes = size_bytes - dataset_offset
    assert dataset_bytes >= 0, "the prefix was read from this file"
    total = len(prefix) + dataset_bytes
    limits = area.limits
    in_memory = total <= limits.memory_object_bytes_max and await area.memory.take(
        total, wait_max_s=limits.credit_wait_max_s
    )
    if not in_memory:
        return await _spooled(area, file, prefix, dataset_offset, dataset_bytes)
    try:
        return await _finished(
            asyncio.to_thread(_in_memory, area, file, prefix, dataset_offset, dataset_bytes)
        )
    except BaseException:
        area.memory.give(total)
        raise


async def _finished(reading: Coroutine[Any, Any, T]) -> T:
    """Wait for a thread that cannot be stopped, even when nobody wants its answer any more."""
    task = asyncio.ensure_future(reading)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _in_memory(
    area: StagingArea, file: int, prefix: bytes, offset: int, dataset_bytes: int
) -> StagedBytes:
    body = bytearray(len(prefix) + dataset_bytes)
    body[: len(prefix)] = prefix
    with memoryview(body) as whole, whole[len(prefix) :] as dataset:
        done = 0
        while done < dataset_bytes:
            with dataset[done:] as rest:
                read = os.preadv(file, [rest], offset + done)
            if not read:
                raise FileShrankError
            done += read
        dataset_sha256 = hashlib.sha256(dataset).hexdigest()
        file_sha256 = hashlib.sha256(whole).hexdigest()
    return StagedBytes(
        area=area,
        body=body,
        path=None,
        size_bytes=len(body),
        dataset_offset=len(prefix),
        file_sha256=file_sha256,
        dataset_sha256=dataset_sha256,
        beginning=body,
        memory_bytes=len(body),
    )


async def _spooled(
    area: StagingArea, file: int, prefix: bytes, offset: int, dataset_bytes: int
) -> StagedBytes:
    spool, total = area.spool, len(prefix) + dataset_bytes
    spool.reserve(total)
    try:
        path, spooled = spool.create()
    except BaseException:
        spool.give_back(total)
        raise
    try:
        with spooled:
            hashes = await _finished(
                asyncio.to_thread(_copy, area, file, spooled, prefix, offset, dataset_bytes)
            )
        beginning = await asyncio.to_thread(_beginning, path, area.limits.beginning_bytes)
    except BaseException:
        spool.remove(path, total)
        raise
    return StagedBytes(
        area=area,
        body=None,
        path=path,
        size_bytes=total,
        dataset_offset=len(prefix),
        file_sha256=hashes[0],
        dataset_sha256=hashes[1],
        beginning=beginning,
        memory_bytes=0,
    )


def _beginning(path: Path, size_bytes: int) -> bytearray:
    with path.open("rb") as file:
        return bytearray(file.read(size_bytes))


def _copy(
    area: StagingArea, file: int, spooled: BinaryIO, prefix: bytes, offset: int, dataset_bytes: int
) -> tuple[str, str]:
    whole, dataset = hashlib.sha256(prefix), hashlib.sha256()
    area.spool.write(spooled, prefix)
    for piece in _pieces(file, offset, dataset_bytes):
        whole.update(piece)
        dataset.update(piece)
        area.spool.write(spooled, piece)
    return whole.hexdigest(), dataset.hexdigest()


def _pieces(file: int, offset: int, size_bytes: int) -> Iterator[bytes]:
    done = 0
    while done < size_bytes:
        piece = os.pread(file, min(_PIECE_BYTES, size_bytes - done), offset + done)
        if not piece:
            raise FileShrankError
        done += len(piece)
        yield piece
