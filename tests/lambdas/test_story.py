"""Objects that the agent stored, events that the store sent, deployed zips: all wrong is named.

`cloudmig run` migrates out of a scripted PACS into a bucket (moto); its events go through
EventBridge and SQS (moto) into the functions, run from their zips under AWS's emulator; their
verdicts go through SQS to `cloudmig verdicts`, and what is wrong is repaired by `cloudmig run`.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloudmig.demo.children import cloudmig
from cloudmig.messages import StudyVerdict
from tests.integration.migration_world import World, a_study
from tests.lambdas.cloud import PREFIX, RECEIVES_MAX, Cloud, findings_of
from tests.lambdas.tampering import Tampering, remove, tamper_with
from tests.peers.part10 import dataset_sha256

ACCEPTANCE = bool(os.environ.get("CLOUDMIG_ACCEPTANCE"))
#: 500 objects for the acceptance, a fifth of them everywhere else.
STUDIES = 50 if ACCEPTANCE else 10
SERIES = (6, 4)


def world_of(folder: Path, cloud: Cloud, studies: int, series: Sequence[int]) -> World:
    return World(
        folder,
        [a_study(number, series=series) for number in range(1, studies + 1)],
        destinations={
            "archive": {
                "url": f"s3://{cloud.name}/{PREFIX.rstrip('/')}",
                "endpoint": cloud.moto.endpoint, "region": "us-east-1", "profile": "moto",
                "storage_class": "STANDARD", "access_key_id": "testing",
                "secret_access_key": "testing", "verdict_queue": cloud.queues["verdicts"],
                "verdict_endpoint": cloud.moto.endpoint,
            },
        },
    )  # fmt: skip


@contextmanager
def migrated(
    cloud: Cloud, folder: Path, studies: int = STUDIES, series: Sequence[int] = SERIES
) -> Iterator[World]:
    """A world whose studies were migrated by the commands; no event was worked at."""
    world = world_of(folder, cloud, studies, series)
    with cloud.functions(), world.serving():
        for command in ("inventory", "plan", "run"):
            cloudmig(world.config, command, exit_codes=(0,))
        yield world


def image_keys(cloud: Cloud) -> list[str]:
    found = [each.removeprefix(PREFIX) for each in cloud.lies_there() if each.endswith(".dcm")]
    return sorted(found)


def assert_all_agree(cloud: Cloud, studies: int = STUDIES) -> None:
    told = cloud.study_verdicts()
    assert not findings_of(told.values())
    assert [each.agreed for each in told.values()] == [True] * studies


@pytest.mark.timeout(600)
def test_twenty_of_all_are_found_named_and_repaired(cloud: Cloud, tmp_path: Path) -> None:
    with migrated(cloud, tmp_path) as world:
        cloud.settle()
        keys = image_keys(cloud)
        assert len(keys) == STUDIES * sum(SERIES)
        assert_all_agree(cloud)
        told = cloud.study_verdicts()
        cloudmig(world.config, "verdicts", exit_codes=(0,))
        assert not cloud.waiting()

        done = tamper_with(cloud, keys)
        assert len({each.key for each in done}) == 20
        cloud.settle()
        told |= cloud.study_verdicts()
        assert findings_of(told.values()) == {each.key: each.finding for each in done}

        cloudmig(world.config, "verdicts", exit_codes=(1,))
        assert_in_ledger(world, done)
        cloudmig(world.config, "run", exit_codes=(0, 1))
        cloud.settle()
        told |= cloud.study_verdicts()
        strangers = {each.key: each.finding for each in done if each.finding == "stranger"}
        assert findings_of(told.values()) == strangers
        assert_repaired(cloud, world, keys)
        assert_in_quarantine(world, strangers)

        for key in strangers:
            remove(cloud, key)
        cloud.settle()
        told |= cloud.study_verdicts()
        assert not findings_of(told.values())
        assert [each.agreed for each in told.values()] == [True] * STUDIES
        cloudmig(world.config, "verdicts", exit_codes=(0,))
        assert_in_quarantine(world, ())
        assert not cloud.take("objects-dead") + cloud.take("studies-dead")
        closing = cloudmig(world.config, "close", exit_codes=(0,))

    assert json.loads("".join(closing.stdout))["studies"]["verified"] == STUDIES
    assert_nobody_is_named(cloud.logs(), world)


def assert_in_ledger(world: World, done: Sequence[Tampering]) -> None:
    """Each finding about a member is in the ledger of its copy, each extra one under its key."""
    members = {
        (sop_instance_uid, finding)
        for event in world.ledger("copy_failed")
        for sop_instance_uid, finding in event.detail["named"]
    }
    extras = {event.detail["key"] for event in world.ledger("extra_object_found")}
    for each in done:
        name = each.key.rpartition("/")[2].removesuffix(".dcm")
        assert (name, each.finding) in members or each.key in extras, each
    assert len(members) + len(extras) == len(done)


def assert_repaired(cloud: Cloud, world: World, keys: Sequence[str]) -> None:
    """Every image is what the PACS holds, as other eyes than cloudmig's see it."""
    truth = world.truth()
    for key in keys:
        name = key.rpartition("/")[2].removesuffix(".dcm")
        answer = cloud.s3.get_object(Bucket=cloud.name, Key=PREFIX + key)
        assert {dataset_sha256(answer["Body"].read())} == truth[name]
        assert answer.get("StorageClass", "STANDARD") == "STANDARD"


def assert_in_quarantine(world: World, strangers: Iterable[str]) -> None:
    with world.catalog() as catalog:
        waiting = {each.extra.key for each in catalog.extra_objects(released=False)}
    assert waiting == set(strangers)


def assert_nobody_is_named(logs: str, world: World) -> None:
    """No line of any function holds a UID, a key or a patient; pseudonyms stand for studies."""
    assert "study differs" in logs
    assert "st-" in logs
    for study in world.studies:
        assert study.study_instance_uid not in logs
        assert study.patient.name not in logs
        for instance in study.instances():
            assert instance.sop_instance_uid not in logs
    assert "/v1/" not in logs
    assert "2.25." not in logs


# ------------------------------------------------------------ delivered twice, late, in any order


def what_is_kept(cloud: Cloud) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the table without the times of looks. Empty text is the same as none."""
    return {
        key: {name: value for name, value in item.items() if value and name != "at"}
        for key, item in cloud.items().items()
    }


def differences(now: dict[Any, dict[str, Any]], before: dict[Any, dict[str, Any]]) -> list[str]:
    """Return what differs, short enough to be read in a failure."""
    return [
        f"{key[1]} {name}: {before.get(key, {}).get(name)} -> {now.get(key, {}).get(name)}"
        for key in sorted(now.keys() | before.keys())
        for name in sorted(now.get(key, {}).keys() | before.get(key, {}).keys())
        if now.get(key, {}).get(name) != before.get(key, {}).get(name)
    ]


@pytest.mark.parametrize("seed", range(5) if ACCEPTANCE else [1])
def test_events_in_any_order_and_twice_lead_to_the_same(
    cloud: Cloud, tmp_path: Path, seed: int
) -> None:
    mixed = random.Random(seed)
    with migrated(cloud, tmp_path, studies=2):
        events = cloud.take("objects")
        assert len(events) == 2 * (sum(SERIES) + 1)
        twice = [*events, *events[::3]]
        mixed.shuffle(twice)
        cloud.send("objects", twice)
        cloud.settle()
        assert_all_agree(cloud, studies=2)


def test_nothing_new_is_kept_or_said_when_everything_is_delivered_again(
    cloud: Cloud, tmp_path: Path
) -> None:
    with migrated(cloud, tmp_path, studies=2):
        cloud.settle()
        tamper_with(cloud, image_keys(cloud))
        cloud.settle()
        said = cloud.study_verdicts()
        assert len(findings_of(said.values())) == 20
        cloud.take("verdicts")
        kept = what_is_kept(cloud)

        for name, queue in (("verify_object", "objects"), ("verify_study", "studies")):
            bodies = list(cloud.sources[name].bodies)
            random.Random(3).shuffle(bodies)
            cloud.send(queue, bodies)
        cloud.settle()

        assert differences(what_is_kept(cloud), kept) == []
        # A manifest that is told of again is judged again, and the word on it is the same.
        for each in cloud.waiting():
            assert isinstance(each, StudyVerdict)
            assert replace(each, at="") == replace(said[each.study_instance_uid], at="")


# ------------------------------------------------------------------------------------------ poison


POISON = (
    "no JSON at all",
    "[]",
    '{"Records": [{"eventSource": "aws:s3"}]}',
    '{"schema": "cloudmig/study-request/999"}',
    '{"source": "aws.s3", "detail": {"bucket": {"name": "b"}, "object": {"key": 7}}}',
)


def test_poison_ends_among_the_dead_letters_and_holds_nobody_up(
    cloud: Cloud, tmp_path: Path
) -> None:
    queues = ("objects", "studies", "restores")
    cloud.sandboxes = dict.fromkeys(cloud.sources, 1)
    with migrated(cloud, tmp_path, studies=2):
        for queue in queues:
            cloud.send(queue, POISON)
        cloud.settle()

    for queue in queues:
        assert sorted(cloud.take(f"{queue}-dead")) == sorted(POISON)
    for source in cloud.sources.values():
        assert source.failures == RECEIVES_MAX * len(POISON)
    assert_all_agree(cloud, studies=2)
