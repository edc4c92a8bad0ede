"""A folder for a home, on a disk that is not always there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cloudmig.bootstrap import open_agent
from cloudmig.catalog import Catalog
from cloudmig.config import load
from cloudmig.errors import DestinationUnavailable
from cloudmig.model.states import TransferState
from cloudmig.pipeline.verification import verify_copies
from tests.integration.folder_world import FolderWorld, write_studies
from tests.integration.migration_world import a_study

FIRST, SECOND = a_study(1, series=(2,)), a_study(2, series=(3,))


@pytest.fixture
async def moved(tmp_path: Path) -> FolderWorld:
    """One study is there; another waits."""
    world = FolderWorld(tmp_path, destination={"attempts_max": 1})
    write_studies(world.export, [FIRST])
    await world.migrate()
    write_studies(world.export, [SECOND])
    await world.inventory()
    await world.plan()
    return world


async def test_a_run_waits_for_the_disk_and_writes_nothing_below_its_name(
    moved: FolderWorld,
) -> None:
    away = moved.folder / "away"
    moved.store.rename(away)
    running = asyncio.create_task(moved.run())
    while not moved.reporter.named("study.put_back"):
        assert not running.done()
        await asyncio.sleep(0.01)

    assert not list(moved.store.iterdir()), "an open run made the folder, and left it empty"
    moved.store.rmdir()
    away.rename(moved.store)
    await running

    for told in moved.reporter.named("destination.down"):
        assert "empty" in str(told["message"])
        assert "mounted" in str(told["hint"])
    assert len(moved.stored()) == 5


async def test_a_disk_that_is_away_is_no_missing_object(moved: FolderWorld) -> None:
    moved.store.rename(moved.folder / "away")

    async with open_agent(load(moved.config), moved.reporter) as parts:
        with pytest.raises(DestinationUnavailable, match="its folder is empty"):
            await verify_copies(parts, again=True)

    with Catalog.open(load(moved.config).agent.catalog_url) as catalog:
        states = catalog.status_counts().transfers["main"]
    assert states == {TransferState.CLOSED: 1, TransferState.PLANNED: 1}
