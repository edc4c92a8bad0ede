"""Files that are not what they say: cut off behind their header, or with another group 0002."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from cloudmig.dicom.part10 import file_prefix, read_prefix
from cloudmig.model.files import FileGroup
from tests.integration.folder_world import FolderWorld, path_of, write_studies
from tests.integration.migration_world import a_study

STUDY = a_study(1, series=(3, 2))
COUNT = 5
FIRST = STUDY.instances()[0]


def a_world(folder: Path) -> FolderWorld:
    world = FolderWorld(folder)
    write_studies(world.export, [STUDY])
    return world


def dataset_of(path: Path) -> bytes:
    body = path.read_bytes()
    return body[read_prefix(body)[0] :]


def object_of_first(world: FolderWorld) -> Path:
    [path] = [each for each in world.stored() if each.name == f"{FIRST.sop_instance_uid}.dcm"]
    return path


async def test_a_torn_image_is_stored_as_it_is_and_waits_for_a_person(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    path = world.export / path_of(FIRST)
    path.write_bytes(path.read_bytes()[:-10])

    closing = await world.migrate()

    assert world.kinds() == {"instance": COUNT - 1, "torn": 1}
    assert world.paths("torn") == {path_of(FIRST)}
    assert dataset_of(object_of_first(world)) == FIRST.data_set()[:-10]
    assert world.quarantined() == {"broken_files": 1}
    assert {item.study for item in closing.quarantine} == {FileGroup("main", "files", "torn")}
    assert closing.statement.instances.verified == COUNT


async def test_a_whole_file_goes_before_a_torn_one_of_the_same_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are stored, as any two contents are; which one is first is not left to their names.

    Nor to which one is read first: here the whole one waits for a torn one.
    """
    world = a_world(tmp_path)
    torn_is_read, preadv = threading.Event(), os.preadv

    def slow_with_the_whole_one(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if path == str(world.export / path_of(FIRST)):
            assert torn_is_read.wait(10)
        read = preadv(descriptor, buffers, offset)
        if "torn" in path:
            torn_is_read.set()
        return read

    monkeypatch.setattr(os, "preadv", slow_with_the_whole_one)
    (world.export / "0 torn.dcm").write_bytes(FIRST.part10()[:-10])
    (world.export / "0 torn again.dcm").write_bytes(FIRST.part10()[:-10])

    await world.migrate()

    assert world.kinds() == {"instance": COUNT, "torn": 2}
    assert dataset_of(object_of_first(world)) == FIRST.data_set()
    assert len(world.stored()) == COUNT + 1
    assert world.quarantined() == {"conflict": 1, "broken_files": 1}


async def test_a_torn_image_that_is_in_another_study_too_is_said(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    other = a_study(2, series=(1,))
    moved = FIRST.part10().replace(
        STUDY.study_instance_uid.encode(), other.study_instance_uid.encode()
    )
    (world.export / "misfiled.dcm").write_bytes(moved[:-10])

    await world.inventory()

    assert world.paths("shared") == {"misfiled.dcm", path_of(FIRST)}


async def test_a_group_0002_of_another_instance_is_named_and_not_believed(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    prefix = file_prefix("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", FIRST.transfer_syntax_uid)
    (world.export / path_of(FIRST)).write_bytes(prefix + FIRST.data_set())

    result = await world.inventory()
    await world.plan()
    await world.run()

    assert any("group 0002" in each and each.endswith(": 1") for each in result.disagreements)
    [entry] = world.named("meta_differs")
    assert (entry.path, entry.sop_instance_uid) == (path_of(FIRST), FIRST.sop_instance_uid)
    assert "MediaStorageSOPInstanceUID" in entry.detail.split()
    assert world.kinds() == {"instance": COUNT}
    assert dataset_of(object_of_first(world)) == FIRST.data_set()
    assert not world.quarantined()
