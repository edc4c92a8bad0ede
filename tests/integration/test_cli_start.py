"""What opens the catalog or an index alone answers at once: it imports no protocol, no store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.integration.folder_world import FolderWorld, write_studies
from tests.integration.migration_world import a_study

COMMANDS = [
    ["status"], ["status", "--study", a_study(1).study_instance_uid], ["plan"], ["files"],
    ["files", "--kind", "instance"], ["quarantine", "list"], ["close"], ["sla", "report"],
]  # fmt: skip
SCRIPT = f"""
import sys
from cloudmig.cli.main import run
for command in {COMMANDS}:
    code = None
    try:
        run(["--config", sys.argv[1], *command])
    except SystemExit as end:
        code = end.code
    found = sorted({{"aiohttp", "boto3", "obstore", "pydicom", "pynetdicom"}} & set(sys.modules))
    print(command[0], code, *found, file=sys.stderr)
"""


async def test_commands_that_open_the_catalog_alone_import_no_protocol(tmp_path: Path) -> None:
    world = FolderWorld(tmp_path)
    write_studies(world.export, [a_study(1)])
    await world.inventory()
    await world.plan()

    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(world.config)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip

    assert done.stderr.splitlines() == [
        "status 0", "status 0", "plan 0", "files 0", "files 0", "quarantine 0", "close 3", "sla 0",
    ]  # fmt: skip
