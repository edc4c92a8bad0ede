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


LEFT = pytest.mark.parametrize(
    ("is_left", "said"), [(True, "is empty"), (False, "cannot be opened")],
    ids=["where it was mounted", "nothing"],
)  # fmt: skip


@LEFT
async def test_a_run_waits_for_the_disk_and_writes_nothing_below_its_name(
    is_left: bool, said: str, moved: FolderWorld
) -> None:
    away = moved.folder / "away"
    moved.store.rename(away)
    if is_left:
        moved.store.mkdir()
    running = asyncio.create_task(moved.run())
    while not moved.reporter.named("study.put_back"):
        assert not running.done()
        await asyncio.sleep(0.01)

    assert moved.store.exists() == is_left
    if is_left:
        assert not list(moved.store.iterdir())
        moved.store.rmdir()
    away.rename(moved.store)
    await running

    for told in moved.reporter.named("destination.down"):
        assert said in str(told["message"])
        assert "mounted" in str(told["hint"])
    assert len(moved.stored()) == 5


@LEFT
async def test_a_disk_that_is_away_is_no_missing_object(
    is_left: bool, said: str, moved: FolderWorld
) -> None:
    moved.store.rename(moved.folder / "away")
    if is_left:
        moved.store.mkdir()

    async with open_agent(load(moved.config), moved.reporter) as parts:
        with pytest.raises(DestinationUnavailable, match=f"its folder {said}"):
            await verify_copies(parts, again=True)

    with Catalog.open(load(moved.config).agent.catalog_url) as catalog:
        states = catalog.status_counts().transfers["main"]
    assert states == {TransferState.CLOSED: 1, TransferState.PLANNED: 1}
