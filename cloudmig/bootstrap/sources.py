"""Opens every source by its kind. What speaks to a kind is imported where one is configured."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from cloudmig.config import DirectorySettings, SourceSettings, WebSourceSettings
from cloudmig.pipeline.parts import Parts, Source

__all__ = ["open_sources"]


async def open_sources(parts: Parts, stack: contextlib.AsyncExitStack) -> None:
    """Open the sources of the configuration into `parts`; the stack closes them."""
    pacs = await _pacs(parts) if parts.config.pacs else {}
    parts.sources = {
        name: pacs.get(name) or _source(name, settings, parts)
        for name, settings in parts.config.sources.items()
    }
    for source in parts.sources.values():
        stack.push_async_callback(source.close)


async def _pacs(parts: Parts) -> Mapping[str, Source]:
    from cloudmig.bootstrap.pacs_source import open_pacs  # noqa: PLC0415

    return await open_pacs(parts)


def _source(name: str, settings: SourceSettings, parts: Parts) -> Source:
    match settings:
        case WebSourceSettings():
            from cloudmig.bootstrap.web_source import web_source  # noqa: PLC0415

            return web_source(
                name,
                settings,
                parts.area,
                object_bytes_max=parts.config.agent.object_bytes_max,
                patient_key=parts.pseudonyms.of_patient,
            )
        case DirectorySettings():
            from cloudmig.bootstrap.directory_source import directory_source  # noqa: PLC0415

            return directory_source(name, settings, parts)
        case _:
            raise AssertionError("a kind of source that nobody opens")
