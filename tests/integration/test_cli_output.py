"""Output that nobody takes, or takes as it is: a full disk, a reader that went away, Latin-1."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cloudmig.cli.invocation import ExitCode
from tests.integration.folder_world import FolderWorld

ROOT = str(Path(__file__).parents[2])
WORDS = ["status", "status --json", "plan", "plan --json", "run", "files", "files --json"]


def command(words: str, folder: Path, out: int, **env: str) -> tuple[int, str]:
    """Run a command over a folder with its output going there; return exit code and stderr."""
    ended = subprocess.run(
        [sys.executable, "-m", "cloudmig", "--config", "cloudmig.toml", *words.split()],
        cwd=folder, stdout=out, stderr=subprocess.PIPE, text=True, check=False,
        # Buffered, as nearly everywhere: what is left in the buffer at the end fails once more.
        env={**os.environ, "PYTHONPATH": ROOT, "PYTHONUNBUFFERED": "", **env},
    )  # fmt: skip
    return ended.returncode, ended.stderr


def name_anew(folder: Path) -> None:
    """Give source and destination names outside of ASCII; nothing has that of the source."""
    config = folder / "cloudmig.toml"
    text = config.read_text(encoding="utf-8")
    for name, anew in (("export", "nö"), ("store", "öß")):
        assert str(folder / name) in text
        text = text.replace(str(folder / name), str(folder / anew))
    config.write_text(text, encoding="utf-8")
    (folder / "öß").mkdir()


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


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_a_terminal_without_our_signs_is_told_the_same(encoding: str, folder: Path) -> None:
    name_anew(folder)
    out = folder / "told"

    with out.open("wb") as file:
        code, said = command("doctor", folder, file.fileno(), PYTHONIOENCODING=encoding)

    assert (code, said) == (ExitCode.CONFIGURATION, "")
    told = out.read_text(encoding=encoding)
    hint = "      \N{RIGHTWARDS ARROW} " if encoding == "utf-8" else "      -> "
    assert f"\n{hint}" in told
    assert ("\\xf6\\xdf" if encoding == "ascii" else "öß") in told


@pytest.mark.parametrize("words", ["doctor --json", "status --json", "run", "nothing --json"])
def test_programs_are_told_json_in_any_encoding(words: str, folder: Path) -> None:
    name_anew(folder)
    out = folder / "told"

    with out.open("wb") as file:
        command(words, folder, file.fileno(), PYTHONIOENCODING="ascii")

    for document in out.read_text("ascii").splitlines() if words == "run" else [out.read_text()]:
        json.loads(document)


@pytest.mark.parametrize("words", [*WORDS, "--help", "doctor"])
def test_closed_output_is_no_bug(words: str, folder: Path) -> None:
    """A supervisor may close what it does not read; the next file would get its number."""
    ended = subprocess.run(
        ["/bin/sh", "-c", f'"$0" -m cloudmig {words} <&- >&-', sys.executable],
        cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": ROOT},
    )  # fmt: skip

    assert (ended.returncode, ended.stderr) == (ExitCode.DONE, "")


def test_the_version_is_told(folder: Path) -> None:
    out = folder / "told"
    with out.open("wb") as file:
        assert command("--version", folder, file.fileno()) == (ExitCode.DONE, "")

    project = tomllib.loads(Path(ROOT, "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert out.read_text() == f"cloudmig {project['version']}\n"


def test_the_version_is_told_where_no_package_is_installed(folder: Path) -> None:
    """Beside the PACS the program is a folder of files (infra/edge)."""
    nothing_is_installed = (
        "import importlib.metadata as metadata, sys;"
        " metadata.MetadataPathFinder.find_distributions = lambda *_, **__: iter(());"
        " from cloudmig.cli.main import run; run(['--version'])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", nothing_is_installed],
        cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": ROOT},
    )  # fmt: skip

    assert (ended.returncode, ended.stderr) == (ExitCode.DONE, "")
    assert ended.stdout.startswith("cloudmig ")
