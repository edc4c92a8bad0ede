"""Opens an agent, or its catalog alone."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator

from cloudmig.catalog import Catalog, CatalogThread
from cloudmig.config import Configuration
from cloudmig.errors import CatalogError, ConfigError
from cloudmig.pipeline.parts import Parts
from cloudmig.staging import MemoryBudget, Spool, StagingArea, StagingLimits
from cloudmig.telemetry import Pseudonyms, Reporter, SilentReporter

__all__ = ["open_agent", "open_catalog_only", "open_copies"]


@contextlib.asynccontextmanager
async def open_catalog_only(config: Configuration) -> AsyncIterator[Parts]:
    """Open what needs neither PACS nor bucket: status, plan, quarantine, close."""
    async with _opened(config, SilentReporter()) as parts:
        yield parts


@contextlib.asynccontextmanager
async def open_copies(config: Configuration, reporter: Reporter) -> AsyncIterator[Parts]:
    """Open catalog and destinations: whatever works on copies alone needs no source.

    A PACS that is gone for good need not even be found by its name.
    """
    async with _opened(config, reporter, with_destinations=True) as parts:
        yield parts


@contextlib.asynccontextmanager
async def open_agent(config: Configuration, reporter: Reporter) -> AsyncIterator[Parts]:
    """Open catalog, sources and destinations. Touches no network until they are used."""
    async with _opened(config, reporter, with_sources=True, with_destinations=True) as parts:
        yield parts


@contextlib.asynccontextmanager
async def _opened(
    config: Configuration,
    reporter: Reporter,
    *,
    with_sources: bool = False,
    with_destinations: bool = False,
) -> AsyncIterator[Parts]:
    state_dir = config.agent.state_dir
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except (FileExistsError, NotADirectoryError, ValueError) as error:
        raise ConfigError("state_dir names no folder", hint="see agent.state_dir") from error
    except OSError as error:
        raise CatalogError(
            f"state_dir cannot be made: {error.strerror}",
            hint="make the folder above it writable, or correct agent.state_dir",
        ) from error
    pseudonyms = Pseudonyms.from_state_dir(state_dir)
    catalog = await asyncio.to_thread(Catalog.open, config.agent.catalog_url)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(catalog.close)
        thread = await stack.enter_async_context(CatalogThread(catalog))
        area = StagingArea(
            MemoryBudget(config.agent.memory_bytes_max),
            Spool(config.agent.spool_dir, bytes_max=config.agent.spool_bytes_max),
            StagingLimits(credit_wait_max_s=config.listen.answer_wait_max_s),
        )
        parts = Parts(
            config=config,
            catalog=thread,
            sources={},
            destinations={},
            area=area,
            reporter=reporter,
            pseudonyms=pseudonyms,
            now=lambda: dt.datetime.now(dt.UTC),
        )
        if with_sources:
            from cloudmig.bootstrap.sources import open_sources  # noqa: PLC0415 - costs half a second

            await open_sources(parts, stack)
        if with_destinations:
            from cloudmig.bootstrap.destinations import (  # noqa: PLC0415
                open_destinations,
                verdict_posts,
            )

            await open_destinations(parts, stack)
            parts.verdict_posts = verdict_posts(config)
        yield parts
