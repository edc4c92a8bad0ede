"""Verifies copies with the sources as witnesses of what no other copy can show.

Whoever asks a PACS holds our AE titles and, for C-MOVE, our port: not beside a run.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from cloudmig.agent.outages import Outages
from cloudmig.agent.presence import listen, registered
from cloudmig.agent.working import Work
from cloudmig.catalog import run_lock
from cloudmig.errors import SourceError
from cloudmig.pipeline.parts import Parts, Source
from cloudmig.pipeline.source_reference import SourceReference
from cloudmig.pipeline.verification import VerifySummary, verify_copies

__all__ = ["verify_with_sources"]


class _Sources:
    """Sources made ready when they are first needed; who is silent then is left alone."""

    def __init__(self, parts: Parts, stack: AsyncExitStack) -> None:
        self._parts = parts
        self._stack = stack
        self._lock = asyncio.Lock()
        self._ready: set[str] = set()
        self._silent: dict[str, SourceError] = {}
        self._listens = False

    async def ready(self, name: str) -> Source:
        """Return a source that can be asked. Raises `SourceError`, `ConfigError`."""
        source = self._parts.sources[name]
        async with self._lock:
            if name in self._silent:
                raise self._silent[name]
            if name not in self._ready:
                try:
                    await source.prepare()
                    await source.ping()
                except SourceError as error:
                    self._silent[name] = error
                    raise
                self._ready.add(name)
            if not source.uses_get and not self._listens:
                await listen(self._parts, self._stack)
                self._listens = True
        return source


async def verify_with_sources(
    opened: Parts, *, part: int = 1, parts: int = 1, again: bool = False
) -> VerifySummary:
    """Verify as `verify_copies` does, and ask the sources where nobody else can tell.

    Raises `CatalogError` while a run works on the catalog.
    """
    settings = opened.config.agent
    with run_lock(settings.catalog_path or settings.state_dir / "agent"):
        async with AsyncExitStack() as stack:
            work = Work(opened, settings.name, asyncio.Event(), Outages(opened))
            await stack.enter_async_context(registered(work))
            reference = SourceReference(opened, _Sources(opened, stack).ready)
            return await verify_copies(
                opened, part=part, parts=parts, again=again, sources=reference
            )
