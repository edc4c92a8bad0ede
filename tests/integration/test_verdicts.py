"""The cloud's word: verified by it, repaired because of it, and never confused by it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from cloudmig.agent.verdicts import VerdictSummary, collect_verdicts
from cloudmig.catalog.cloud_verdicts import Word
from cloudmig.demo.studies import Study
from tests.integration.cloud_side import CloudSide, later, names_of
from tests.integration.migration_world import World, a_study

pytest_plugins = ["tests.contract.store_fixtures"]

STUDIES = tuple(a_study(number, series=(2, 1)) for number in range(1, 4))
UIDS = [study.study_instance_uid for study in STUDIES]


def a_world(tmp_path: Path, cloud: CloudSide, studies: tuple[Study, ...] = STUDIES) -> World:
    return World(tmp_path, studies, destinations={"store": cloud.settings})


async def collect(world: World) -> VerdictSummary:
    async with world.opened() as parts:
        return await collect_verdicts(parts, stop=asyncio.Event())


async def test_a_wave_closes_by_the_word_of_the_cloud_alone(endpoint: str, tmp_path: Path) -> None:
    cloud = CloudSide(endpoint, prefix="some/prefix/")
    world = a_world(tmp_path, cloud)
    with world.serving():
        await world.migrate()
    assert [verdict.agreed for verdict in cloud.judge(*UIDS)] == [True] * 3

    heard = await collect(world)
    closing = await world.close()

    assert heard.words == {Word.AGREED: 3}
    assert set(world.states().values()) == {"closed"}
    assert not closing.refused
    assert closing.statement.verdicts == {"CLOUD": 3}
    [told, *_] = world.ledger("copy_verified")
    assert told.detail["how"] == "CLOUD"
    assert told.detail["looked"] in {"STREAMED", "STORE_CHECKSUM"}
    assert cloud.waiting() == 0


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


@pytest.mark.parametrize("versioned", [True, False], ids=["versioned", "unversioned"])
async def test_what_the_cloud_finds_is_repaired_by_the_next_run_and_then_agreed(
    versioned: bool, endpoint: str, tmp_path: Path
) -> None:
    cloud = CloudSide(endpoint, versioned=versioned)
    world = a_world(tmp_path, cloud, STUDIES[:2])
    with world.serving():
        await world.migrate()
        keys = cloud.images(UIDS[0])
        first, *rest = cloud.images(UIDS[1])
        for key, spoil in zip([*keys, first], SPOILED.values(), strict=True):
            spoil(cloud, key)
        one, other = rest
        theirs = cloud.body(other)
        cloud.overwrite(other, lambda _: cloud.body(one))
        cloud.overwrite(one, lambda _: theirs)
        found = names_of(cloud.judge(*UIDS[:2]))
        assert found == sorted([*SPOILED, "swapped", "swapped"])

        heard = await collect(world)
        assert heard.words == {Word.DIFFERS: 2}
        assert sorted(each.finding for each in heard.findings) == found
        assert (await world.close()).refused
        await world.run()
        assert set(world.states().values()) == {"stored"}
        assert [verdict.agreed for verdict in cloud.judge(*UIDS[:2])] == [True] * 2
        assert (await collect(world)).words == {Word.AGREED: 2}

    assert not (await world.close()).refused
    assert world.quarantined() == {}
    assert {cloud.class_of(key) for key in cloud.images()} == {"STANDARD"} or not versioned


@pytest.mark.parametrize("versioned", [True, False], ids=["versioned", "unversioned"])
async def test_what_lost_its_encryption_or_its_class_is_put_again_as_the_rule_says(
    versioned: bool, endpoint: str, tmp_path: Path
) -> None:
    cloud = CloudSide(endpoint, versioned=versioned, encrypted=True)
    rule = {"name": "all", "copy_to": ["store"], "storage_class": "STANDARD_IA"}
    world = World(tmp_path, STUDIES[:1], destinations={"store": cloud.settings}, rules=[rule])
    with world.serving():
        await world.migrate()
        plain, warm, _ = cloud.images()
        cloud.overwrite(plain, lambda body: body, StorageClass="STANDARD_IA")
        cloud.overwrite(
            warm, lambda body: body, ServerSideEncryption="aws:kms",
            SSEKMSKeyId=str(cloud.kms_key_arn),
        )  # fmt: skip
        assert names_of(cloud.judge(UIDS[0])) == ["not encrypted", "wrong class"]
        await collect(world)
        await world.run()
        [verdict] = cloud.judge(UIDS[0])
        assert verdict.agreed, verdict.findings
        await collect(world)

    newest = {key.split("~r")[0]: key for key in sorted(cloud.images())}
    assert len(cloud.images()) == (3 if versioned else 5)
    for key in newest.values():
        held = cloud.s3.head_object(Bucket=cloud.name, Key=key)
        assert (held["StorageClass"], held["ServerSideEncryption"]) == ("STANDARD_IA", "aws:kms")
    assert not (await world.close()).refused


async def test_what_comes_twice_late_or_out_of_order_changes_nothing(
    endpoint: str, tmp_path: Path
) -> None:
    cloud = CloudSide(endpoint)
    world = a_world(tmp_path, cloud, STUDIES[:1])
    with world.serving():
        await world.migrate()
        [key, *_] = cloud.images()
        SPOILED["altered"](cloud, key)
        [bad] = cloud.judge(UIDS[0])
        assert (await collect(world)).words == {Word.DIFFERS: 1}
        await world.run()
        [good] = cloud.judge(UIDS[0])
        assert (await collect(world)).words == {Word.AGREED: 1}
        before = len(world.ledger("copy_verified")), len(world.ledger("copy_failed"))

        cloud.send(good, later(bad, 3600), bad, later(good, -1), good)
        heard = await collect(world)

    assert heard.words == {Word.SUPERSEDED: 2, Word.OLDER: 3}
    assert not heard.differs
    assert (len(world.ledger("copy_verified")), len(world.ledger("copy_failed"))) == before
    assert set(world.states().values()) == {"verified"}
    assert cloud.waiting() == 0
