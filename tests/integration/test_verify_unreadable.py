"""An object that can never be read back is named; every other copy gets its verdict."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from cloudmig.destinations.breaker import BreakerDestination, BreakerPolicy
from cloudmig.destinations.wrapping import ObjectKeeper
from cloudmig.errors import DestinationUnavailable
from tests.integration.migration_world import World, a_study

STUDIES = [a_study(number, series=(6, 6)) for number in range(1, 7)]
FIRST = STUDIES[0]


@pytest.fixture(autouse=True)
def quick_breakers(monkeypatch: pytest.MonkeyPatch) -> None:
    def quick(inner: ObjectKeeper, policy: BreakerPolicy | None) -> BreakerDestination:
        assert policy is None
        return BreakerDestination(inner, BreakerPolicy(pause_s=0.3))

    monkeypatch.setattr("cloudmig.destinations.opening.BreakerDestination", quick)


def spoil(path: Path) -> None:
    """Let nobody open a file, whoever asks: a link that leads to itself."""
    path.unlink()
    path.symlink_to(path.name)


async def said(*arguments: str) -> tuple[int | None, dict[str, Any]]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cloudmig", *arguments, stdout=asyncio.subprocess.PIPE
    )
    told, _ = await child.communicate()
    return child.returncode, json.loads(told)


@pytest.mark.parametrize("spoiled", [1, 12], ids=["one object", "a whole study"])
async def test_what_cannot_be_read_keeps_no_other_copy_from_its_verdict(
    spoiled: int, tmp_path: Path
) -> None:
    home = {"store": {"url": f"file://{tmp_path / 'store'}", "attempts_max": 2}}
    world = World(tmp_path, STUDIES, destinations=home)
    with world.serving():
        await world.migrate()
        names = {each.sop_instance_uid: each for each in FIRST.instances()[:spoiled]}
        paths = [path for path in (tmp_path / "store").rglob("*.dcm") if path.stem in names]
        assert len(paths) == spoiled
        for path in paths:
            spoil(path)

        summary = await world.verify()

        assert {each.sop_instance_uid for each in summary.findings} == names.keys()
        assert {each.finding for each in summary.findings} == {"unreadable"}
        assert (summary.unreadable, summary.failed) == (1, 0)
        assert summary.agreed == len(STUDIES) - 1
        closing = await world.close()
        assert [each.study.study_instance_uid for each in closing.unexplained] == [
            FIRST.study_instance_uid
        ]

        code, document = await said("verify", "--json", "--config", str(world.config))
        assert (code, document["unreadable"], len(document["findings"])) == (1, 1, spoiled)
        assert "`cloudmig run` puts it there anew" in document["hint"]

        for path in paths:
            path.unlink()
        summary = await world.verify()
        assert {each.finding for each in summary.findings} == {"missing"}
        await world.run()
        await world.explain_everything()
    assert world.held() == world.truth()


async def test_a_store_that_is_down_is_no_unreadable_object(tmp_path: Path) -> None:
    home = {"store": {"url": f"file://{tmp_path / 'store'}", "attempts_max": 2}}
    world = World(tmp_path, STUDIES[:1], destinations=home)
    with world.serving():
        await world.migrate()
        for path in (tmp_path / "store").rglob("*.*"):
            if path.is_file():
                spoil(path)

        with pytest.raises(DestinationUnavailable):
            await world.verify()
