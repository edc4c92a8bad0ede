"""The doctor of a folder names what would keep its inventory from working."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from cloudmig.agent.doctor import Verdict
from cloudmig.agent.doctor.catalog_access import check_catalog
from cloudmig.agent.doctor.folder import check_folder
from cloudmig.cli import main
from cloudmig.config import load
from tests.integration.folder_world import FolderWorld, write_studies
from tests.integration.migration_world import a_study

HEADER = "path,study_instance_uid,series_instance_uid,sop_instance_uid\n"


def found(world: FolderWorld) -> dict[str, Verdict]:
    return {each.check: each.verdict for each in check_folder(load(world.config), "main")}


def test_a_folder_with_a_listing_is_well(tmp_path: Path) -> None:
    world = FolderWorld(tmp_path, source={"listing": "listing.csv"})
    write_studies(world.export, [a_study(1)])
    (tmp_path / "listing.csv").write_text(HEADER)

    assert found(world) == dict.fromkeys(("folder", "listing", "index"), Verdict.OK)


@pytest.mark.parametrize("trouble", ["gone", "empty", "a file"])
def test_a_folder_that_is_not_there_is_a_problem(trouble: str, tmp_path: Path) -> None:
    world = FolderWorld(tmp_path)
    if trouble != "empty":
        world.export.rmdir()
    if trouble == "a file":
        world.export.touch()

    assert found(world)["folder"] is Verdict.PROBLEM


@pytest.mark.parametrize("text", [None, "", "a,b\n1,2\n"])
def test_a_listing_without_its_columns_is_a_problem(text: str | None, tmp_path: Path) -> None:
    world = FolderWorld(tmp_path, source={"listing": "listing.csv"})
    write_studies(world.export, [a_study(1)])
    if text is not None:
        (tmp_path / "listing.csv").write_text(text)

    assert found(world)["listing"] is Verdict.PROBLEM


async def test_a_catalog_whose_making_was_interrupted_is_none(tmp_path: Path) -> None:
    world = FolderWorld(tmp_path)
    await world.plan()
    path = tmp_path / "state" / "catalog.db"
    with contextlib.closing(sqlite3.connect(path)) as catalog, catalog:
        catalog.execute("DELETE FROM alembic_version")

    assert [each.verdict for each in check_catalog(load(world.config))] == [Verdict.OK]


async def test_a_catalog_that_no_command_could_open_is_a_problem(tmp_path: Path) -> None:
    world = FolderWorld(tmp_path)
    await world.plan()
    path = tmp_path / "state" / "catalog.db"
    whole = path.read_bytes()

    with contextlib.closing(sqlite3.connect(path)) as catalog:
        catalog.execute("UPDATE alembic_version SET version_num = '9999'")
        catalog.commit()
    [newer] = check_catalog(load(world.config))
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    [damaged] = check_catalog(load(world.config))

    assert newer.verdict is damaged.verdict is Verdict.PROBLEM
    assert newer.message == f"{path} was made by a newer cloudmig"
    assert damaged.message == f"{path} is damaged"


@pytest.mark.parametrize("trouble", ["not mounted", "gone"])
async def test_a_home_that_held_copies_and_is_empty_is_a_problem(
    trouble: str, tmp_path: Path
) -> None:
    world = FolderWorld(tmp_path)
    write_studies(world.export, [a_study(1)])
    config = load(world.config)
    assert all(each.verdict is Verdict.OK for each in check_catalog(config)), "nothing was stored"
    await world.migrate()
    assert all(each.verdict is Verdict.OK for each in check_catalog(config))

    shutil.rmtree(world.store)
    if trouble == "not mounted":
        world.store.mkdir()

    [told] = [each for each in check_catalog(config) if each.verdict is Verdict.PROBLEM]
    assert told.message == "the folder of destination store is empty, and copies were there"
    assert "Mount its disk" in told.hint


def test_the_commands_speak_of_a_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What a person and a program are told, from the inventory to the closing statement."""
    world = FolderWorld(tmp_path)
    [first, *_] = write_studies(world.export, [a_study(1)])
    (world.export / "torn.dcm").write_bytes(first.read_bytes()[:140])

    def told(*words: str) -> str:
        with pytest.raises(SystemExit):
            main.run(["--config", str(world.config), *words])
        return capfd.readouterr().out

    assert "files on disk: 4 = 3 instance + 1 unreadable" in told("inventory")
    document = json.loads(told("inventory", "--json"))["inventories"][0]
    assert document["files"]["files"] == {
        "holds": True, "total": 4, "kinds": {"instance": 3, "unreadable": 1}, "waiting": 1,
    }  # fmt: skip
    assert "1 kind of broken file" in told("quarantine", "list")
    assert "torn.dcm" in told("files")
    assert "torn.dcm" not in told("files", "--kind", "instance")
    told("files", "--csv", str(tmp_path / "files.csv"))
    assert "torn.dcm" in (tmp_path / "files.csv").read_text()
    name = json.loads(told("quarantine", "list", "--json"))["items"][0]["study"]
    assert name.startswith("fi-")
    assert "cloudmig files --source main --kind unreadable" in told("quarantine", "show", name)
    assert "kind: unreadable" in told("status", "--resolve", name)
    assert "settled" in told("quarantine", "release", name, "--note", "known")
    assert "Nothing is in quarantine" in told("quarantine", "list")


@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1"])
def test_files_are_named_on_a_terminal_that_lacks_their_letters(
    encoding: str, tmp_path: Path
) -> None:
    world = FolderWorld(tmp_path)
    (world.export / "\u5c71\u7530.txt").write_text("no image")
    command = [sys.executable, "-m", "cloudmig", "--config", str(world.config)]

    def told(*words: str) -> str:
        done = subprocess.run(
            [*command, *words],
            capture_output=True,
            env={**os.environ, "PYTHONIOENCODING": encoding},
            check=True,
        )
        return done.stdout.decode(encoding)

    told("inventory")
    assert told("files") == "main  not_dicom  \\u5c71\\u7530.txt\n"
    assert json.loads(told("files", "--json"))["path"] == "\u5c71\u7530.txt"


def test_a_worker_starts_without_the_heavy_packages() -> None:
    script = (
        "import sys; import cloudmig.sources.directory.header_worker;"
        "print([name for name in ('pydantic', 'sqlalchemy', 'boto3', 'pydicom', 'asyncio')"
        " if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"
