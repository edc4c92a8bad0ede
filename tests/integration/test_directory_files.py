"""What lies in a folder: every entry is one kind, the kinds add up, and nothing vanishes."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import struct
import sys
from pathlib import Path

import pytest

from cloudmig.bootstrap.directory_source import opened_index
from cloudmig.catalog import Catalog
from cloudmig.config import load
from cloudmig.demo.studies import Study
from cloudmig.dicom.part10 import file_prefix, read_prefix
from cloudmig.errors import ConfigError, SourceUnavailable
from cloudmig.model.files import FileGroup
from cloudmig.model.references import StudyRef
from cloudmig.sources.directory.survey import Survey
from cloudmig.sources.directory.walking import DEPTH_MAX
from tests.integration.folder_world import FolderWorld, path_of, write_studies
from tests.integration.migration_world import a_study

STUDIES = (a_study(1, series=(3, 2)), a_study(2, series=(2,), modality="MR"))
COUNT = 7
EXPLICIT = "1.2.840.10008.1.2.1"


def a_world(folder: Path, **settings: object) -> FolderWorld:
    world = FolderWorld(folder, source=settings)
    write_studies(world.export, STUDIES)
    return world


def first_file(world: FolderWorld, study: Study = STUDIES[0]) -> Path:
    return world.export / path_of(study.instances()[0])


def dataset_of(path: Path) -> bytes:
    body = path.read_bytes()
    return body[read_prefix(body)[0] :]


async def test_a_folder_is_migrated_and_every_equation_holds(tmp_path: Path) -> None:
    world = a_world(tmp_path)

    closing = await world.migrate()

    assert closing.statement.instances.verified == COUNT
    assert world.kinds() == {"instance": COUNT}
    assert len(world.stored()) == COUNT
    assert not closing.quarantine


async def test_what_is_no_instance_is_listed_by_kind_and_by_name(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    body = first_file(world).read_bytes()
    (world.export / "notes.txt").write_text("read me")
    (world.export / "empty.dcm").touch()
    (world.export / "torn.dcm").write_bytes(body[:150])
    (world.export / "torn_data.dcm").write_bytes(body[:400])
    (world.export / "bare.dcm").write_bytes(dataset_of(first_file(world)))
    (world.export / "again.dcm").write_bytes(body)
    os.mkfifo(world.export / "pipe")
    (world.export / "loop").symlink_to(world.export)
    (world.export / "out.dcm").symlink_to("/etc/hostname")
    locked = world.export / "locked.dcm"
    locked.write_bytes(body)
    locked.chmod(0)
    closed = world.export / "closed"
    closed.mkdir()
    (closed / "inside.dcm").write_bytes(body)
    closed.chmod(0)
    denied = {} if os.geteuid() == 0 else {"denied": 1, "folder": 1}
    also = 2 if os.geteuid() == 0 else 0
    try:
        closing = await world.migrate()
    finally:
        closed.chmod(0o700)

    assert world.kinds() == {
        "instance": COUNT, "not_dicom": 1, "empty": 1, "unreadable": 2, "no_part10_header": 1,
        "duplicate": 1 + also, "special": 1, "symlink": 2, **denied,
    }  # fmt: skip
    assert world.paths("unreadable", "no_part10_header") == {
        "torn.dcm", "torn_data.dcm", "bare.dcm",
    }  # fmt: skip
    assert world.paths("symlink", "special") == {"loop", "out.dcm", "pipe"}
    waiting = {item.study for item in closing.quarantine}
    assert FileGroup("main", "files", "unreadable") in waiting
    assert FileGroup("main", "files", "not_dicom") not in waiting
    assert closing.statement.instances.verified == COUNT


async def test_a_released_kind_stays_settled_until_other_files_are_of_it(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    (world.export / "torn.dcm").write_bytes(first_file(world).read_bytes()[:150])
    await world.inventory()
    group = FileGroup("main", "files", "unreadable")
    with Catalog.open(load(world.config).agent.catalog_url) as catalog:
        [item] = catalog.quarantine_items()
        assert item.study == group
        catalog.release_files(group, at=item.at, note="known")

    await world.inventory()
    assert not world.quarantined()
    (world.export / "torn2.dcm").write_bytes(first_file(world).read_bytes()[:151])
    await world.inventory()

    assert world.quarantined() == {"broken_files": 1}


async def test_names_that_are_no_utf_8_and_deep_folders_are_read(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    body = a_study(3).instances()[0].part10()
    odd = os.fsencode(world.export) + b"/caf\xe9 \n\x1b[31m.dcm"
    with open(odd, "wb") as file:  # noqa: PTH123 - no text
        file.write(body)
    deep = world.export
    for _ in range(DEPTH_MAX - 2):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (deep / "in.dcm").write_bytes(a_study(4).instances()[0].part10())
    (deep / "d" / "d").mkdir(parents=True)

    await world.migrate()

    assert world.kinds() == {"instance": COUNT + 2, "folder": 1}
    assert len(world.stored()) == COUNT + 2
    assert r"caf\xe9 \n\x1b[31m.dcm" in world.paths("instance")


def poison(kind: str) -> bytes:
    """Return a file that would cost a trusting reader its memory, its time or its stack."""
    head = file_prefix("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", EXPLICIT)
    match kind:
        case "endless length":
            return head + b"\x08\0\x05\0CS\xff\xff" + b"\x08\0\x16\0UI\xff\xff" + b"1.2.3"
        case "deep sequences":
            item = struct.pack(
                "<HH2sHIHHI", 8, 0x1140, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF
            )
            return head + item * 60_000
        case "a study date of 2 GB":
            return head + b"\x08\0\x20\0UT\0\0" + struct.pack("<I", 0x7FFFFFF0) + b"2020" * 64
        case "group 0002 of 2 GB":
            return (
                bytes(128) + b"DICM\x02\0\x01\0OB\0\0" + struct.pack("<I", 0x7FFFFFF0) + bytes(99)
            )
        case "a million tiny elements":
            return head + b"\x08\0\x10\0CS\0\0" * 1_000_000
        case _:
            # Each sequence is short of the limit of elements; together they take for ever.
            inner = struct.pack("<HH2sH", 0x0008, 0x0001, b"CS", 0) * 150_000
            one = struct.pack(
                "<HH2sHIHHI", 8, 0x1140, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF
            )
            end = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
            return head + (one + inner + end) * 60


@pytest.mark.parametrize(
    "kind",
    ["endless length", "deep sequences", "a study date of 2 GB", "group 0002 of 2 GB",
     "a million tiny elements", "for ever"],
)  # fmt: skip
async def test_a_poisoned_header_is_listed_and_stops_nothing(kind: str, tmp_path: Path) -> None:
    world = a_world(tmp_path, header_time_max_s=1.0, header_memory_bytes_max="300 MiB")
    (world.export / "poison.dcm").write_bytes(poison(kind))

    closing = await world.migrate()

    kinds = world.kinds()
    assert kinds.pop("instance") == COUNT
    assert set(kinds) <= {"unreadable", "too_costly"}
    assert world.paths(*kinds) == {"poison.dcm"}
    assert closing.statement.instances.verified == COUNT


async def test_what_kills_a_worker_is_found_out_and_the_rest_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that dies, and one that falls silent, each at one file of many."""
    world = a_world(tmp_path)
    for name in ("kill-me.dcm", "stop-me.dcm"):
        (world.export / name).write_bytes(first_file(world).read_bytes())
    monkeypatch.setattr("cloudmig.sources.directory.survey.worker_command", mortal_worker)
    monkeypatch.setattr("cloudmig.sources.directory.reading._SILENCE_S", -19.0)

    await world.inventory()

    assert world.kinds() == {"instance": COUNT, "too_costly": 2}
    assert world.paths("too_costly") == {"kill-me.dcm", "stop-me.dcm"}


def mortal_worker(root: Path, limits: object) -> list[str]:
    script = (
        "import os, signal, sys\n"
        "from cloudmig.sources.directory import header_worker as w\n"
        "read = w.answer_for\n"
        "def mortal(root, path, **more):\n"
        "    if path == b'kill-me.dcm': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    if path == b'stop-me.dcm': os.kill(os.getpid(), signal.SIGSTOP)\n"
        "    return read(root, path, **more)\n"
        "w.answer_for = mortal\n"
        "w._main()\n"
    )
    return [sys.executable, "-c", script, str(root), str(1 << 30), "20", str(1 << 20)]


async def test_two_contents_of_one_uid_are_both_stored_and_wait(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    body = bytearray(first_file(world).read_bytes())
    body[-1] ^= 1
    (world.export / "zz_other.dcm").write_bytes(body)
    (world.export / "zz_other_again.dcm").write_bytes(body)

    closing = await world.migrate()

    assert world.kinds() == {"instance": COUNT, "conflict": 1, "duplicate": 1}
    assert world.quarantined() == {"conflict": 1}
    assert len(world.stored()) == COUNT + 1
    assert closing.statement.instances.inventory == COUNT


@pytest.mark.parametrize("amiss", ["first", "other", "torn"])
async def test_no_content_of_a_uid_is_forgotten_because_another_is_there(
    amiss: str, tmp_path: Path
) -> None:
    world = a_world(tmp_path)
    first, other = first_file(world), world.export / "zz_other.dcm"
    body = first.read_bytes()
    other.write_bytes(body[:-10] if amiss == "torn" else body[:-1] + bytes([body[-1] ^ 1]))
    await world.inventory()
    await world.plan()
    path = first if amiss == "first" else other
    path.rename(tmp_path / "away")
    await world.run()
    assert world.quarantined()["missing_instances"] == 1
    assert len(world.stored()) == COUNT - (amiss == "first")

    (tmp_path / "away").rename(path)
    await world.inventory()
    with Catalog.open(load(world.config).agent.catalog_url) as catalog:
        catalog.release(
            "main", StudyRef(STUDIES[0].study_instance_uid), at=dt.datetime.now(dt.UTC), note=""
        )
    await world.run()

    assert world.quarantined()["conflict"] == 1
    assert not world.quarantined()["missing_instances"]
    assert len(world.stored()) == COUNT + 1
    [stored] = world.store.rglob(f"{STUDIES[0].instances()[0].sop_instance_uid}.dcm")
    assert dataset_of(stored) == dataset_of(first)


async def test_one_uid_in_two_studies_is_stored_in_both_and_said(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    [one, other] = STUDIES
    body = first_file(world).read_bytes()
    moved = body.replace(one.study_instance_uid.encode(), other.study_instance_uid.encode())
    assert len(one.study_instance_uid) == len(other.study_instance_uid)
    (world.export / "misfiled.dcm").write_bytes(moved)

    closing = await world.migrate()

    assert world.kinds() == {"instance": COUNT + 1}
    assert world.paths("shared") == {"misfiled.dcm", path_of(one.instances()[0])}
    assert closing.statement.instances.verified == COUNT + 1


async def test_unusable_uids_are_kept_under_their_digest(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    body = first_file(world).read_bytes()
    instance = STUDIES[0].instances()[0]
    bad_sop = body.replace(
        instance.sop_instance_uid.encode(), b"../" + b"x" * (len(instance.sop_instance_uid) - 3)
    )
    (world.export / "bad_sop.dcm").write_bytes(bad_sop)
    bad_study = body.replace(
        STUDIES[0].study_instance_uid.encode(), b"/" * len(STUDIES[0].study_instance_uid)
    )
    (world.export / "bad_study.dcm").write_bytes(bad_study)

    closing = await world.migrate()

    assert world.kinds() == {"instance": COUNT, "unusable_uid": 2}
    assert world.quarantined() == {"unusable_uid": 2}
    assert closing.statement.studies.inventory == 3  # One of them without a usable UID.
    assert closing.statement.instances.inventory == COUNT + 2
    assert len([p for p in world.stored() if "quarantine" in p.parts]) == 1


async def test_a_second_inventory_reads_only_what_has_changed(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    await world.inventory()
    paths = sorted(world.export.rglob("*.dcm"))
    changed = paths[0]
    os.utime(changed, ns=(1, 1))
    (world.export / "new.dcm").write_bytes(a_study(5).instances()[0].part10())
    gone = paths[1].relative_to(world.export)
    (world.export / gone).unlink()
    world.reporter.told.clear()

    read: list[int] = []
    first = Survey._read_new

    async def counted(self: Survey) -> int:
        read.append(await first(self))
        return read[-1]

    Survey._read_new = counted  # type: ignore[method-assign]
    try:
        result = await world.inventory()
    finally:
        Survey._read_new = first  # type: ignore[method-assign]

    assert read == [2]
    assert world.kinds() == {"instance": COUNT}
    assert world.paths("gone") == {str(gone)}
    assert any("are gone since" in each for each in result.disagreements)


async def test_a_file_that_is_gone_stays_expected(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    await world.inventory()
    first_file(world).unlink()
    await world.inventory()
    await world.plan()
    await world.run()

    assert world.quarantined() == {"missing_instances": 1}
    assert len(world.stored()) == COUNT - 1


@pytest.mark.parametrize("how", ["touched", "cut", "other UIDs", "removed", "a link"])
async def test_a_file_that_changed_since_the_inventory_is_not_stored(
    how: str, tmp_path: Path
) -> None:
    world = a_world(tmp_path)
    await world.inventory()
    await world.plan()
    path = first_file(world)
    before = path.stat()
    other = a_study(9).instances()[0].part10()
    match how:
        case "touched":
            os.utime(path, ns=(1, 1))
        case "cut":
            path.write_bytes(path.read_bytes()[:-10])
        case "other UIDs":
            path.write_bytes(other.ljust(before.st_size, b"\0")[: before.st_size])
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        case "removed":
            path.unlink()
        case _:
            elsewhere = tmp_path / "elsewhere.dcm"
            shutil.move(path, elsewhere)
            path.symlink_to(elsewhere)
    await world.run()

    assert world.quarantined() == {"missing_instances": 1}
    assert len(world.stored()) == COUNT - 1
    assert len(world.paths("trouble")) == 1

    if how == "touched":
        await world.inventory()
        assert not world.paths("trouble")


@pytest.mark.parametrize(
    "lies_there", ["nothing", "no bytes", "a text", "a link", "another image", "half a header"]
)
async def test_an_image_whose_file_is_something_else_now_stays_expected(
    lies_there: str, tmp_path: Path
) -> None:
    """A known image is not forgotten because its name is taken."""
    world = a_world(tmp_path)
    await world.inventory()
    path = first_file(world)
    original, other = path.read_bytes(), a_study(9).instances()[0].part10()
    match lies_there:
        case "nothing":
            path.write_bytes(b"")
        case "no bytes":
            path.write_bytes(bytes(4096))
        case "a text":
            path.write_text("moved to tape 12")
        case "a link":
            path.unlink()
            path.symlink_to(tmp_path)
        case "another image":
            path.write_bytes(other)
        case _:
            path.write_bytes(original[:400])
    await world.inventory()
    closing = await world.migrate()

    others = lies_there == "another image"
    assert world.quarantined()["missing_instances"] == 1
    assert len(world.stored()) == COUNT - 1 + others
    assert closing.statement.instances.inventory == COUNT + others
    assert world.paths("gone") == ({str(path.relative_to(world.export))} if others else set())

    path.unlink()
    path.write_bytes(original)
    await world.inventory()
    assert world.kinds() == {"instance": COUNT}


@pytest.mark.parametrize("modified_s", [10_413_792_000, -2_000_000_000])
async def test_a_file_is_stored_whatever_time_its_disk_tells(
    modified_s: int, tmp_path: Path
) -> None:
    """A clock that ran wild: behind 2262 nanoseconds need more than 64 bits."""
    world = a_world(tmp_path)
    path = first_file(world)
    shutil.copy(path, path.with_suffix(".again"))
    for each in world.export.rglob("*.*"):
        os.utime(each, (0, modified_s))

    await world.migrate()

    assert world.kinds() == {"instance": COUNT, "duplicate": 1}
    assert len(world.stored()) == COUNT
    assert not world.paths("trouble")


async def test_an_unmounted_disk_is_no_empty_archive(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    await world.inventory()
    world.export.rename(tmp_path / "unmounted")
    world.export.mkdir()

    with pytest.raises(SourceUnavailable, match="empty"):
        await world.inventory()
    assert world.kinds() == {"instance": COUNT}


async def test_a_run_without_an_index_says_what_to_do(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    await world.inventory()
    await world.plan()
    shutil.rmtree(tmp_path / "state" / "index")

    summary = await world.run()

    assert "no index on this host" in summary.halted
    assert "cloudmig inventory" in summary.hint


async def test_an_inventory_and_a_run_do_not_share_the_index(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    await world.inventory()
    with opened_index(load(world.config), "main"), pytest.raises(ConfigError, match="index"):
        await world.inventory()


def test_a_column_that_there_is_not_is_refused(tmp_path: Path) -> None:
    world = FolderWorld(tmp_path, source={"listing_columns": {"colour": "x"}})

    with pytest.raises(ConfigError, match="colour"):
        load(world.config)
