"""Studies that have been migrated to a bucket, and the cloud that judges them there.

cloud, world = await migrated(endpoint, tmp_path)
cloud.judge(UIDS[0])
assert (await collect(world)).words == {Word.AGREED: 1}
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from cloudmig.agent.verdicts import VerdictSummary, collect_verdicts
from tests.integration.cloud_side import CloudSide
from tests.integration.migration_world import World, a_study

__all__ = ["SPOILED", "STUDIES", "UIDS", "collect", "migrated", "serving"]

STUDIES = tuple(a_study(number, series=(2, 1)) for number in range(1, 4))
UIDS = [study.study_instance_uid for study in STUDIES]

#: What happens to one object behind everybody's back, and what it is then called.
SPOILED: dict[str, Callable[[CloudSide, str], None]] = {
    "altered": lambda cloud, key: cloud.overwrite(
        key, lambda body: body[:-1] + bytes([body[-1] ^ 1])
    ),
    "truncated": lambda cloud, key: cloud.overwrite(key, lambda body: body[:-8]),
    "missing": lambda cloud, key: cloud.s3.delete_object(Bucket=cloud.name, Key=key),
    "wrong class": lambda cloud, key: cloud.overwrite(
        key, lambda body: body, StorageClass="GLACIER_IR"
    ),
}


@asynccontextmanager
async def serving(cloud: CloudSide, folder: Path, studies: int = 1) -> AsyncIterator[World]:
    """Migrate so many studies, and let the PACS answer on."""
    world = World(folder, STUDIES[:studies], destinations={"store": cloud.settings})
    with world.serving():
        await world.migrate()
        yield world


async def migrated(cloud: CloudSide, folder: Path, studies: int = 1) -> World:
    """Migrate so many studies; the PACS is gone then."""
    async with serving(cloud, folder, studies) as world:
        return world


async def collect(world: World) -> VerdictSummary:
    async with world.opened() as parts:
        return await collect_verdicts(parts, stop=asyncio.Event())
