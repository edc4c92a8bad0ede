"""What a DICOMDIR names is expected, and held against what lies on the medium."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from pydicom.fileset import FileSet

from cloudmig.model.files import Account
from tests.integration.folder_world import FolderWorld, write_studies
from tests.integration.migration_world import a_study

STUDIES = (a_study(1, series=(3, 2)), a_study(2, series=(2,), modality="MR"))
COUNT = 7


def a_medium(folder: Path, **settings: object) -> FolderWorld:
    """Return a world whose folder is a file-set with a DICOMDIR, as a CD has it."""
    world = FolderWorld(folder, source=settings)
    written = write_studies(folder / "loose", STUDIES)
    media = FileSet()
    for path in written:
        media.add(path)
    media.write(world.export)
    media._stage["t"].cleanup()  # Else it warns that nobody did.
    return world


def instances_of(world: FolderWorld) -> list[Path]:
    return sorted(path for path in world.export.rglob("*") if path.is_file()
                  and path.name != "DICOMDIR")  # fmt: skip


async def test_a_medium_is_migrated_and_its_records_agree(tmp_path: Path) -> None:
    world = a_medium(tmp_path)

    closing = await world.migrate()

    [files, records] = closing.files["main"]
    assert files.kinds == {"instance": COUNT, "dicomdir": 1}
    assert (records.account, records.kinds) == (Account.DICOMDIR, {"agrees": COUNT})
    assert len(world.stored()) == COUNT
    assert not closing.quarantine


async def test_missing_files_are_expected_and_orphans_are_stored(tmp_path: Path) -> None:
    world = a_medium(tmp_path)
    lost = instances_of(world)[0]
    lost.unlink()
    (world.export / "extra.dcm").write_bytes(a_study(3).instances()[0].part10())

    closing = await world.migrate()

    assert {entry.path for entry in world.named("missing")} == {str(lost.relative_to(world.export))}
    assert world.paths("not_in_dicomdir") == {"extra.dcm"}
    assert world.quarantined() == {"missing_instances": 1}
    assert len(world.stored()) == COUNT
    assert closing.statement.instances.inventory == COUNT + 1


async def test_only_what_a_dicomdir_names_is_read_where_that_is_wanted(tmp_path: Path) -> None:
    world = a_medium(tmp_path, dicomdir="only")
    (world.export / "extra.dcm").write_bytes(a_study(3).instances()[0].part10())

    await world.migrate()
    assert world.kinds() == {"instance": COUNT, "dicomdir": 1, "not_named": 1}
    assert world.paths("not_named") == {"extra.dcm"}

    world.source = {}
    world.write_configuration()
    await world.migrate()
    assert world.kinds() == {"instance": COUNT + 1, "dicomdir": 1}


@pytest.mark.parametrize("lost", ["ReferencedSOPInstanceUIDInFile", "StudyInstanceUID"])
async def test_a_named_file_is_read_whatever_else_its_record_says(
    lost: str, tmp_path: Path
) -> None:
    """Old writers leave out the UIDs of records: the name of the file is named all the same."""
    world = a_medium(tmp_path, dicomdir="only")
    path = world.export / "DICOMDIR"
    dataset = pydicom.dcmread(path)
    for record in dataset.DirectoryRecordSequence:
        if lost in record:
            delattr(record, lost)
    dataset.save_as(path)

    closing = await world.migrate()

    assert world.kinds() == {"instance": COUNT, "dicomdir": 1}
    assert len(world.stored()) == COUNT
    [_, records] = closing.files["main"]
    assert records.kinds == {"bad": COUNT}


async def test_an_ignored_dicomdir_is_listed_and_not_believed(tmp_path: Path) -> None:
    world = a_medium(tmp_path, dicomdir="ignore")
    instances_of(world)[0].unlink()

    closing = await world.migrate()

    [files] = closing.files["main"]
    assert files.kinds == {"instance": COUNT - 1, "dicomdir": 1}


@pytest.mark.parametrize("spelling", ["lower case", "version", "backslashes"])
async def test_names_are_found_as_media_spell_them(spelling: str, tmp_path: Path) -> None:
    """ISO 9660 knows one case and versions; some writers put the separators in themselves."""
    world = a_medium(tmp_path)
    if spelling == "backslashes":
        change_names(world, lambda parts: ["\\".join(parts)])
    else:
        for path in sorted(world.export.rglob("*"), reverse=True):
            name = path.name.lower() if spelling == "lower case" else f"{path.name};1"
            if path.is_file() or spelling == "lower case":
                path.rename(path.with_name(name))

    await world.inventory()

    assert len(world.named("agrees")) == COUNT
    assert not world.named("missing", "not_in_dicomdir", "outside")


def change_names(world: FolderWorld, change: object) -> None:
    path = world.export / "DICOMDIR"
    dataset = pydicom.dcmread(path)
    with pydicom.config.disable_value_validation():
        for record in dataset.DirectoryRecordSequence:
            if "ReferencedFileID" in record:
                parts = record.ReferencedFileID
                parts = [parts] if isinstance(parts, str) else list(parts)
                record.ReferencedFileID = change(parts)  # type: ignore[operator]
        # Written as they stand: the offsets are wrong now, as those of edited DICOMDIRs are.
        dataset.save_as(path)


@pytest.mark.parametrize("name", ["..", "/etc/hostname", "../../x"])
async def test_a_name_that_leads_out_of_the_medium_is_refused(name: str, tmp_path: Path) -> None:
    world = a_medium(tmp_path)
    change_names(world, lambda parts: [name, *parts])

    await world.migrate()

    assert len(world.named("outside")) == COUNT
    assert world.quarantined() == {"broken_files": 1}
    assert len(world.stored()) == COUNT, "the files themselves are read all the same"


@pytest.mark.parametrize("file_id", ["", ["", ""]])
async def test_an_instance_of_which_only_the_uid_is_told_is_expected(
    file_id: object, tmp_path: Path
) -> None:
    """The UID stands beside the file's name (PS3.3 F.5): without a file it is missing."""
    world = a_medium(tmp_path)
    lost, _, nameless, *_ = change_images(world, {0: file_id, 1: file_id, 2: file_id}, cut=2)
    world.export.joinpath(*lost).unlink()
    world.export.joinpath(*nameless).unlink()

    closing = await world.migrate()

    [_, records] = closing.files["main"]
    assert records.kinds == {"agrees": COUNT - 3, "elsewhere": 1, "missing": 1, "bad": 1}
    assert world.quarantined() == {"missing_instances": 1, "broken_files": 1}
    assert closing.statement.instances.inventory == COUNT - 1
    assert closing.statement.instances.quarantined == 1


def change_images(world: FolderWorld, file_ids: dict[int, object], *, cut: int) -> list[list[str]]:
    """Write file IDs into image records, by their position; `cut` loses its instance's UID, too.

    Return the file IDs that stood there.
    """
    path = world.export / "DICOMDIR"
    dataset = pydicom.dcmread(path)
    images = [r for r in dataset.DirectoryRecordSequence if r.DirectoryRecordType == "IMAGE"]
    before = [list(record.ReferencedFileID) for record in images]
    for position, file_id in file_ids.items():
        images[position].ReferencedFileID = file_id
    del images[cut].ReferencedSOPInstanceUIDInFile
    dataset.save_as(path)
    return before


async def test_a_dicomdir_that_cannot_be_read_waits_and_stops_nothing(tmp_path: Path) -> None:
    world = a_medium(tmp_path)
    path = world.export / "DICOMDIR"
    path.write_bytes(path.read_bytes()[:900])

    closing = await world.migrate()

    assert closing.statement.instances.verified == COUNT
    assert world.quarantined() == {"broken_files": 1}


async def test_offsets_that_lead_nowhere_or_around_are_survived(tmp_path: Path) -> None:
    world = a_medium(tmp_path)
    path = world.export / "DICOMDIR"
    dataset = pydicom.dcmread(path)
    for record in dataset.DirectoryRecordSequence:
        record.OffsetOfTheNextDirectoryRecord = 400
        record.OffsetOfReferencedLowerLevelDirectoryEntity = 400
    dataset.save_as(path)

    await world.inventory()

    assert len(world.named("agrees")) == COUNT
