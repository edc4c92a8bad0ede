"""Connections without an association: how many there may be, and who goes first when it is full.

Anybody can open a socket and say nothing. There is room for so many of them; then the oldest goes,
but nobody before it had the time in which a real peer asks. Where all are younger than that, the
next connection waits in the kernel's queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

__all__ = ["Standing", "WaitingRoom"]


class Standing(Enum):
    """What is known of a connection. The first named goes first when there is no room."""

    OVER = "over"  #: Its association ended or was refused; only the socket lingers.
    HANDSHAKE = "handshake"  #: In the TLS handshake: has shown nothing yet.
    SILENT = "silent"  #: Connected, with TLS by a certificate we know; has asked for nothing yet.


@dataclass(frozen=True, slots=True)
class _Guest:
    since_s: float
    cut: Callable[[], None]


class WaitingRoom:
    """A bounded number of connections that have no association."""

    def __init__(self, guests_max: int, fair_chance_s: float) -> None:
        assert guests_max > 0, "nobody could ever connect"
        self._guests_max = guests_max
        self._fair_chance_s = fair_chance_s
        #: Oldest first, in each standing.
        self._guests: dict[Standing, dict[Hashable, _Guest]] = {each: {} for each in Standing}
        self._left = asyncio.Event()

    def __len__(self) -> int:
        return sum(map(len, self._guests.values()))

    def enter(self, standing: Standing, guest: Hashable, cut: Callable[[], None]) -> None:
        """Note a guest, or its new standing; `cut` ends the connection."""
        self.leave(guest)
        now_s = asyncio.get_running_loop().time()
        self._guests[standing][guest] = _Guest(now_s, cut)

    def leave(self, guest: Hashable) -> None:
        """Forget a guest: it is gone, or has an association."""
        for guests in self._guests.values():
            if guests.pop(guest, None) is not None:
                self._left.set()

    async def make_room(self) -> None:
        """Return when one more fits: at once, or when the oldest had its chance and was cut."""
        while len(self) >= self._guests_max:
            wait_s = self._cut_one()
            if wait_s > 0:
                self._left.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._left.wait()

    def clear(self) -> None:
        """Cut everybody."""
        for guests in self._guests.values():
            for guest in list(guests):
                guests[guest].cut()
                self.leave(guest)

    def _cut_one(self) -> float:
        """Cut one that had its chance and return 0, or how long it is until somebody had it."""
        now_s = asyncio.get_running_loop().time()
        wait_s = self._fair_chance_s
        for guests in self._guests.values():
            if not guests:
                continue
            oldest, guest = next(iter(guests.items()))
            left_s = guest.since_s + self._fair_chance_s - now_s
            if left_s <= 0:
                guest.cut()  # May change its standing; so it leaves after that.
                self.leave(oldest)
                return 0.0
            wait_s = min(wait_s, left_s)
        return wait_s
