"""Objects that the real agent stored, real events, deployed zips: everything wrong is named.

`cloudmig`'s agent migrates out of a scripted PACS into a bucket (moto); its events go through
EventBridge and SQS (moto) into the functions, run from their zips under AWS's emulator.
"""

from __future__ import annotations

from pathlib import Path

from tests.integration.migration_world import World, a_study
from tests.lambdas.cloud import PREFIX, Cloud, findings_of


def world_of(folder: Path, cloud: Cloud, studies: int, series: tuple[int, ...]) -> World:
    return World(
        folder,
        [a_study(number, series=series) for number in range(1, studies + 1)],
        destinations={
            "archive": {
                "url": f"s3://{cloud.name}/{PREFIX.rstrip('/')}",
                "endpoint": cloud.moto.endpoint, "region": "us-east-1", "profile": "moto",
                "storage_class": "STANDARD", "access_key_id": "testing",
                "secret_access_key": "testing",
            },
        },
    )  # fmt: skip


async def test_everything_that_was_migrated_agrees(cloud: Cloud, tmp_path: Path) -> None:
    world = world_of(tmp_path, cloud, studies=3, series=(3, 2))
    with cloud.functions(), world.serving():
        await world.migrate()
        cloud.settle()

    verdicts = cloud.study_verdicts()
    assert len(verdicts) == 3
    assert all(each.agreed for each in verdicts), findings_of(verdicts)
    assert sum(each.instances for each in verdicts) == 15
