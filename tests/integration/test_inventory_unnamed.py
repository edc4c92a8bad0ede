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

from cloudmig.catalog.unnamed import RELEASED_RULE
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


def cloudmig(world: World, *words: str) -> tuple[int, str]:
    """Run a command as a process; return its exit code and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "cloudmig", "--config", str(world.config), *words,
         "--log-level", "debug"],
        capture_output=True, text=True, timeout=60, check=False, cwd=world.folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "200"},
    )  # fmt: skip
    assert "CANARY" not in done.stdout + done.stderr
    return done.returncode, done.stdout


def answered(world: World, *words: str) -> tuple[int, Any]:
    code, said = cloudmig(world, *words, "--json")
    return code, json.loads(said)


async def test_it_waits_for_a_person_and_then_stays_by_name(tmp_path: Path, url: str) -> None:
    world = world_of(tmp_path, url, [EMPTY, PATH, PATH, *NAMED])
    with world.serving():
        result = await world.inventory()
        await world.plan()
        await world.run()
    await world.verify()

    code, closing = answered(world, "close")
    assert code == 1, "done, but something waits for a person"
    assert (closing["studies"]["inventory"], closing["studies"]["quarantined"]) == (4, 2)
    assert closing["quarantine"] == {"unusable_uid": 2}
    assert (result.studies, result.unnamed) == (4, 2)
    _, listed = answered(world, "quarantine", "list")
    assert [each["reason"] for each in listed["items"]] == ["unusable_uid", "unusable_uid"]
    names = [each["study"] for each in listed["items"]]
    assert all(name.startswith("un-") for name in names)
    _, status = answered(world, "status")
    assert status["sources"]["main"]["studies"] == 4
    assert status["sources"]["main"]["transfers"]["quarantined"] == 2
    assert status["quarantine"] == {"unusable_uid": 2}

    for name in names:
        assert len(answered(world, "quarantine", "show", name)[1]["items"]) == 1
        assert answered(world, "quarantine", "release", name, "--note", "seen")[0] == 0

    code, closing = answered(world, "close")
    assert code == 0
    assert closing["studies"]["holds"]
    assert closing["studies"]["excluded"] == {RELEASED_RULE: 2}
    assert answered(world, "quarantine", "list")[1] == {"items": []}


async def test_a_person_is_told_where_to_look_and_not_whose_it_is(tmp_path: Path) -> None:
    world = World(tmp_path, [EMPTY, NAMED[0]])
    with world.serving():
        await world.inventory()
    [name] = [each["study"] for each in answered(world, "quarantine", "list")[1]["items"]]

    _, shown = cloudmig(world, "quarantine", "show", name)
    assert "unusable_uid" in shown
    assert f"cloudmig status --resolve {name}" in shown
    assert "stays in the PACS" in cloudmig(world, "quarantine", "release", name)[1]
    code, found = answered(world, "status", "--resolve", name)
    assert code == 0
    assert found == {
        "pseudonym": name, "study_instance_uid": None, "source": "main",
        "study_date": "2019-07-08", "study_time": EMPTY.study_time,
        "modalities": list(EMPTY.modalities),
        "instances_claimed": sum(series.instances for series in EMPTY.series),
    }  # fmt: skip
    assert "study_date: 2019-07-08" in cloudmig(world, "status", "--resolve", name)[1]
    assert answered(world, "quarantine", "release", name)[0] == 2, "it is released already"
    assert answered(world, "status", "--resolve", "un-000000000000")[0] == 2
    cloudmig(world, "close")
    [report] = (tmp_path / "state" / "reports").iterdir()
    assert "CANARY" not in report.read_text()


@pytest.mark.parametrize(
    "script",
    [Script(study_limit=7), Script(answers_twice=True), Script(ignores_dates=True, study_limit=5),
     Script(study_limit=4, limit_is_refused=True), Script(optional_counts=False)],
    ids=lambda script: script.to_json(),
)  # fmt: skip
async def test_it_is_found_once_whatever_the_pacs_cuts(script: Script, tmp_path: Path) -> None:
    """It counts towards a silent limit, too: an answer of six and one unnamed may be cut at 7."""
    nameless = [unnamed(number, "", study_date=f"2020010{number}") for number in range(1, 4)]
    named = [a_study(number, study_date=f"202001{number}") for number in range(10, 18)]
    world = World(tmp_path, [*nameless, *named], script)
    with world.serving():
        first = await world.inventory()
        again = await world.inventory()

    assert (first.studies, first.unnamed) == (again.studies, again.unnamed) == (11, 3)
    with world.catalog() as catalog:
        assert len(catalog.unnamed_studies()) == 3
        assert len(catalog.studies()) == 8


async def test_an_interrupted_inventory_remembers_it(tmp_path: Path) -> None:
    world = World(tmp_path, [EMPTY, PATH, *NAMED])
    with world.serving():
        with pytest.raises(InterruptedError):
            await world.inventory(questions_max=1)
        result = await world.inventory()

    assert (result.studies, result.unnamed) == (4, 2)


async def test_the_doctor_does_not_ask_for_it(tmp_path: Path) -> None:
    world = World(tmp_path, [EMPTY, NAMED[0]])
    with world.serving():
        _, findings = answered(world, "doctor")

    assert [each["verdict"] for each in findings["findings"] if each["check"] == "c_find"] == ["ok"]
