"""A study that the PACS lists without a usable Study Instance UID stands in the equation, too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloudmig.demo.pacs import Script
from cloudmig.demo.studies import Patient, Study
from tests.catalog_studies import UrlFactory
from tests.integration.migration_world import World, a_study

pytest_plugins = ["tests.catalog_fixtures"]

_CANARY = Patient("CANARY^NAME", "CANARYID1", "19010203", "O")


def unnamed(number: int, study_instance_uid: str, **changes: Any) -> Study:  # noqa: ANN401
    return replace(
        a_study(number), study_instance_uid=study_instance_uid, patient=_CANARY, **changes
    )


EMPTY = unnamed(1, "", study_date="20190708")
PATH = unnamed(2, "../../CANARY/x")
NAMED = [a_study(number) for number in (3, 4)]


@pytest.fixture
def url(fresh_url: UrlFactory) -> str:
    return fresh_url()


def world_of(folder: Path, url: str, studies: list[Study], script: Script | None = None) -> World:
    shared = {"agent": {"catalog": url}} if url.startswith("postgresql") else {}
    return World(folder, studies, script or Script(), settings=shared)


def cloudmig(world: World, *words: str) -> tuple[int, Any]:
    """Run a command as a process; return its exit code and its `--json`."""
    done = subprocess.run(
        [sys.executable, "-m", "cloudmig", "--config", str(world.config), *words, "--json",
         "--log-level", "debug"],
        capture_output=True, text=True, timeout=60, check=False, cwd=world.folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert "CANARY" not in done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout)


async def test_it_waits_for_a_person_and_then_stays_by_name(tmp_path: Path, url: str) -> None:
    world = world_of(tmp_path, url, [EMPTY, PATH, PATH, *NAMED])
    with world.serving():
        result = await world.inventory()
        await world.plan()
        await world.run()
    await world.verify()

    code, closing = cloudmig(world, "close")
    assert (code, closing["studies"]["inventory"]) == (1, 4)
    assert (result.studies, result.unnamed) == (4, 2)
    code, listed = cloudmig(world, "quarantine", "list")
    assert code == 0
    assert [each["reason"] for each in listed["items"]] == ["unusable_uid", "unusable_uid"]
    names = [each["study"] for each in listed["items"]]
    assert all(name.startswith("un-") for name in names)
    code, status = cloudmig(world, "status")
    assert status["sources"]["main"]["studies"] == 4
    assert status["sources"]["main"]["transfers"]["quarantined"] == 2
    assert status["quarantine"] == {"unusable_uid": 2}
    code, closing = cloudmig(world, "close")
    assert code == 1, "done, but not without a person"
    assert closing["quarantine"] == {"unusable_uid": 2}
    assert closing["studies"]["inventory"] == 4
    assert closing["studies"]["quarantined"] == 2

    for name in names:
        assert len(cloudmig(world, "quarantine", "show", name)[1]["items"]) == 1
        assert cloudmig(world, "quarantine", "release", name, "--note", "seen")[0] == 0

    code, closing = cloudmig(world, "close")
    assert code == 0
    assert closing["studies"]["holds"]
    assert sum(closing["studies"]["excluded"].values()) == 2
    assert cloudmig(world, "quarantine", "list")[1] == {"items": []}
