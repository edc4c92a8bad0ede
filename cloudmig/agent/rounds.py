"""A run in rounds: where the catalog's server goes away, another begins when it is back.

PostgreSQL restarts, fails over and is upgraded during the months of a migration. A transaction
whose commit was not answered may have happened or not, so nothing of a round is carried over: what
it held is put back, as after a kill, and receipts that were written are found in the catalog.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cloudmig.agent.outages import outage_max_s
from cloudmig.agent.waiting import pause, stopped_by
from cloudmig.agent.working import Work
from cloudmig.catalog import Catalog
from cloudmig.errors import CatalogUnavailable, CloudmigError
from cloudmig.pipeline.parts import Parts

__all__ = ["in_rounds", "through_round"]

T = TypeVar("T")
W = TypeVar("W", bound=Work)

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
            await pause(pause_s, stop)
            if stop.is_set():
                raise
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)


async def through_round(run: W, work: Callable[[W], Awaitable[None]]) -> None:
    """Do the work of one round; `run.halt` says afterwards why it ended early, if it did.

    Raises `CatalogUnavailable`, whoever met it: then another round is due.
    """
    call = run.parts.catalog.call
    # The lock says that no process of this name lives: what it held is free again.
    await call(Catalog.put_back_all, run.owner)
    try:
        await work(run)
    except CloudmigError as error:
        run.halt = error
    if isinstance(run.halt, CatalogUnavailable):
        raise run.halt
    await call(Catalog.put_back_all, run.owner)
