"""`cloudmig copy` killed in the middle, and two agents that copy at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cloudmig.catalog import Catalog
from tests.crash.points import ARMED, LOG
from tests.integration.copy_world import CopyWorld, folders
from tests.integration.migration_world import a_study, held_in_folder

if TYPE_CHECKING:
    from tests.catalog_fixtures import PostgresqlCluster

pytest_plugins = ["tests.catalog_fixtures"]

_CHECKOUT = Path(__file__).parents[2]
STUDIES = tuple(a_study(number, series=(3, 2)) for number in range(1, 9))
ARCHIVE_ALONE = [{"name": "everything", "copy_to": ["archive"]}]


def copying(config: Path, **armed: str) -> subprocess.Popen[str]:
    command = [
        sys.executable, "-m", "tests.crash.entry", "--config", str(config), "copy", "--to", "dr",
        "--all", "--json",
    ]  # fmt: skip
    return subprocess.Popen(
        command, cwd=_CHECKOUT, env={**os.environ, **armed}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def told(process: subprocess.Popen[str], exit_code: int = 0) -> list[dict[str, Any]]:
    out, _ = process.communicate(timeout=100)
    assert process.returncode == exit_code, out[-3000:]
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


@pytest.mark.parametrize(
    "point",
    [
        "after store everywhere:7", "before commit receipts:2", "before write a manifest:3",
        "after write a manifest:2", "after mark a copy stored:2", "before finish a study:3",
    ],
)  # fmt: skip
async def test_killed_at_any_point_the_next_copy_goes_on(point: str, tmp_path: Path) -> None:
    world = CopyWorld(
        tmp_path, STUDIES, destinations=folders(tmp_path, "archive", "dr"), rules=ARCHIVE_ALONE
    )
    with world.serving():
        await world.migrate()
        await world.explain_everything()
    before = world.asked()
    log = tmp_path / "hit.log"

    told(copying(world.config, **{ARMED: point, LOG: str(log)}), exit_code=-9)
    assert log.exists(), "it died where it should"
    world.check_ledger()
    lines = told(copying(world.config))

    assert lines[-1]["event"] == "copy.finished"
    assert world.asked() == before
    assert world.held("dr") == world.truth()
    assert len(world.manifests("dr")) == len(STUDIES), "evidence is adopted, not written again"
    assert world.spooled() == []
    await world.explain_everything()
    world.check_ledger()


async def test_two_agents_copy_no_study_twice(
    postgresql: PostgresqlCluster, tmp_path: Path
) -> None:
    url = postgresql.fresh_url()
    destinations = folders(tmp_path, "archive", "dr")
    world = CopyWorld(
        tmp_path, STUDIES, destinations=destinations, rules=ARCHIVE_ALONE,
        settings={"agent": {"catalog": url, "transfers": 2}},
    )  # fmt: skip
    with world.serving():
        await world.migrate()
        await world.explain_everything()
    (tmp_path / "two").mkdir()
    other = tmp_path / "two" / "cloudmig.toml"
    other.write_text(world.config.read_text().replace('name = "world"', 'name = "two"'))

    agents = [copying(config) for config in (world.config, other)]
    endings = [told(agent)[-1] for agent in agents]

    assert sum(each["studies_copied"] for each in endings) == len(STUDIES)
    with Catalog.open(url) as catalog:
        events = catalog.ledger(limit=100_000)
    made = Counter(
        event.study_instance_uid
        for event in events
        if event.kind == "copy_stored" and event.destination == "dr"
    )
    assert made == {study.study_instance_uid: 1 for study in STUDIES}
    assert held_in_folder(tmp_path / "dr") == world.truth()
    world.check_ledger()
    await world.explain_everything()
