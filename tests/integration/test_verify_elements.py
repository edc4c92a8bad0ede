"""A DICOMweb store may write what it was given in its own way, and in no other."""

from __future__ import annotations

import datetime as dt
import functools
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import FileDataset
from pydicom.uid import ImplicitVRLittleEndian, JPEGLSLossless

from cloudmig.dicom.compare import compare_files
from cloudmig.model.references import StudyRef
from tests.contract.stow_server import ScriptedStow
from tests.integration.migration_world import World, a_study

STUDIES = [a_study(number, series=(2,)) for number in (1, 2)]
NAME = "COERCED^BY THE STORE"


def two_homes(folder: Path, server: ScriptedStow) -> Mapping[str, Mapping[str, Any]]:
    return {
        "store": {"url": f"file://{folder / 'store'}"},
        "web": {"url": server.url, "evidence": "store", "dicomweb": {"profile": "orthanc"}},
    }


def written(change: Callable[[FileDataset], None]) -> Callable[[bytes], bytes]:
    """Return what reads a file with pydicom, changes it and writes it anew."""

    def rewrite(file: bytes) -> bytes:
        data_set = pydicom.dcmread(io.BytesIO(file))
        change(data_set)
        buffer = io.BytesIO()
        data_set.save_as(buffer, implicit_vr=data_set.file_meta.TransferSyntaxUID.is_implicit_VR)
        return buffer.getvalue()

    return rewrite


def _meta(data_set: FileDataset) -> None:
    data_set.file_meta.ImplementationVersionName = "A STORE"
    data_set.file_meta.SourceApplicationEntityTitle = "A STORE"


def _implicit(data_set: FileDataset) -> None:
    data_set.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian


def _coerced(data_set: FileDataset) -> None:
    data_set.PatientName = NAME


def _pixel(data_set: FileDataset) -> None:
    data_set.PixelData = data_set.PixelData[:-1] + bytes([data_set.PixelData[-1] ^ 1])


def _shorter(data_set: FileDataset) -> None:
    data_set.PixelData = data_set.PixelData[:-2]


def _lost(data_set: FileDataset) -> None:
    del data_set.StudyDate


def _wrong_syntax(file: bytes) -> bytes:
    data_set = pydicom.dcmread(io.BytesIO(file))
    data_set.file_meta.TransferSyntaxUID = JPEGLSLossless
    buffer = io.BytesIO()
    pydicom.filewriter.write_file_meta_info(buffer, data_set.file_meta)
    _, _, rest = file.partition(b"\x08\x00\x05\x00")
    return bytes(128) + b"DICM" + buffer.getvalue() + b"\x08\x00\x05\x00" + rest


ALTERED: dict[str, tuple[Callable[[bytes], bytes], tuple[str, ...]]] = {
    "a coerced name": (written(_coerced), ("(0010,0010)",)),
    "another pixel": (written(_pixel), ("(7fe0,0010)",)),
    "fewer pixels": (written(_shorter), ("(7fe0,0010)",)),
    "a lost element": (written(_lost), ("(0008,0020)",)),
    "an answer cut off inside the pixels": (lambda file: file[:-2], ("(7fe0,0010)",)),
    "another transfer syntax": (_wrong_syntax, ("transfer syntax",)),
    "no DICOM": (lambda _: b"<html>sorry</html>", ("file meta information",)),
}


async def migrated(folder: Path, server: ScriptedStow) -> World:
    world = World(folder, STUDIES, destinations=two_homes(folder, server))
    with world.serving():
        await world.migrate()
    return world


def how_equal(world: World) -> list[object]:
    told = world.ledger("copy_verified") + world.ledger("copy_failed")
    return [event.detail["equal"] for event in told if event.destination == "web"]


def verdicts(world: World) -> set[tuple[str, str | None]]:
    with world.catalog() as catalog:
        return {
            (copy.destination, copy.verdict_how)
            for row in catalog.transfers()
            for copy in row.copies
        }


async def test_group_0002_may_be_written_anew(tmp_path: Path) -> None:
    async with ScriptedStow().running() as server:
        world = await migrated(tmp_path, server)
        server.held = {key: written(_meta)(file) for key, file in server.held.items()}

        await world.explain_everything()

    assert verdicts(world) == {("store", "READ_BACK"), ("web", "READ_BACK")}
    assert how_equal(world) == [{"data set": 2}, {"data set": 2}]


async def test_elements_may_be_written_in_another_way(tmp_path: Path) -> None:
    async with ScriptedStow().running() as server:
        world = await migrated(tmp_path, server)
        first, *_ = list(server.held)
        server.held[first] = written(_implicit)(server.held[first])

        closing = await world.explain_everything()

    assert closing.statement.verdicts == {"READ_BACK": 3, "READ_BACK_ELEMENTS": 1}
    assert {"bytes": 1, "elements": 1} in how_equal(world), "the weakest word is the copy's"
    assert world.spooled() == []


@pytest.mark.parametrize("name", ALTERED)
async def test_what_it_may_not_do_is_named(tmp_path: Path, name: str) -> None:
    spoil, tags = ALTERED[name]
    async with ScriptedStow().running() as server:
        world = await migrated(tmp_path, server)
        first, *_ = list(server.held)
        server.held[first] = spoil(server.held[first])

        summary = await world.verify()

    assert [(each.sop_instance_uid, each.finding) for each in summary.findings] == [
        (first[1], "altered")
    ]
    [told] = world.reporter.named("verify.difference")
    assert told["differences"] == tags
    [event] = world.ledger("copy_failed")
    assert event.detail["differences"] == [[first[1], *tags]]
    assert NAME not in repr(event.detail) + repr(told)
    assert world.spooled() == []


async def test_without_another_copy_nothing_is_assumed(tmp_path: Path) -> None:
    async with ScriptedStow().running() as server:
        world = World(
            tmp_path,
            STUDIES,
            destinations=two_homes(tmp_path, server),
            rules=[{"name": "everything", "copy_to": ["web"]}],
        )
        with world.serving():
            await world.migrate()
        first, *_ = list(server.held)
        server.held[first] = written(_implicit)(server.held[first])

        summary = await world.verify()

    assert [each.finding for each in summary.findings] == ["altered"]
    assert summary.agreed == 1


@pytest.mark.parametrize("spoil", [lambda file: file[:-2], written(_coerced)])
async def test_a_copy_that_is_spoilt_itself_is_no_witness(
    tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    async with ScriptedStow().running() as server:
        world = await migrated(tmp_path, server)
        first, *_ = list(server.held)
        server.held[first] = spoil(written(_implicit)(server.held[first]))
        [beside] = (tmp_path / "store").rglob(f"{first[1]}.dcm")
        beside.write_bytes(spoil(beside.read_bytes()))

        summary = await world.verify()

    assert {each.destination for each in summary.findings} == {"store", "web"}


async def test_a_bucket_must_give_back_every_byte(tmp_path: Path) -> None:
    async with ScriptedStow().running() as server:
        world = await migrated(tmp_path, server)
        first, *_ = list(server.held)
        [beside] = (tmp_path / "store").rglob(f"{first[1]}.dcm")
        beside.write_bytes(written(_meta)(beside.read_bytes()))

        summary = await world.verify()

    assert [(each.destination, each.finding) for each in summary.findings] == [("store", "altered")]


async def test_what_cannot_be_decided_is_different(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ScriptedStow().running() as server:
        world = await migrated(tmp_path, server)
        first, *_ = list(server.held)
        server.held[first] = written(_implicit)(server.held[first])
        impatient = functools.partial(compare_files, time_max_s=0.0)
        monkeypatch.setattr("cloudmig.pipeline.second_copy.compare_files", impatient)

        summary = await world.verify()

    assert [each.finding for each in summary.findings] == ["incomparable"]
    assert world.spooled() == []


def web_only(folder: Path, server: ScriptedStow) -> World:
    homes = two_homes(folder, server)
    rule = {"name": "everything", "copy_to": ["web"]}
    return World(folder, STUDIES, destinations=homes, rules=[rule])


async def test_the_source_shows_that_another_writing_is_the_same(tmp_path: Path) -> None:
    """Verification has nothing to compare with; the repair has what the source sends."""
    async with ScriptedStow().running() as server:
        world = web_only(tmp_path, server)
        with world.serving():
            await world.migrate()
            server.held = {key: written(_implicit)(file) for key, file in server.held.items()}
            held = dict(server.held)
            assert (await world.verify()).failed == 2

            await world.run()

            assert server.held == held
            await world.explain_everything()
    assert world.quarantined() == {}


@pytest.mark.parametrize("name", ["a coerced name", "another pixel"])
async def test_what_was_altered_waits_for_a_person_until_it_is_deleted_there(
    tmp_path: Path, name: str
) -> None:
    spoil, tags = ALTERED[name]
    async with ScriptedStow().running() as server:
        world = web_only(tmp_path, server)
        with world.serving():
            await world.migrate()
            first, *_ = list(server.held)
            server.held[first] = spoil(server.held[first])
            await world.verify()

            await world.run()

            assert world.quarantined() == {first[0]: {"conflict"}}
            [event] = world.ledger("conflict_found")
            assert tuple(event.detail["differences"]) == tags
            await world.explain_everything()
            sent = len(server.sent)
            await world.run()
            assert len(server.sent) == sent, "nobody tries by himself"

            with world.catalog() as catalog:
                [item] = catalog.quarantine_items()
                catalog.release(
                    item.source, StudyRef(item.known_by), at=dt.datetime.now(dt.UTC), note=""
                )
            await world.run()
            assert world.quarantined() == {first[0]: {"conflict"}}, "a release alone mends nothing"
