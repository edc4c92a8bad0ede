"""Compares an instance that has just arrived with what a destination holds under its UIDs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from cloudmig.dicom.compare import Comparison, compare_files
from cloudmig.model.instance import Location, StagedInstance
from cloudmig.pipeline.spooling import spooled
from cloudmig.ports import Destination
from cloudmig.staging import Spool

__all__ = ["compare_with_held"]


async def compare_with_held(
    spool: Spool, destination: Destination, place: Location, staged: StagedInstance
) -> Comparison:
    """Compare elements and pixel bits of what lies at a place with a staged instance.

    Raises `DestinationError` where it cannot be read, and `SpoolFull`.
    """
    async with AsyncExitStack() as files:
        pieces = destination.read(place)
        theirs, _ = await files.enter_async_context(spooled(spool, pieces))
        if staged.path is not None:
            return await compare_files(theirs, staged.path)
        assert staged.body is not None
        ours, _ = await files.enter_async_context(spooled(spool, _once(bytes(staged.body))))
        return await compare_files(theirs, ours)


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
