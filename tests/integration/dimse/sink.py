"""Who takes the objects in the tests of associations."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field

__all__ = ["Sink"]


@dataclass
class Sink:
    """Keeps what it is given and counts how it ended."""

    status: int = 0
    gate: asyncio.Event | None = None
    data: bytearray = field(default_factory=bytearray)
    longest_piece: int = 0
    finished: int = 0
    discarded: int = 0
    limits_exceeded: int = 0

    def write(self, data: memoryview) -> Awaitable[None] | None:
        self.data += data
        self.longest_piece = max(self.longest_piece, len(data))
        return None

    async def finish(self) -> int:
        self.finished += 1
        if self.gate is not None:
            await self.gate.wait()
        return self.status

    def too_large(self) -> None:
        self.limits_exceeded += 1

    def discard(self) -> None:
        self.discarded += 1
