"""Compares an instance that has just arrived with what a destination holds under its UIDs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

from cloudmig.dicom.compare import Comparison, compare_files
from cloudmig.model.instance import Location, StagedInstance
from cloudmig.pipeline.spooling import spooled
from cloudmig.ports import Destination
from cloudmig.staging import Spool

__all__ = ["Held", "compare_with_held"]


@dataclass(frozen=True, slots=True)
class Held:
    """What a destination holds, beside what has arrived."""

    comparison: Comparison
    transfer_syntax_uid: str  #: In which it lies there: equal elements may be coded otherwise.


async def compare_with_held(
    spool: Spool, destination: Destination, place: Location, staged: StagedInstance
) -> Held:
    """Compare elements and pixel bits of what lies at a place with a staged instance.

    Raises `DestinationError` where it cannot be read, and `SpoolFull`.
    """
    async with AsyncExitStack() as files:
        pieces = destination.read(place)
        theirs, found = await files.enter_async_context(spooled(spool, pieces))
        if staged.path is not None:
            ours = staged.path
        else:
            assert staged.body is not None
            ours, _ = await files.enter_async_context(spooled(spool, _once(bytes(staged.body))))
        return Held(await compare_files(theirs, ours), found.transfer_syntax_uid)


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
