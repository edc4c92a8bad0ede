"""A whole migration in one process: the scripted PACS, the real agent, a folder or a bucket.

    world = World(tmp_path, studies, Script(missing=...))
    with world.serving():
        await world.migrate()
        assert world.quarantined() == {...}
        await world.explain_everything()

What lies in the destination is looked at by the judge's own eyes (`tests.peers.part10`).
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import functools
import json
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import ExplicitVRLittleEndian

from cloudmig.agent.service import RunSummary, run_agent
from cloudmig.bootstrap import Parts, open_agent
from cloudmig.catalog import Catalog
from cloudmig.config import load
from cloudmig.demo.pacs import Script, ScriptedPacs
from cloudmig.demo.studies import Series, Study, StudyMaker, made_up_uid
from cloudmig.demo.workplace import free_port
from cloudmig.destinations.breaker import BreakerDestination, BreakerPolicy
from cloudmig.destinations.wrapping import ObjectKeeper
from cloudmig.errors import CatalogUnavailable
from cloudmig.model.references import StudyRef
from cloudmig.model.study import StudySummary
from cloudmig.model.window import StudyQuestion
from cloudmig.pipeline.closure import close
from cloudmig.pipeline.inventory import InventoryResult, take_inventory
from cloudmig.pipeline.planning import PlanResult, make_plan
from cloudmig.pipeline.report import ClosingStatement
from cloudmig.pipeline.verification import VerifySummary, verify_copies
from cloudmig.sources.dimse import DimseSource
from tests.peers.part10 import NotPart10, dataset_sha256

__all__ = [
    "TODAY", "AtPutBack", "Recorder", "World", "a_study", "catalog_falls_silent", "free_port",
    "held_in_folder", "let_breakers",
]  # fmt: skip

TODAY = dt.date(2026, 1, 1)
_MAKER = StudyMaker(TODAY)


def catalog_falls_silent(
    monkeypatch: pytest.MonkeyPatch, method: Callable[..., object], *, at: int
) -> None:
    """Let call `at`, from 1, of a method of the catalog find its server gone, and no other."""
    turns = count(1)

    @functools.wraps(method)
    def call(*arguments: Any, **told: Any) -> object:  # noqa: ANN401
        if next(turns) == at:
            raise CatalogUnavailable("the catalog's server does not answer")
        return method(*arguments, **told)

    monkeypatch.setattr(Catalog, method.__name__, call)
    monkeypatch.setattr("cloudmig.agent.rounds._PAUSE_FIRST_S", 0.01)


def let_breakers(monkeypatch: pytest.MonkeyPatch, policy: BreakerPolicy) -> None:
    """Let every breaker go by a policy that a test can wait for."""

    def breaker(inner: ObjectKeeper, given: BreakerPolicy | None) -> BreakerDestination:
        assert given is None
        return BreakerDestination(inner, policy)

    monkeypatch.setattr("cloudmig.destinations.opening.BreakerDestination", breaker)


def a_study(
    number: int = 1, *, series: Sequence[int] = (2, 1), modality: str = "CT", **changes: str
) -> Study:
    """Make study `number` with so many instances in each of its series."""
    made = _MAKER.study(number)
    shaped = tuple(
        Series(
            series_instance_uid=made_up_uid(made.study_instance_uid, "shaped", position),
            series_number=position,
            modality=modality,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            instances=instances,
            rows=8,
            columns=8,
        )
        for position, instances in enumerate(series, 1)
    )
    return replace(made, **{"study_date": "20200101", **changes}, series=shaped)


@dataclass
class Recorder:
    """A reporter that remembers."""

    told: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def event(self, name: str, **fields: object) -> None:
        self.told.append((name, fields))

    def named(self, name: str) -> list[dict[str, object]]:
        return [fields for told, fields in self.told if told == name]


class AtPutBack(Recorder):
    """Does something when an attempt at a study has failed: each time, or at one of them."""

    def __init__(self, then: Callable[[], None], *, at: int | None = None) -> None:
        super().__init__()
        self._then = then
        self._at = at

    def event(self, name: str, **fields: object) -> None:
        super().event(name, **fields)
        if name == "study.put_back" and self._at in {None, len(self.named(name))}:
            self._then()


@dataclass
class World:
    """One PACS, one agent and its destinations."""

    folder: Path
    studies: Sequence[Study]
    script: Script = Script()
    retrieve: str = "c-move"
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    destinations: Mapping[str, Mapping[str, Any]] | None = None
    rules: Sequence[Mapping[str, Any]] | None = None
    reporter: Recorder = field(default_factory=Recorder)
    agent_port: int = field(default_factory=free_port)
    pacs: ScriptedPacs = field(init=False)

    def __post_init__(self) -> None:
        self.pacs = ScriptedPacs(
            self.studies,
            self.script,
            destinations={"CLOUDMIG": ("127.0.0.1", self.agent_port)},
        )
        if self.destinations is None:
            self.destinations = {"store": {"url": f"file://{self.folder / 'store'}"}}
        if self.rules is None:
            self.rules = [{"name": "everything", "copy_to": list(self.destinations)}]
        self.write_configuration()
        # Migrating an empty catalog takes longer than most migrations here: start with a copy.
        state = self.folder / "state"
        state.mkdir(mode=0o700, exist_ok=True)
        (state / "catalog.db").write_bytes(_fresh_catalog())

    @property
    def config(self) -> Path:
        return self.folder / "cloudmig.toml"

    def write_configuration(self) -> None:
        assert self.destinations is not None
        assert self.rules is not None
        sections: dict[str, Mapping[str, Any]] = {
            "agent": {
                "name": "world", "state_dir": "state", "backoff_s": 0.05, "lease_s": 5,
                "renew_s": 1, "transfers": 4,
            },
            "listen": {"host": "127.0.0.1", "port": self.agent_port},
            "sources.main": {
                "archive": "main", "host": "127.0.0.1", "port": self.pacs.port,
                "aet": self.pacs.aet, "ae_titles": ["CLOUDMIG"], "retrieve": self.retrieve,
                "lanes": 3, "grace_s": 0.1,
            },
            **{f"destinations.{name}": told for name, told in self.destinations.items()},
        }  # fmt: skip
        lines = []
        for name, told in sections.items():
            lines.append(f"[{name}]")
            merged = {**told, **self.settings.get(name, {})}
            lines += [f"{key} = {_toml(value)}" for key, value in merged.items()]
        for rule in self.rules:
            lines.append("[[rules]]")
            lines += [f"{key} = {_toml(value)}" for key, value in rule.items()]
        self.config.write_text("\n".join(lines) + "\n", encoding="utf-8")

    @contextlib.contextmanager
    def serving(self) -> Iterator[World]:
        with self.pacs:
            yield self

    # The commands. Each opens everything anew, as a process does.

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Parts]:
        async with open_agent(load(self.config), self.reporter) as parts:
            yield parts

    async def inventory(self, *, questions_max: int | None = None) -> InventoryResult:
        """Ask for every study. Raises InterruptedError instead of asking more often than that."""
        async with self.opened() as parts:
            if questions_max is not None:
                _interrupt(parts.sources["main"], questions_max)
            return await take_inventory(
                parts.sources["main"],
                parts.catalog,
                settings=parts.config.sources["main"],
                reporter=self.reporter,
            )

    async def plan(self) -> PlanResult:
        async with self.opened() as parts:
            return await make_plan(
                parts.catalog,
                parts.config.rules,
                parts.config.destinations.keys(),
                today=TODAY,
                reporter=self.reporter,
            )

    async def run(self) -> RunSummary:
        async with self.opened() as parts:
            return await run_agent(parts, stop=asyncio.Event())

    async def verify(self, *, part: int = 1, parts: int = 1, again: bool = False) -> VerifySummary:
        async with self.opened() as opened:
            return await verify_copies(opened, part=part, parts=parts, again=again)

    async def close(self) -> ClosingStatement:
        async with self.opened() as parts:
            return await close(parts)

    async def release(self, study_instance_uid: str) -> None:
        """Let a person release a study."""
        async with self.opened() as parts:
            await parts.catalog.call(
                Catalog.release,
                "main",
                StudyRef(study_instance_uid),
                at=parts.now(),
                note="looked at",
            )

    async def migrate(self) -> RunSummary:
        """Inventory, plan, run."""
        await self.inventory()
        await self.plan()
        return await self.run()

    async def explain_everything(self) -> ClosingStatement:
        """Verify and close; both equations must hold, with nothing unexplained."""
        verified = await self.verify()
        assert not verified.findings, verified.findings
        closing = await self.close()
        statement = closing.statement
        assert not closing.refused, (closing.obstacles, closing.unexplained, statement)
        for equation in (statement.studies, statement.instances):
            assert equation.inventory == (
                equation.verified + equation.quarantined + sum(equation.excluded.values())
            )
        return closing

    # What is known afterwards

    def catalog(self) -> Catalog:
        return Catalog.open(load(self.config).agent.catalog_url)

    def quarantined(self) -> dict[str, set[str]]:
        """Return the reasons by Study Instance UID."""
        found: defaultdict[str, set[str]] = defaultdict(set)
        with self.catalog() as catalog:
            for item in catalog.quarantine_items():
                found[item.known_by].add(item.reason.value)
        return dict(found)

    def states(self) -> dict[str, str]:
        """Return the state of each study's transfer."""
        with self.catalog() as catalog:
            return {row.study.study_instance_uid: row.state.value for row in catalog.transfers()}

    def truth(self) -> dict[str, set[str]]:
        """Return the digests of the data sets that the PACS holds, by SOP Instance UID."""
        found: defaultdict[str, set[str]] = defaultdict(set)
        for held in self.pacs.truth():
            found[held.sop_instance_uid].add(held.data_set_sha256)
        return dict(found)

    def held(self, name: str = "store") -> dict[str, set[str]]:
        """Return the digests of the data sets in a `file://` destination."""
        assert self.destinations is not None
        return held_in_folder(Path(self.destinations[name]["url"].removeprefix("file://")))

    def spooled(self) -> list[str]:
        return [path.name for path in (self.folder / "state" / "spool").iterdir()]

    def ledger(self, kind: str) -> list[Any]:
        with self.catalog() as catalog:
            return [event for event in catalog.ledger() if event.kind == kind]


def _interrupt(source: DimseSource, questions_max: int) -> None:
    find_studies, asked = source.find_studies, count()

    def counting(question: StudyQuestion) -> AsyncIterator[StudySummary]:
        if next(asked) >= questions_max:
            raise InterruptedError
        return find_studies(question)

    source.find_studies = counting  # type: ignore[method-assign]


def held_in_folder(folder: Path) -> dict[str, set[str]]:
    """Return data set digests by SOP Instance UID; what has none is under `quarantine`."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for path in folder.rglob("*.dcm*"):
        quarantined = path.parent.name == "quarantine"
        name = "quarantine" if quarantined else path.name.split("~")[0].removesuffix(".dcm")
        try:
            found[name].add(dataset_sha256(path.read_bytes()))
        except NotPart10:
            found[name].add("not part 10")
    return dict(found)


@functools.cache
def _fresh_catalog() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "catalog.db"
        Catalog.open(f"sqlite:///{path}").close()
        return path.read_bytes()


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, Path):
        value = str(value)
    return json.dumps(value)
