"""A run in rounds: where the catalog's server goes away, another begins when it is back.

PostgreSQL restarts, fails over and is upgraded during the months of a migration. A transaction
whose commit was not answered may have happened or not, so nothing of a round is carried over: what
it held is put back, as after a kill, and receipts that were written are found in the catalog.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cloudmig.agent.outages import outage_max_s
from cloudmig.agent.working import stopped_by
from cloudmig.errors import CatalogUnavailable
from cloudmig.pipeline.parts import Parts

__all__ = ["in_rounds"]

T = TypeVar("T")

_PAUSE_FIRST_S = 1.0
_PAUSE_MAX_S = 30.0
#: The catalog has answered in a round that lasted so long: no wait for a connection does.
_ANSWERED_S = 120.0


async def in_rounds(
    parts: Parts, stop: asyncio.Event, one_round: Callable[[asyncio.Event], Awaitable[T]]
) -> T:
    """Call `one_round` until the catalog answers all through it; return what it returns.

    Each gets an event of its own that says stop, for a round may end before the run does. Raises
    `CatalogUnavailable` when a person says stop meanwhile, or when the catalog was of no use for as
    long as a store may be down.
    """
    patience_s, stored = outage_max_s(parts), -1
    since, pause_s = 0.0, 0.0
    while True:
        began = time.monotonic()
        try:
            async with stopped_by(stop) as stop_round:
                return await one_round(stop_round)
        except CatalogUnavailable as error:
            now = time.monotonic()
            if parts.counters.instances_stored > stored or now - began > _ANSWERED_S:
                stored = parts.counters.instances_stored
                since, pause_s = now, _PAUSE_FIRST_S
            if stop.is_set():
                raise
            if now - since > patience_s:
                raise CatalogUnavailable(
                    f"{error}, for {patience_s:.0f} s", hint=error.hint
                ) from error
            parts.reporter.event(
                "catalog.down", message=str(error), hint=error.hint, again_in_s=pause_s
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause_s)
            if stop.is_set():
                raise
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)
