"""How others find us: AE titles that are ours alone, a port for the PACS, a health page."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from cloudmig.agent.working import Work, beside
from cloudmig.catalog import Catalog
from cloudmig.config import HealthSettings, ListenSettings
from cloudmig.errors import ConfigError
from cloudmig.pipeline.parts import Parts

__all__ = ["cannot_listen", "listen", "registered", "watched"]


@contextlib.asynccontextmanager
async def registered(run: Work) -> AsyncIterator[None]:
    """Hold our AE titles in the catalog: two agents never share one."""
    parts, settings = run.parts, run.parts.config.agent
    titles = sorted({aet for each in parts.config.pacs.values() for aet in each.ae_titles})
    ttl_s = settings.lease_s
    await parts.catalog.call(Catalog.register_agent, run.owner, titles, ttl_s)

    async def beat() -> None:
        while True:
            await asyncio.sleep(settings.renew_s)
            await parts.catalog.call(Catalog.heartbeat, run.owner, ttl_s, ae_titles=len(titles))

    async with beside(run, beat()):
        try:
            yield
        finally:
            await parts.catalog.call(Catalog.sign_off, run.owner)


async def listen(parts: Parts, stack: contextlib.AsyncExitStack) -> None:
    """Open our port until the stack is closed."""
    assert parts.listener is not None
    settings = parts.config.listen
    try:
        await parts.listener.start()
    except OSError as error:
        raise cannot_listen("listen", settings, error) from error
    stack.push_async_callback(parts.listener.close, 2.0)


def cannot_listen(
    section: str, settings: ListenSettings | HealthSettings, error: OSError
) -> ConfigError:
    """Return what is said of a port that cannot be had."""
    return ConfigError(
        f"cannot listen on {settings.host}:{settings.port}: {error.strerror}",
        hint=f"another program has the port, or it needs rights: see {section}.port",
    )


@contextlib.asynccontextmanager
async def watched(run: Work) -> AsyncIterator[None]:
    """Say how the run is to whoever asks, where the configuration wants that."""
    if run.parts.config.health is None:
        yield
        return
    from cloudmig.agent.health import health_page  # noqa: PLC0415 - a third of a second, for some

    async with health_page(run):
        yield
