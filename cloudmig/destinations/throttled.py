"""Bound what a destination gets at once, and how fast."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from cloudmig.destinations.wrapping import ObjectKeeper, WrappedDestination
from cloudmig.model.instance import Location

__all__ = ["ThrottleLimits", "ThrottledDestination"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrottleLimits:
    """What a link or a store can bear."""

    calls_max: int = 32
    bytes_per_s_max: float | None = None  #: Of bytes sent; None means no limit.


class ThrottledDestination(WrappedDestination):
    """Lets only so many calls through at once, and paces what they send."""

    def __init__(self, inner: ObjectKeeper, limits: ThrottleLimits | None = None) -> None:
        super().__init__(inner)
        self._limits = limits or ThrottleLimits()
        self._slots = asyncio.Semaphore(self._limits.calls_max)
        self._free_at_s = 0.0  #: When what was let through so far will have been sent.

    async def _guarded(self, call: Callable[[], Awaitable[T]], *, size_bytes: int = 0) -> T:
        async with self._slots:
            await self._pace(size_bytes)
            return await call()

    async def read(self, location: Location) -> AsyncGenerator[bytes, None]:
        async with self._slots:  # A reader holds its place to the end.
            async for piece in self._inner.read(location):
                yield piece

    async def _pace(self, size_bytes: int) -> None:
        rate = self._limits.bytes_per_s_max
        if rate is None or size_bytes == 0:
            return
        now = asyncio.get_running_loop().time()
        start = max(now, self._free_at_s)
        self._free_at_s = start + size_bytes / rate
        await asyncio.sleep(start - now)
