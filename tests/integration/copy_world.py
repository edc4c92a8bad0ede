"""A migration whose copies are copied: `cloudmig copy` on the world of a whole migration."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from cloudmig import manifest
from cloudmig.agent.copy_choice import CopyForecast, forecast_copies
from cloudmig.agent.copying import CopySummary, copy_studies
from cloudmig.bootstrap import Parts, open_copies
from cloudmig.catalog.copying import CopyOrder
from cloudmig.config import load
from cloudmig.manifest import Manifest
from cloudmig.model.references import StudyRef
from tests.catalog_studies import check_ledger
from tests.integration.migration_world import World

__all__ = ["CopyWorld", "folders"]


def folders(tmp_path: Path, *names: str) -> dict[str, dict[str, Any]]:
    """Return `file://` destinations."""
    return {name: {"url": f"file://{tmp_path / name}"} for name in names}


class CopyWorld(World):
    """A world that can copy from copy to copy, and show what came of it."""

    @contextlib.asynccontextmanager
    async def opened_copies(self) -> AsyncIterator[Parts]:
        async with open_copies(load(self.config), self.reporter) as parts:
            yield parts

    async def copy(
        self,
        to: str = "dr",
        *,
        origin: str | None = None,
        every: bool = False,
        studies: list[str] | None = None,
        stop: asyncio.Event | None = None,
    ) -> CopySummary:
        async with self.opened_copies() as parts:
            order = self.order(parts, to, origin, every=every)
            named = [("main", StudyRef(uid)) for uid in studies] if studies else None
            return await copy_studies(parts, order, named, stop=stop or asyncio.Event())

    async def forecast(
        self, to: str = "dr", *, origin: str | None = None, every: bool = False
    ) -> CopyForecast:
        async with self.opened_copies() as parts:
            return await forecast_copies(parts, self.order(parts, to, origin, every=every))

    def order(self, parts: Parts, to: str, origin: str | None, *, every: bool) -> CopyOrder:
        naming = tuple(rule.name for rule in parts.config.rules if to in rule.copy_to)
        return CopyOrder(("main",), to, origin, None if every else naming)

    def asked(self) -> dict[str, Any]:
        """Return how often the PACS was asked for anything at all."""
        counters = self.pacs.counters
        return {
            "associations": counters.associations_accepted + counters.associations_rejected,
            "asked": dict(counters.asked),
            "sent": dict(counters.sent),
        }

    def manifests(self, name: str) -> list[Manifest]:
        """Return the manifests that lie in a folder, in the order of their keys."""
        assert self.destinations is not None
        folder = Path(self.destinations[name]["url"].removeprefix("file://"))
        return [manifest.decode(path.read_bytes()) for path in sorted(folder.rglob("*.json.gz"))]

    def copies(self, name: str) -> set[str]:
        """Return the states of the copies at a destination; `none` where none is planned."""
        with self.catalog() as catalog:
            return {
                next((c.state.value for c in row.copies if c.destination == name), "none")
                for row in catalog.transfers()
            }

    def check_ledger(self) -> None:
        """The ledger tells the same as the tables."""
        with self.catalog() as catalog:
            check_ledger(catalog)
