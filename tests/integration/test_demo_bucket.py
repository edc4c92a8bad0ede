"""The embedded bucket and the judge who looks into it."""

from __future__ import annotations

import datetime as dt

import pytest

from cloudmig.demo.bucket import BucketProcess, BucketView, EmbeddedBucket
from cloudmig.demo.judge import judge
from cloudmig.demo.pacs.holdings import Holdings
from cloudmig.demo.studies import Study, StudyMaker

pytest.importorskip("moto.server")
STUDIES = tuple(StudyMaker(dt.date(2026, 11, 22)).studies(3))


def put(bucket: BucketView, key: str, data: bytes) -> None:
    bucket._ask("PUT", f"/{key}", data)


def fill(bucket: BucketView, studies: tuple[Study, ...] = STUDIES) -> list[str]:
    keys = []
    for study in studies:
        for instance in study.instances():
            keys.append(f"v1/demo/{instance.sop_instance_uid}.dcm")
            put(bucket, keys[-1], instance.part10())
    return keys


@pytest.mark.parametrize("kind", [EmbeddedBucket, BucketProcess])
def test_a_bucket_keeps_every_version(kind: type[EmbeddedBucket | BucketProcess]) -> None:
    with kind() as bucket:
        put(bucket, "v1/x", b"one")
        put(bucket, "v1/x", b"two")

        assert len({one.version_id for one in bucket.versions("v1/")}) == 2
        assert bucket.read("v1/x") == b"two"


def test_more_versions_than_fit_on_a_page_are_all_listed() -> None:
    with EmbeddedBucket() as bucket:
        for number in range(1005):
            put(bucket, f"v1/{number}", b"")

        assert len(list(bucket.versions())) == 1005


def test_the_judge_finds_a_true_copy_true() -> None:
    with EmbeddedBucket() as bucket:
        fill(bucket)
        found = judge(bucket, Holdings(STUDIES).truth())

    assert found.holds
    assert found.found == found.expected == sum(len(study.instances()) for study in STUDIES)


def test_the_judge_notices_loss_change_invention_and_repetition() -> None:
    with EmbeddedBucket() as bucket:
        keys = fill(bucket)
        changed = bytearray(bucket.read(keys[1]))
        changed[-1] ^= 1
        put(bucket, keys[1], bytes(changed))
        bucket._ask("DELETE", f"/{keys[0]}")
        put(bucket, "v1/demo/invented.dcm", bucket.read(keys[2])[:-2])
        found = judge(bucket, Holdings(STUDIES).truth())

    assert not found.holds
    assert found.absent == 2
    assert found.strange == 2
    assert found.written_twice == 1
