"""How much memory images in flight may take. Counted, first come first served, never exceeded."""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["MemoryBudget"]


class MemoryBudget:
    """A counter of bytes that waits. Used in one event loop only."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes_used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def try_take(self, size_bytes: int) -> bool:
        """Take `size_bytes` if they are free and nobody waits in front."""
        if self._waiting or self.bytes_used + size_bytes > self.bytes_max:
            return False
        self.bytes_used += size_bytes
        return True

    async def take(self, size_bytes: int, *, wait_max_s: float) -> bool:
        """Wait for `size_bytes` to be free. Return False when that took too long."""
        if self.try_take(size_bytes):
            return True
        if size_bytes > self.bytes_max:
            return False  # It would never be free, and keep everybody behind it waiting.
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (size_bytes, granted)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(wait_max_s):
                await granted
        except TimeoutError:
            return self._withdraw(entry)
        except BaseException:
            if self._withdraw(entry):
                self.give(size_bytes)
            raise
        return True

    def _withdraw(self, entry: tuple[int, asyncio.Future[None]]) -> bool:
        """Stop waiting. Return True when it was granted in the very same moment."""
        _, granted = entry
        if granted.done() and not granted.cancelled():
            return True
        # `_grant` drops whom it finds cancelled, perhaps before that task runs again.
        if entry in self._waiting:
            self._waiting.remove(entry)
            self._grant()
        return False

    def give(self, size_bytes: int) -> None:
        """Return bytes that were taken."""
        self.bytes_used -= size_bytes
        assert self.bytes_used >= 0, "more was given back than taken"
        self._grant()

    def _grant(self) -> None:
        while self._waiting:
            size_bytes, granted = self._waiting[0]
            if self.bytes_used + size_bytes > self.bytes_max:
                return
            self._waiting.popleft()
            if not granted.done():
                self.bytes_used += size_bytes
                granted.set_result(None)
