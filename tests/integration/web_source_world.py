"""A whole migration out of a scripted DICOMweb archive, and out of a PACS beside it if need be.

async with WebWorld.of(tmp_path, studies, WebScript(...)) as world:
    await world.migrate()
    await world.explain_everything()
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloudmig.demo.studies import Study
from cloudmig.pipeline.inventory import take_inventory
from tests.contract.web_archive import ScriptedArchive, WebScript
from tests.integration.migration_world import World, _toml

__all__ = ["WebWorld"]


@dataclass
class WebWorld(World):
    """`main` is the archive. With `beside`, these studies are in a PACS called `pacs`."""

    archive: ScriptedArchive = field(kw_only=True)
    web: Mapping[str, Any] = field(default_factory=dict)  #: Settings of the source.
    credentials: Mapping[str, Any] = field(default_factory=dict)
    beside: bool = False

    @classmethod
    @asynccontextmanager
    async def of(
        cls,
        folder: Path,
        studies: Sequence[Study],
        script: WebScript = WebScript(),  # noqa: B008 - frozen
        *,
        beside: Sequence[Study] = (),
        archive: ScriptedArchive | None = None,
        **changes: Any,  # noqa: ANN401
    ) -> AsyncIterator[WebWorld]:
        """Run the archive, and the PACS where there is one."""
        archive = archive or ScriptedArchive(studies, script)
        async with archive.running():
            world = cls(folder, beside, archive=archive, beside=bool(beside), **changes)
            with world.serving():
                yield world

    def write_configuration(self) -> None:
        super().write_configuration()
        text = self.config.read_text(encoding="utf-8")
        web = {
            "archive": "main", "url": self.archive.url, "lanes": 3, "connect_s": 2, "idle_s": 5,
            **self.web,
        }  # fmt: skip
        lines = ["[sources.main]", *(f"{key} = {_toml(value)}" for key, value in web.items())]
        if self.credentials:
            lines.append("[sources.main.dicomweb]")
            lines += [f"{key} = {_toml(value)}" for key, value in self.credentials.items()]
        pacs = re.search(r"\[sources\.main\]\n(?:[^\[].*\n)*", text)
        assert pacs is not None
        theirs = pacs[0].replace("[sources.main]", "[sources.pacs]").replace('"main"', '"pacs"')
        ours = "\n".join(lines) + "\n" + (theirs if self.beside else "")
        self.config.write_text(text.replace(pacs[0], ours), encoding="utf-8")

    async def inventory_of(self, name: str) -> None:
        """Ask another source than `main`."""
        async with self.opened() as parts:
            await take_inventory(
                parts.sources[name], parts.catalog, settings=parts.config.sources[name],
                reporter=self.reporter,
            )  # fmt: skip

    async def all_is_there(self) -> None:
        """Nothing lost, nothing waiting, both equations exact."""
        assert self.held() == self.truth()
        assert self.quarantined() == {}
        closing = await self.explain_everything()
        assert closing.statement.instances.verified == len(self.truth())

    def truth(self) -> dict[str, set[str]]:
        """Return the digests of what archive and PACS hold, by SOP Instance UID."""
        found: defaultdict[str, set[str]] = defaultdict(set)
        if self.beside:
            found.update(super().truth())
        for held in self.archive.holdings.truth():
            found[held.sop_instance_uid].add(held.data_set_sha256)
        return dict(found)
