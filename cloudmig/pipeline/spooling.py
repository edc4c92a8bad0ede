"""Puts an object into the spool for as long as somebody looks at it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from cloudmig.dicom.digest import FileDigests, StreamDigests
from cloudmig.staging import Spool

__all__ = ["spooled"]


@contextlib.asynccontextmanager
async def spooled(
    spool: Spool, pieces: AsyncIterator[bytes]
) -> AsyncIterator[tuple[Path, FileDigests]]:
    """Give a spool file with these bytes, and their digests, for as long as the block runs.

    Raises `SpoolFull` where they find no room.
    """
    # Verification may be the first that needs the folder; it clears nobody else's files from it.
    spool.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path, file = spool.create()
    digests, reserved = StreamDigests(), 0
    try:
        with file:
            async for piece in pieces:
                spool.reserve(len(piece))
                reserved += len(piece)
                digests.update(piece)
                await asyncio.to_thread(spool.write, file, piece)
        yield path, digests.result()
    finally:
        spool.remove(path, reserved)
