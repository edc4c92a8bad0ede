"""The doctor says why a PACS that was asked in small brought nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudmig.agent.doctor import Verdict, examine
from cloudmig.config import load
from cloudmig.demo.pacs import Script
from tests.integration.migration_world import World, a_study

STUDY = a_study()
EVERYTHING = frozenset(instance.sop_instance_uid for instance in STUDY.instances())


@pytest.mark.parametrize(
    ("script", "aet", "message", "hint"),
    [
        (Script(calls_us="OTHER"), "LEGACYPACS", "called us OTHER", "AE title CLOUDMIG,"),
        (Script(), "ANOTHER", "LEGACYPACS@127.0.0.1 called us", '"LEGACYPACS@127.0.0.1"'),
        (Script(missing=EVERYTHING), "LEGACYPACS", "called us, and sent nothing", "its log"),
    ],
    ids=["by a wrong name", "under another name", "without an instance"],
)
async def test_who_called_us_and_how_is_said(
    script: Script, aet: str, message: str, hint: str, tmp_path: Path
) -> None:
    """It was always the firewall."""
    world = World(tmp_path, [STUDY], script, settings={"sources.main": {"aet": aet}})

    with world.serving():
        found = await examine(load(world.config), wait_max_s=3)

    [finding] = [each for each in found if each.check == "move_back"]
    assert message in finding.message
    assert hint in finding.hint
    assert "firewall" not in finding.hint


@pytest.mark.parametrize(
    ("studies_max", "verdict", "message"),
    [
        (-1, Verdict.PROBLEM, "C-FIND fails: C-FIND ended with A700"),
        (0, Verdict.WARNING, "no study that has instances (C-FIND ended with A700)"),
    ],
    ids=["of any question", "of those that match something"],
)
async def test_a_pacs_that_refuses_questions_is_no_bug_of_ours(
    studies_max: int, verdict: Verdict, message: str, tmp_path: Path
) -> None:
    world = World(tmp_path, [STUDY], Script(study_limit=studies_max, limit_is_refused=True))

    with world.serving():
        found = await examine(load(world.config), wait_max_s=3)

    [finding] = [each for each in found if each.check == "c_find"]
    assert (finding.verdict, message in finding.message) == (verdict, True)
    assert not any(each.check == "check" for each in found)
