"""The machine's clock was ahead when a study was put off, and is right again."""

from __future__ import annotations

import asyncio
from pathlib import Path

from cloudmig.catalog import Catalog
from cloudmig.model.states import TransferState
from tests.integration.migration_world import World, a_study


async def test_the_next_run_does_not_wait_until_the_clock_gets_there(tmp_path: Path) -> None:
    world = World(tmp_path, [a_study(1), a_study(2)])
    with world.serving():
        await world.inventory()
        await world.plan()
        async with world.opened() as parts:
            job = await parts.catalog.call(
                Catalog.claim_next, "world", lease_s=60, sources=["main"]
            )
            assert job is not None
            await parts.catalog.call(
                Catalog.finish, job, TransferState.PLANNED, cause="busy", delay_s=400 * 86_400.0
            )
        async with asyncio.timeout(30):
            await world.run()
        await world.explain_everything()

    assert world.held() == world.truth()
