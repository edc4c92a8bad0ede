"""What a collector and a supervisor are told while a run works, and by whom it is not disturbed."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cloudmig.agent.health import health_page
from cloudmig.agent.outages import Outages
from cloudmig.agent.service import run_agent
from cloudmig.agent.working import Work
from cloudmig.bootstrap import Parts, open_agent
from cloudmig.catalog import Catalog
from cloudmig.config import load
from cloudmig.errors import CatalogUnavailable, ConfigError
from cloudmig.telemetry import METRICS
from tests.integration.folder_world import FolderWorld, write_studies
from tests.integration.migration_world import a_study, free_port

FIRST, SECOND = a_study(1, series=(2,)), a_study(2, series=(3,))
SILENT = 300
VISITORS_MAX = 16

Samples = Mapping[tuple[str, ...], float]


@pytest.fixture
async def moved(tmp_path: Path) -> FolderWorld:
    """One study is there; another is planned."""
    world = FolderWorld(tmp_path, destination={"attempts_max": 1}, health={"port": free_port()})
    write_studies(world.export, [FIRST])
    await world.migrate()
    write_studies(world.export, [SECOND])
    await world.inventory()
    await world.plan()
    return world


@asynccontextmanager
async def page_of(world: FolderWorld) -> AsyncIterator[Parts]:
    async with (
        open_agent(load(world.config), world.reporter) as parts,
        health_page(Work(parts, "world", asyncio.Event(), Outages(parts))),
    ):
        yield parts


async def read(world: FolderWorld, path: str, method: str = "GET") -> tuple[int, str]:
    """Ask as a collector does, from a thread: the loop has to answer meanwhile."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{world.health['port']}{path}", method=method
    )

    def ask() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return await asyncio.to_thread(ask)


async def figures(world: FolderWorld) -> Samples:
    """Return every value by its name and its labels' values, in the order of their names."""
    status, text = await read(world, "/metrics")
    assert status == 200
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def counted(world: FolderWorld) -> Samples:
    """Return the figures once the catalog was counted."""
    while True:
        found = await figures(world)
        if ("cloudmig_counted_timestamp_seconds",) in found:
            return found


async def test_every_figure_is_told_as_it_is(moved: FolderWorld) -> None:
    async with page_of(moved) as parts:
        parts.counters.instances_stored = 7
        parts.counters.studies_quarantined = 2
        assert parts.area.memory.try_take(4096)
        found = await counted(moved)
        parts.area.memory.give(4096)

    assert found["cloudmig_instances_stored_total",] == 7
    assert found["cloudmig_studies_quarantined_total",] == 2
    assert found["cloudmig_memory_in_flight_bytes",] == 4096
    assert found["cloudmig_studies", "main", "closed"] == 1
    assert found["cloudmig_studies", "main", "planned"] == 1
    assert found["cloudmig_copies", "store", "verified"] == 1
    assert found["cloudmig_source_up", "main"] == 1
    assert found["cloudmig_destination_up", "store"] == 1
    assert found["process_resident_memory_bytes",] > 1e7
    told = {name.removesuffix("_total") for name, *_ in found}
    assert told >= METRICS.keys() - {"cloudmig_findings_waiting"}, "nothing waits here"


async def test_a_run_names_the_store_that_is_down(moved: FolderWorld) -> None:
    moved.store.rename(moved.folder / "away")
    stop = asyncio.Event()
    async with open_agent(load(moved.config), moved.reporter) as parts:
        running = asyncio.create_task(run_agent(parts, stop=stop))
        while not moved.reporter.named("destination.down"):
            assert not running.done()
            await asyncio.sleep(0.01)
        health = json.loads((await read(moved, "/health"))[1])
        found = await figures(moved)
        stop.set()
        await running

    assert health == {
        "agent": "world",
        "catalog_down": False,
        "sources_down": [],
        "destinations_down": ["store"],
    }
    assert found["cloudmig_destination_up", "store"] == 0
    assert found["cloudmig_source_up", "main"] == 1


async def test_the_page_says_that_the_run_waits_for_its_catalog(
    moved: FolderWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, is_away = Catalog.claim_next, True

    def ask(*arguments: Any, **named: Any) -> object:  # noqa: ANN401
        if is_away:
            raise CatalogUnavailable("nobody there")
        return claim(*arguments, **named)

    monkeypatch.setattr(Catalog, "claim_next", ask)
    async with open_agent(load(moved.config), moved.reporter) as parts:
        running = asyncio.create_task(run_agent(parts, stop=asyncio.Event()))
        while not moved.reporter.named("catalog.down"):
            assert not running.done()
            await asyncio.sleep(0.01)
        health = json.loads((await read(moved, "/health"))[1])
        found = await figures(moved)
        is_away = False
        summary = await running
        assert parts.counters.catalog_answers

    assert health["catalog_down"] is True
    assert found["cloudmig_catalog_up",] == 0
    assert summary.studies_stored == 1


async def test_no_study_and_no_patient_is_on_the_page(moved: FolderWorld) -> None:
    async with page_of(moved):
        await counted(moved)
        page = (await read(moved, "/metrics"))[1] + (await read(moved, "/health"))[1]

    for study in (FIRST, SECOND):
        assert study.study_instance_uid not in page
        assert study.patient.name not in page
        assert study.patient.patient_id not in page


async def ended(reader: asyncio.StreamReader) -> None:
    """Wait for the other side to end it, in whatever way."""
    with suppress(ConnectionResetError):
        assert await reader.read() == b""


async def test_silent_visitors_keep_no_collector_out(moved: FolderWorld) -> None:
    async with page_of(moved):
        port = moved.health["port"]
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(SILENT)]
        async with asyncio.timeout(10):
            await figures(moved)
            # All but a few were shown the door, and have noticed.
            endings = asyncio.as_completed([ended(reader) for reader, _ in silent])
            for _ in range(SILENT - VISITORS_MAX):
                await next(endings)
        for _, writer in silent:
            writer.close()


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/", "GET", 404), ("/metrics", "POST", 405), ("/metrics", "HEAD", 200)],
)
async def test_nothing_else_is_answered(
    moved: FolderWorld, path: str, method: str, status: int
) -> None:
    async with page_of(moved):
        assert (await read(moved, path, method))[0] == status


async def test_a_port_that_is_taken_ends_the_run_with_a_hint(moved: FolderWorld) -> None:
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", moved.health["port"])
    async with taken:
        with pytest.raises(ConfigError, match="cannot listen") as told:
            await moved.run()

    assert "health.port" in told.value.hint
