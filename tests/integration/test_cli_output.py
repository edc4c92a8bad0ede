"""Output that nobody takes: a full disk behind it, or a reader that went away."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cloudmig.cli.invocation import ExitCode
from tests.integration.folder_world import FolderWorld

WORDS = ["status", "status --json", "plan", "plan --json", "run", "files", "files --json"]


def command(words: str, folder: Path, out: int) -> tuple[int, str]:
    """Run a command over a folder with its output going there; return exit code and stderr."""
    ended = subprocess.run(
        [sys.executable, "-m", "cloudmig", "--config", "cloudmig.toml", *words.split()],
        cwd=folder, stdout=out, stderr=subprocess.PIPE, text=True, check=False,
        # Buffered, as nearly everywhere: what is left in the buffer at the end fails once more.
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUNBUFFERED": ""},
    )  # fmt: skip
    return ended.returncode, ended.stderr


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """A folder with one file that is no image, and its inventory."""
    world = FolderWorld(tmp_path)
    (world.export / "note.txt").write_text("no image", encoding="utf-8")
    await world.inventory()
    return tmp_path


@pytest.mark.parametrize("words", [*WORDS, "--help"])
def test_output_that_cannot_be_written_is_neither_a_bug_nor_a_quarantine(
    words: str, folder: Path
) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        code, said = command(words, folder, full.fileno())

    assert code == ExitCode.HALTED
    assert said.startswith("cloudmig: the output cannot be written: No space left"), said


def test_what_a_program_cannot_be_told_is_told_to_a_person(folder: Path) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        code, said = command("status --json --config none.toml", folder, full.fileno())

    assert code == ExitCode.CONFIGURATION
    assert said.startswith("cloudmig: there is no none.toml"), said


@pytest.mark.parametrize("words", WORDS)
def test_a_reader_that_went_away_stopped_the_command(words: str, folder: Path) -> None:
    """Not 0, for a run may have been in the middle; not 1, for nothing waits for a person."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert command(words, folder, writing) == (ExitCode.STOPPED, "")
    finally:
        os.close(writing)
