"""The functions' own code, run on site: the same findings, the same word, another place."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from cloudmig.agent.as_cloud import verify_as_cloud
from cloudmig.catalog.records import QuarantineItem
from cloudmig.errors import ConfigError
from cloudmig.model.extra_object import ExtraObject
from cloudmig.pipeline.verification import VerifySummary
from tests.integration.cloud_side import CloudSide
from tests.integration.migration_world import World
from tests.integration.verdict_world import SPOILED, STUDIES, UIDS

pytest_plugins = ["tests.contract.store_fixtures"]


def a_world(tmp_path: Path, cloud: CloudSide, **more: object) -> World:
    settings = {
        name: told for name, told in cloud.settings.items() if not name.startswith("verdict_")
    }
    return World(tmp_path, STUDIES, destinations={"store": settings | more})


async def verify(
    world: World, *, part: int = 1, parts: int = 1, again: bool = False
) -> VerifySummary:
    async with world.opened() as opened:
        return await verify_as_cloud(opened, part=part, parts=parts, again=again)


async def test_a_wave_closes_by_the_functions_code_run_on_site(
    endpoint: str, tmp_path: Path
) -> None:
    cloud = CloudSide(endpoint, prefix="some/prefix/")
    world = a_world(tmp_path, cloud)
    with world.serving():
        await world.migrate()

    seen = [await verify(world, part=part, parts=3) for part in (1, 2, 3)]

    assert sum(each.agreed for each in seen) == len(STUDIES)
    assert sum(each.instances for each in seen) == 3 * len(STUDIES)
    closing = await world.close()
    assert not closing.refused
    assert closing.statement.verdicts == {"CLOUD": 3}
    assert {event.detail["on_site"] for event in world.ledger("copy_verified")} == {True}
    assert (await verify(world)).copies == 0
    assert (await verify(world, again=True)).agreed == len(STUDIES)


def closing_items(world: World) -> list[QuarantineItem]:
    with world.catalog() as catalog:
        return catalog.quarantine_items()


async def test_what_it_finds_is_named_and_repaired(endpoint: str, tmp_path: Path) -> None:
    cloud = CloudSide(endpoint)
    world = a_world(tmp_path, cloud)
    with world.serving():
        await world.migrate()
        for key, spoil in zip(cloud.images(), SPOILED.values(), strict=False):
            spoil(cloud, key)
        [manifest] = [
            each["Key"]
            for each in cloud.s3.list_objects_v2(Bucket=cloud.name)["Contents"]
            if each["Key"].endswith("1.json.gz") and UIDS[2] in each["Key"]
        ]
        cloud.s3.delete_object(Bucket=cloud.name, Key=manifest)
        found = await verify(world)
        assert {each.finding for each in found.findings} >= {*SPOILED} - {"wrong class"}
        assert "manifest missing" in {each.finding for each in found.findings}
        await world.run()
        assert (await verify(world)).failed == 0

    # The study is proven anew; that a revision before is gone is told to a person.
    assert [item.reason.value for item in closing_items(world)] == ["evidence_damaged"]
    assert not (await world.close()).refused


async def test_it_also_finds_what_nobody_put_there(endpoint: str, tmp_path: Path) -> None:
    cloud = CloudSide(endpoint)
    world = a_world(tmp_path, cloud)
    with world.serving():
        await world.migrate()
    place = cloud.images(UIDS[0])[0].rsplit("/", 1)[0]
    cloud.s3.put_object(Bucket=cloud.name, Key=f"{place}/1.2.3.dcm", Body=b"hello")

    found = await verify(world)

    assert (found.agreed, found.failed, found.extras) == (3, 0, 1)
    assert list(world.quarantined().values()) == [{"stranger"}]
    assert (await verify(world, again=True)).extras == 1, "it lies there still"
    [item] = closing_items(world)
    assert isinstance(item.study, ExtraObject)
    with world.catalog() as catalog:
        catalog.release_extra(item.study, at=dt.datetime.now(dt.UTC), note="a memo")
    assert (await verify(world, again=True)).extras == 0, "a person has decided"


async def test_a_class_that_a_lifecycle_may_choose_is_not_wrong(
    endpoint: str, tmp_path: Path
) -> None:
    cloud = CloudSide(endpoint)
    world = a_world(tmp_path, cloud, later_classes=["GLACIER_IR"])
    with world.serving():
        await world.migrate()
    SPOILED["wrong class"](cloud, cloud.images()[0])

    assert (await verify(world)).agreed == 3


async def test_only_s3_can_be_looked_at_like_that(tmp_path: Path) -> None:
    world = World(tmp_path, STUDIES[:1])
    with world.serving():
        await world.migrate()

    with pytest.raises(ConfigError, match="no s3:// store"):
        await verify(world)
