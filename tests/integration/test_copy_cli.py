"""`cloudmig copy` and `cloudmig status --study` as they are typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.integration.copy_world import CopyWorld, folders
from tests.integration.migration_world import a_study

STUDIES = tuple(a_study(number, series=(2,)) for number in range(1, 4))


def typed(config: Path, *arguments: str) -> tuple[int, list[Any], str]:
    """Run a command with --json; return its exit code, its documents and what it said besides."""
    done = subprocess.run(
        [sys.executable, "-m", "cloudmig", "--config", str(config), *arguments, "--json"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    text = done.stdout.strip()
    try:
        return done.returncode, [json.loads(text)], done.stderr
    except json.JSONDecodeError:
        return done.returncode, [json.loads(line) for line in text.splitlines()], done.stderr


async def test_it_is_counted_first_then_copied_then_shown(tmp_path: Path) -> None:
    world = CopyWorld(
        tmp_path, STUDIES, destinations=folders(tmp_path, "archive", "dr"),
        rules=[{"name": "everything", "copy_to": ["archive"]}],
    )  # fmt: skip
    with world.serving():
        await world.migrate()
        await world.explain_everything()
    uid = STUDIES[0].study_instance_uid

    code, [forecast], _ = typed(world.config, "copy", "--to", "dr", "--all", "--dry-run")
    assert (code, forecast["studies"], forecast["instances"]) == (0, 3, 6)
    assert set(world.states().values()) == {"closed"}, "nothing happens in a dry run"

    code, lines, said = typed(world.config, "copy", "--to", "dr", "--study", uid)
    assert (code, lines[-1]["event"], lines[-1]["studies_copied"]) == (0, "copy.finished", 1), said
    assert "study.copied" in {line["event"] for line in lines}
    assert uid not in json.dumps(lines)

    code, lines, _ = typed(world.config, "copy", "--to", "archive", "--from", "dr", "--all")
    assert (code, lines[-1]["studies_copied"]) == (0, 0)

    code, [shown], _ = typed(world.config, "status", "--study", uid)
    states = {each["destination"]: each["state"] for each in shown["copies"]}
    assert (code, states) == (0, {"archive": "verified", "dr": "stored"})
    assert uid not in json.dumps(shown)
    code, [counts], _ = typed(world.config, "status")
    assert counts["destinations"]["dr"]["stored"] == 1
    assert counts["copies"]["archive"] == {
        "instances": 6, "bytes": counts["copies"]["archive"]["bytes"],
        "verified_by": {"READ_BACK": 3},
    }  # fmt: skip


async def test_what_cannot_be_copied_is_told_with_its_exit_code(tmp_path: Path) -> None:
    world = CopyWorld(
        tmp_path, STUDIES[:1], destinations=folders(tmp_path, "archive", "dr"),
        rules=[{"name": "everything", "copy_to": ["archive"]}],
    )  # fmt: skip
    with world.serving():
        await world.migrate()
    uid = STUDIES[0].study_instance_uid

    for arguments in (
        ("--to", "nowhere"), ("--to", "dr", "--from", "nowhere"), ("--to", "dr", "--from", "dr"),
        ("--to", "dr", "--source", "nowhere"), ("--to", "dr", "--study", "1.2.3"),
    ):  # fmt: skip
        code, [*_, problem], _ = typed(world.config, "copy", *arguments)
        assert (code, problem["error"]["kind"]) == (2, "ConfigError"), arguments
    code, lines, _ = typed(world.config, "copy", "--to", "dr", "--study", uid)
    assert (code, lines[-1]["skipped"]) == (1, {"not verified": 1})
