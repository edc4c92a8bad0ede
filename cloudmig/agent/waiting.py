"""Waiting that a person can end: events that say stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

__all__ = ["pause", "stopped_by"]


async def pause(seconds: float, *until: asyncio.Event) -> None:
    """Wait, but not longer than until one of these happens: a person says stop, say."""
    waits = [asyncio.create_task(each.wait()) for each in until]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waits:
            each.cancel()


@contextlib.asynccontextmanager
async def stopped_by(stop: asyncio.Event) -> AsyncIterator[asyncio.Event]:
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
