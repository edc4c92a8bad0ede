"""A run in rounds: where the catalog's server goes away, another begins when it is back.

PostgreSQL restarts, fails over and is upgraded during the months of a migration. A transaction
whose commit was not answered may have happened or not, so nothing of a round is carried over: what
it held is put back, as after a kill, and receipts that were written are found in the catalog.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TypeVar

from cloudmig.agent.outages import outage_max_s
from cloudmig.agent.waiting import pause, stopped_by
from cloudmig.agent.working import Work
from cloudmig.catalog import Catalog
from cloudmig.config import Configuration
from cloudmig.errors import CatalogUnavailable, CloudmigError
from cloudmig.pipeline.parts import Parts
from cloudmig.telemetry import Reporter

__all__ = ["in_rounds", "opened", "through_round"]

T = TypeVar("T")
W = TypeVar("W", bound=Work)

_PAUSE_FIRST_S = 1.0
_PAUSE_MAX_S = 30.0
#: The catalog has answered in a round that lasted so long: no wait for a connection does.
_ANSWERED_S = 120.0


class _Patience:
    """Waits for the catalog, as long as for a store that is down."""

    def __init__(self, config: Configuration, reporter: Reporter, stop: asyncio.Event) -> None:
        self._patience_s = outage_max_s(config)
        self._reporter = reporter
        self._stop = stop
        self._since = time.monotonic()
        self._pause_s = _PAUSE_FIRST_S

    def answered(self) -> None:
        """Begin anew: it was there in the meantime."""
        self._since, self._pause_s = time.monotonic(), _PAUSE_FIRST_S

    async def wait(self, error: CatalogUnavailable) -> None:
        """Tell of it and wait a little.

        Raises `CatalogUnavailable` when a person says stop meanwhile, or when it was of no use for
        too long.
        """
        if time.monotonic() - self._since > self._patience_s:
            raise CatalogUnavailable(
                f"{error}, for {self._patience_s:.0f} s", hint=error.hint
            ) from error
        if not self._stop.is_set():
            self._reporter.event(
                "catalog.down", message=str(error), hint=error.hint, again_in_s=self._pause_s
            )
            await pause(self._pause_s, self._stop)
            self._pause_s = min(2 * self._pause_s, _PAUSE_MAX_S)
        if self._stop.is_set():
            raise error


@asynccontextmanager
async def opened(
    open_parts: Callable[[Configuration, Reporter], AbstractAsyncContextManager[Parts]],
    config: Configuration,
    reporter: Reporter,
    stop: asyncio.Event,
) -> AsyncIterator[Parts]:
    """Open what a run needs when its catalog answers: an agent may start before the server does.

    Raises `CatalogUnavailable` as `in_rounds` does.
    """
    patience = _Patience(config, reporter, stop)
    async with AsyncExitStack() as stack:
        parts = None
        while parts is None:
            try:
                parts = await stack.enter_async_context(open_parts(config, reporter))
            except CatalogUnavailable as error:
                await patience.wait(error)
        yield parts


async def in_rounds(
    parts: Parts, stop: asyncio.Event, one_round: Callable[[asyncio.Event], Awaitable[T]]
) -> T:
    """Call `one_round` until the catalog answers all through it; return what it returns.

    Each gets an event of its own that says stop, for a round may end before the run does. Raises
    `CatalogUnavailable` when a person says stop meanwhile, or when the catalog was of no use for as
    long as a store may be down.
    """
    patience, stored = _Patience(parts.config, parts.reporter, stop), 0
    while True:
        began = time.monotonic()
        try:
            async with stopped_by(stop) as stop_round:
                return await one_round(stop_round)
        except CatalogUnavailable as error:
            parts.counters.catalog_answers = False
            lasted_s = time.monotonic() - began
            if parts.counters.instances_stored > stored or lasted_s > _ANSWERED_S:
                stored = parts.counters.instances_stored
                patience.answered()
            await patience.wait(error)


async def through_round(run: W, work: Callable[[W], Awaitable[None]]) -> None:
    """Do the work of one round; `run.halt` says afterwards why it ended early, if it did.

    Raises `CatalogUnavailable`, whoever met it: then another round is due.
    """
    call = run.parts.catalog.call
    # The lock says that no process of this name lives: what it held is free again.
    await call(Catalog.put_back_all, run.owner)
    await call(Catalog.wake_far)
    run.parts.counters.catalog_answers = True
    try:
        await work(run)
    except CloudmigError as error:
        run.halt = error
    if isinstance(run.halt, CatalogUnavailable):
        raise run.halt
    await call(Catalog.put_back_all, run.owner)
