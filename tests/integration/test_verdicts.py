"""The cloud's word: verified by it, repaired because of it, and never confused by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudmig.catalog.cloud_verdicts import Word
from tests.integration.cloud_side import CloudSide, later, names_of
from tests.integration.migration_world import World
from tests.integration.verdict_world import SPOILED, STUDIES, UIDS, collect, migrated, serving

pytest_plugins = ["tests.contract.store_fixtures"]


async def test_a_wave_closes_by_the_word_of_the_cloud_alone(endpoint: str, tmp_path: Path) -> None:
    cloud = CloudSide(endpoint, prefix="some/prefix/")
    world = await migrated(cloud, tmp_path, 3)
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


@pytest.mark.parametrize("versioned", [True, False], ids=["versioned", "unversioned"])
async def test_what_the_cloud_finds_is_repaired_by_the_next_run_and_then_agreed(
    versioned: bool, endpoint: str, tmp_path: Path
) -> None:
    cloud = CloudSide(endpoint, versioned=versioned)
    async with serving(cloud, tmp_path, 2) as world:
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
    async with serving(cloud, tmp_path) as world:
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
