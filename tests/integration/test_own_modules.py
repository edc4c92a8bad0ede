"""Our processes run our modules, whatever lies in the folder where we were called."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.integration.folder_world import FolderWorld, write_studies
from tests.integration.migration_world import a_study

#: As the `cloudmig` that an installation makes: the current folder is not looked into.
CLOUDMIG = "from cloudmig.cli.main import run; run()"


def test_a_module_in_the_folder_that_is_read_is_not_run(tmp_path: Path) -> None:
    world = FolderWorld(tmp_path)
    write_studies(world.export, [a_study(1, series=(2,))])
    trap = world.export / "json.py"
    trap.write_text("import pathlib\npathlib.Path('trapped').touch()\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    for command in ("inventory", "plan", "run"):
        ended = subprocess.run(
            [sys.executable, "-P", "-c", CLOUDMIG, "--config", str(world.config), command],
            cwd=world.export, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr

    assert not (world.export / "trapped").exists()
    assert world.kinds() == {"instance": 2, "not_dicom": 1}
