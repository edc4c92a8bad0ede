"""A store that could not be opened when the agent started: its disk was away, say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cloudmig.destinations.object_store import ObjectStoreDestination
from cloudmig.destinations.wrapping import WrappedDestination

__all__ = ["OpenedLater"]

T = TypeVar("T")


class OpenedLater(WrappedDestination):
    """Opens the store before the first call that finds it there; until then, it is down."""

    _inner: ObjectStoreDestination

    def __init__(self, name: str, open_store: Callable[[], ObjectStoreDestination]) -> None:
        """`open_store` raises `DestinationUnavailable` for as long as it is not there."""
        self._name = name
        self._open_store = open_store
        self._is_open = False
        self._opening = asyncio.Lock()

    @property
    def name(self) -> str:
        return self._name

    def close(self) -> None:
        """Close the store, if it was opened at all."""
        if self._is_open:
            self._inner.close()

    async def _guarded(self, call: Callable[[], Awaitable[T]], *, size_bytes: int = 0) -> T:  # noqa: ARG002
        async with self._opening:
            if not self._is_open:
                self._inner = await asyncio.to_thread(self._open_store)
                self._is_open = True
        return await call()
