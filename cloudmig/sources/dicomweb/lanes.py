"""Lanes: how many requests one archive gets at once. The number follows what it bears."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from cloudmig.errors import SourceBusy

__all__ = ["RequestLanes"]

T = TypeVar("T")

#: A `Retry-After` is kept up to here; whoever wants to be left alone longer is down.
_REST_MAX_S = 60.0
#: Rests of an archive that is busy, before it is asked the same again; it may ask for longer ones.
_BUSY_RESTS_S = (1.0, 2.0, 4.0)


class RequestLanes:
    """Halved when the archive asks for less, raised a little by each success, never above `count`.

    A lane is held from a request to the last byte of its answer.
    """

    def __init__(self, count: int) -> None:
        self._count_max = count
        self._budget = float(count)
        self._in_use = 0
        self._rest_until_s = 0.0
        self._changed = asyncio.Condition()

    @property
    def budget(self) -> int:
        """How many lanes may be in use now."""
        return max(1, int(self._budget))

    def slower(self, rest_s: float = 0.0) -> None:
        """Note that the archive asked for less, or to be left alone a while (RFC 9110 10.2.3)."""
        self._budget = max(1.0, self._budget / 2)
        self._rest(rest_s)

    def _rest(self, rest_s: float) -> None:
        now_s = asyncio.get_running_loop().time()
        self._rest_until_s = max(self._rest_until_s, now_s + min(rest_s, _REST_MAX_S))

    def faster(self) -> None:
        """Something went well: raise the budget a little."""
        self._budget = min(float(self._count_max), self._budget + 1 / self._budget)

    async def insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask an archive that is busy a few times more, in a lane each time.

        Raises `SourceBusy` when it still is then. Being busy once is no fault of what was asked.
        """
        for rest_s in _BUSY_RESTS_S:
            try:
                return await ask()
            except SourceBusy:
                self._rest(rest_s)
        return await ask()

    @contextlib.asynccontextmanager
    async def lane(self) -> AsyncIterator[None]:
        """Wait for a free lane, and for the end of a rest."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._in_use < self.budget)
            self._in_use += 1
        try:
            rest_s = self._rest_until_s - asyncio.get_running_loop().time()
            if rest_s > 0:
                await asyncio.sleep(rest_s)
            yield
        finally:
            await asyncio.shield(self._leave())

    async def _leave(self) -> None:
        async with self._changed:
            self._in_use -= 1
            self._changed.notify_all()
