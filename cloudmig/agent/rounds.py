"""A run in rounds: where the catalog's server goes away, another begins when it is back.

PostgreSQL restarts, fails over and is upgraded during the months of a migration. A transaction
whose commit was not answered may have happened or not, so nothing of a round is carried over: what
it held is put back, as after a kill, and receipts that were written are found in the catalog.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from cloudmig.agent.outages import outage_max_s
from cloudmig.errors import CatalogUnavailable
from cloudmig.pipeline.parts import Parts

__all__ = ["in_rounds"]

T = TypeVar("T")

_PAUSE_FIRST_S = 1.0
_PAUSE_MAX_S = 30.0


async def in_rounds(
    parts: Parts, stop: asyncio.Event, one_round: Callable[[asyncio.Event], Awaitable[T]]
) -> T:
    """Call `one_round` until the catalog answers all through it; return what it returns.

    Each gets an event of its own that says stop, for a round may end before the run does. Raises
    `CatalogUnavailable` when a person says stop meanwhile, or when no instance was stored for as
    long as a store may be down.
    """
    patience_s, stored = outage_max_s(parts), -1
    since, pause_s = 0.0, 0.0
    while True:
        try:
            async with _stopped_by(stop) as stop_round:
                return await one_round(stop_round)
        except CatalogUnavailable as error:
            if parts.counters.instances_stored > stored:
                stored = parts.counters.instances_stored
                since, pause_s = time.monotonic(), _PAUSE_FIRST_S
            if stop.is_set():
                raise
            if time.monotonic() - since > patience_s:
                raise CatalogUnavailable(
                    f"{error}, for {patience_s:.0f} s", hint=error.hint
                ) from error
            parts.reporter.event("catalog.down", message=str(error), again_in_s=pause_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause_s)
            if stop.is_set():
                raise
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)


@contextlib.asynccontextmanager
async def _stopped_by(stop: asyncio.Event) -> AsyncIterator[asyncio.Event]:
    """Give an event that is set when `stop` is, and that may be set before."""
    inner = asyncio.Event()

    async def follow() -> None:
        await stop.wait()
        inner.set()

    following = asyncio.create_task(follow())
    try:
        yield inner
    finally:
        following.cancel()
