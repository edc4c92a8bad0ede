"""A folder of files, and an agent that migrates it: `World` with a directory for its source.

world = FolderWorld(tmp_path)
write_studies(world.export, studies)
await world.migrate()
assert world.kinds() == {"instance": 6, "duplicate": 1}
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloudmig.agent.service import RunSummary, run_agent
from cloudmig.bootstrap import open_agent
from cloudmig.bootstrap.directory_source import opened_index
from cloudmig.catalog import Catalog
from cloudmig.config import load
from cloudmig.demo.studies import Instance, Study
from cloudmig.pipeline.closure import close
from cloudmig.pipeline.inventory import InventoryResult, take_inventory
from cloudmig.pipeline.planning import make_plan
from cloudmig.pipeline.report import ClosingStatement
from cloudmig.pipeline.verification import VerifySummary, verify_copies
from cloudmig.sources.directory.naming import NamedEntry, named_entries
from tests.integration.migration_world import TODAY, Recorder

__all__ = ["FolderWorld", "path_of", "write_studies"]


def path_of(instance: Instance) -> str:
    """Return where an instance lies below the folder."""
    return f"{instance.series_instance_uid[-12:]}/{instance.sop_instance_uid[-16:]}.dcm"


def write_studies(folder: Path, studies: Sequence[Study]) -> list[Path]:
    """Write every instance as a Part 10 file."""
    written = []
    for study in studies:
        for instance in study.instances():
            path = folder / path_of(instance)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(instance.part10())
            written.append(path)
    return written


@dataclass
class FolderWorld:
    """One folder, one agent and its destination."""

    folder: Path
    source: Mapping[str, Any] = field(default_factory=dict)
    agent: Mapping[str, Any] = field(default_factory=dict)
    destination: Mapping[str, Any] = field(default_factory=dict)
    health: Mapping[str, Any] = field(default_factory=dict)  #: Empty: no such page.
    reporter: Recorder = field(default_factory=Recorder)

    def __post_init__(self) -> None:
        self.export.mkdir(exist_ok=True)
        self.write_configuration()

    @property
    def export(self) -> Path:
        return self.folder / "export"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def config(self) -> Path:
        return self.folder / "cloudmig.toml"

    def write_configuration(self) -> None:
        sections: dict[str, Mapping[str, Any]] = {
            "agent": {"name": "world", "state_dir": "state", "backoff_s": 0.05, **self.agent},
            "sources.main": {"archive": "main", "url": f"file://{self.export}", **self.source},
            "destinations.store": {"url": f"file://{self.store}", **self.destination},
        }
        if self.health:
            sections["health"] = self.health
        lines = []
        for name, told in sections.items():
            lines.append(f"[{name}]")
            lines += [f"{key} = {_toml(value)}" for key, value in told.items()]
        lines += ["[[rules]]", 'name = "everything"', 'copy_to = ["store"]']
        self.config.write_text("\n".join(lines) + "\n", encoding="utf-8")

    # The commands. Each opens everything anew, as a process does.

    async def inventory(self) -> InventoryResult:
        async with open_agent(load(self.config), self.reporter) as parts:
            return await take_inventory(
                parts.sources["main"],
                parts.catalog,
                settings=parts.config.sources["main"],
                reporter=self.reporter,
            )

    async def plan(self) -> None:
        async with open_agent(load(self.config), self.reporter) as parts:
            await make_plan(
                parts.catalog,
                parts.config.rules,
                parts.config.destinations.keys(),
                today=TODAY,
                reporter=self.reporter,
            )

    async def run(self) -> RunSummary:
        async with open_agent(load(self.config), self.reporter) as parts:
            return await run_agent(parts, stop=asyncio.Event())

    async def verify(self) -> VerifySummary:
        async with open_agent(load(self.config), self.reporter) as parts:
            return await verify_copies(parts)

    async def close(self) -> ClosingStatement:
        async with open_agent(load(self.config), self.reporter) as parts:
            return await close(parts)

    async def migrate(self) -> ClosingStatement:
        """Inventory, plan, run, verify and close; every equation must hold."""
        await self.inventory()
        await self.plan()
        await self.run()
        verified = await self.verify()
        assert not verified.findings, verified.findings
        closing = await self.close()
        assert not closing.refused, (closing.obstacles, closing.unexplained)
        assert closing.statement.holds
        assert all(each.holds for each in closing.files["main"])
        return closing

    # What is there afterwards.

    def kinds(self) -> dict[str, int]:
        """Return how many files on disk are what, by the catalog."""
        with Catalog.open(load(self.config).agent.catalog_url) as catalog:
            return {
                row.tally.kind: row.tally.count
                for row in catalog.file_tallies("main")
                if row.tally.account.value == "files" and row.tally.kind != "total"
                and row.tally.count
            }  # fmt: skip

    def named(self, *kinds: str) -> list[NamedEntry]:
        """Return what `cloudmig files` names of some kinds."""
        with opened_index(load(self.config), "main") as index:
            return list(named_entries(index, kinds))

    def paths(self, *kinds: str) -> set[str]:
        return {entry.path for entry in self.named(*kinds)}

    def quarantined(self) -> Counter[str]:
        """Return what waits for a person, by reason."""
        with Catalog.open(load(self.config).agent.catalog_url) as catalog:
            items = {(item.known_by, item.reason.value) for item in catalog.quarantine_items()}
        return Counter(reason for _, reason in items)

    def stored(self) -> Collection[Path]:
        """Return the objects in the store, without its evidence."""
        return sorted(self.store.rglob("*.dcm"))


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{key} = {_toml(each)}" for key, each in value.items())
        return f"{{ {inner} }}"
    return json.dumps(value)
