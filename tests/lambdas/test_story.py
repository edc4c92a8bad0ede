"""Objects that the agent stored, events that the store sent, deployed zips: all wrong is named.

`cloudmig run` migrates out of a scripted PACS into a bucket (moto); its events go through
EventBridge and SQS (moto) into the functions, run from their zips under AWS's emulator; their
verdicts go through SQS to `cloudmig verdicts`, and what is wrong is repaired by `cloudmig run`.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cloudmig.demo.children import cloudmig
from tests.integration.migration_world import World, a_study
from tests.lambdas.cloud import PREFIX, Cloud, findings_of
from tests.lambdas.tampering import Tampering, remove, tamper_with

#: 500 objects for the acceptance, a fifth of them everywhere else.
STUDIES = 50 if os.environ.get("CLOUDMIG_ACCEPTANCE") else 10
SERIES = (6, 4)
OBJECTS = STUDIES * sum(SERIES)


def world_of(folder: Path, cloud: Cloud, studies: int = STUDIES) -> World:
    return World(
        folder,
        [a_study(number, series=SERIES) for number in range(1, studies + 1)],
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
def migrated(cloud: Cloud, folder: Path, studies: int = STUDIES) -> Iterator[World]:
    """A world whose studies were migrated by the commands; no event was worked at."""
    world = world_of(folder, cloud, studies)
    with cloud.functions(), world.serving():
        for command in ("inventory", "plan", "run"):
            cloudmig(world.config, command, exit_codes=(0,))
        yield world


def image_keys(cloud: Cloud) -> list[str]:
    found = [each.removeprefix(PREFIX) for each in cloud.keys() if each.endswith(".dcm")]
    return sorted(found)


def what_is_kept(cloud: Cloud) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the table without the times of looks."""
    return {
        key: {name: value for name, value in item.items() if name != "at"}
        for key, item in cloud.items().items()
    }


@pytest.mark.timeout(600)
def test_twenty_of_five_hundred_are_found_named_and_repaired(cloud: Cloud, tmp_path: Path) -> None:
    with migrated(cloud, tmp_path) as world:
        cloud.settle()
        keys = image_keys(cloud)
        assert len(keys) == OBJECTS
        told = cloud.study_verdicts()
        assert len(told) == STUDIES
        assert not findings_of(told.values())
        assert all(each.agreed for each in told.values())
        cloudmig(world.config, "verdicts", exit_codes=(0,))
        assert not cloud.waiting()

        done = tamper_with(cloud, keys)
        cloud.settle()
        told = cloud.study_verdicts()
        assert findings_of(told.values()) == {each.key: each.finding for each in done}
        assert len(done) == 20

        cloudmig(world.config, "verdicts", exit_codes=(1,))
        cloudmig(world.config, "run")
        cloud.settle()
        told = cloud.study_verdicts()
        strangers = {each.key: each.finding for each in done if each.finding == "stranger"}
        assert findings_of(told.values()) == strangers
        assert_ledger_and_quarantine(world, done)

        for key in strangers:
            remove(cloud, key)
        cloud.settle()
        assert all(each.agreed for each in cloud.study_verdicts().values())
        cloudmig(world.config, "verdicts", exit_codes=(0, 1))
        assert not cloud.take("objects-dead") + cloud.take("studies-dead")


def assert_ledger_and_quarantine(world: World, done: list[Tampering]) -> None:
    raise AssertionError(world.ledger("copy_failed")[:3])
