"""A command answers at once: it imports no protocol and no store that it does not speak to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.integration.folder_world import FolderWorld, write_studies
from tests.integration.migration_world import a_study

COMMANDS = [
    ["status"], ["status", "--study", a_study(1).study_instance_uid], ["plan"], ["files"],
    ["files", "--kind", "instance"], ["quarantine", "list"], ["close"], ["sla", "report"],
]  # fmt: skip
SCRIPT = """
import json, sys
from cloudmig.cli.main import run
for command in json.loads(sys.argv[2]):
    code = None
    try:
        run(["--config", sys.argv[1], *command])
    except SystemExit as end:
        code = end.code
    found = sorted({"aiohttp", "boto3", "obstore", "pydicom", "pynetdicom"} & set(sys.modules))
    print(command[0], code, *found, file=sys.stderr)
"""


async def test_commands_that_open_the_catalog_alone_import_no_protocol(tmp_path: Path) -> None:
    world = FolderWorld(tmp_path)
    write_studies(world.export, [a_study(1)])
    await world.inventory()
    await world.plan()

    assert told_by(world, COMMANDS) == [
        "status 0", "status 0", "plan 0", "files 0", "files 0", "quarantine 0", "close 3", "sla 0",
    ]  # fmt: skip


def test_a_move_between_folders_imports_no_protocol(tmp_path: Path) -> None:
    world = FolderWorld(tmp_path)
    write_studies(world.export, [a_study(1)])

    told = told_by(world, [["inventory"], ["plan"], ["run"]])

    assert told == ["inventory 0 obstore", "plan 0 obstore", "run 0 obstore"]
    assert list(world.store.rglob("*.dcm"))


def told_by(world: FolderWorld, commands: list[list[str]]) -> list[str]:
    """Run commands in one process; return how each ended, and which libraries were there then."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(world.config), json.dumps(commands)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    return done.stderr.splitlines()
