"""Does the DICOMweb store answer us? Nothing is stored: it could not be removed again."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from cloudmig.agent.doctor.findings import Finding, ok, problem
from cloudmig.bootstrap import web_settings
from cloudmig.config import DestinationSettings
from cloudmig.destinations.dicomweb_opening import open_dicomweb
from cloudmig.errors import CloudmigError

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

    try:
        asyncio.run(ask())
    except CloudmigError as error:
        hint = error.hint or f"Check destinations.{name}.url, name resolution and firewalls."
        return [problem("store", subject, str(error), hint)]
    except TimeoutError:
        hint = f"Check destinations.{name}.url, name resolution and firewalls."
        return [problem("store", subject, f"no answer within {2 * timeout_s:.0f} s", hint)]
    words = f"{destination.url} answers queries; the first run shows whether it may be written"
    return [ok("store", subject, words)]
