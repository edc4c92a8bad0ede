"""Does the DICOMweb store answer us? Nothing is stored: it could not be removed again."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from cloudmig.agent.doctor.findings import Finding, ok, problem
from cloudmig.bootstrap.web_destination import web_settings
from cloudmig.config import DestinationSettings
from cloudmig.destinations.dicomweb_opening import open_dicomweb
from cloudmig.errors import CloudmigError, ConfigError, DestinationUnavailable

__all__ = ["check_web_store"]


def check_web_store(
    subject: str, name: str, destination: DestinationSettings, archive: str, *, timeout_s: float
) -> list[Finding]:
    """Ask for one study, with our credentials; blocks, so it runs in a thread."""
    settings = replace(
        web_settings(destination),
        connect_timeout_s=min(destination.connect_s, timeout_s),
        timeout_s=timeout_s,
    )

    async def ask() -> None:
        web = open_dicomweb(name, settings, archive=archive)
        try:
            async with asyncio.timeout(2 * timeout_s):
                await web.ping()
        finally:
            await web.close()

    url = destination.url
    silent = f"Is it running? Check destinations.{name}.url, name resolution and firewalls."
    try:
        asyncio.run(ask())
    except ConfigError as error:
        return [problem("store", subject, str(error), _hint(name, error))]
    except DestinationUnavailable as error:
        return [problem("store", subject, f"{url}: {_words(error)}", error.hint or silent)]
    except CloudmigError as error:
        return [problem("store", subject, f"{url}: {_words(error)}", _hint(name, error))]
    except TimeoutError:
        return [problem("store", subject, f"{url}: no answer in {2 * timeout_s:.0f} s", silent)]
    words = f"{url} answers queries; the first run shows whether it may be written"
    return [ok("store", subject, words)]


def _words(error: CloudmigError) -> str:
    return str(error).removeprefix("ask: ")


def _hint(name: str, error: CloudmigError) -> str:
    """Make a sentence of the hint, and name the sections that it speaks of."""
    hint = error.hint or "Correct the setting"
    sections = f"[destinations.{name}] and [destinations.{name}.dicomweb]"
    return f"{hint[:1].upper()}{hint[1:].rstrip('.')}: see {sections}."
