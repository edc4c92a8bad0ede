"""How many second contents are compared with the first at once."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from cloudmig.demo.oddities import conflicting
from cloudmig.dicom.compare import Comparison, compare_files
from tests.integration.migration_world import World, a_study

STUDIES = tuple(
    functools.reduce(conflicting, range(4), a_study(number, series=(4,))) for number in range(1, 5)
)


async def test_two_are_compared_at_once_however_many_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes a child process: sixteen of them would leave a run no room."""
    at_once: list[int] = [0]
    running = 0

    async def compare(first: Path, second: Path) -> Comparison:
        nonlocal running
        running += 1
        at_once.append(running)
        try:
            return await compare_files(first, second)
        finally:
            running -= 1

    monkeypatch.setattr("cloudmig.pipeline.comparing.compare_files", compare)
    world = World(tmp_path, STUDIES)
    with world.serving():
        await world.migrate()

    assert len(at_once) > len(STUDIES) * 4, "else nothing is shown here"
    assert max(at_once) <= 2
    assert list(world.quarantined().values()) == [{"conflict"}] * len(STUDIES)
