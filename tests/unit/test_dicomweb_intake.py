"""One part of an answer becomes the same object, however its bytes are cut up on the way."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from cloudmig.demo.studies import Instance
from cloudmig.dicom.part10 import file_prefix
from cloudmig.dicomweb import MultipartTorn, RelatedParts
from cloudmig.sources.dicomweb import intake
from cloudmig.sources.dicomweb.intake import PartTooLarge, TakenPart, take_part
from cloudmig.staging import MemoryBudget, Spool, StagingArea, StagingLimits
from tests.integration.migration_world import a_study

KIB = 1 << 10
ONE = a_study(1).instances()[0]
FILE, DATA_SET = ONE.part10(), ONE.data_set()


def an_area(folder: Path, memory_bytes: int = 1 << 20) -> StagingArea:
    limits = StagingLimits(credit_bytes=64 * KIB)
    area = StagingArea(MemoryBudget(memory_bytes), Spool(folder / "s", bytes_max=1 << 24), limits)
    area.spool.clean()
    return area


async def pieces_of(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


async def taken(
    area: StagingArea,
    pieces: Iterable[bytes],
    *,
    asked: str = "",
    object_bytes_max: int = 1 << 30,
) -> TakenPart:
    credit = area.take_credit_at_once() or 0
    return await take_part(
        area, pieces_of(pieces), credit_bytes=credit, asked_sop_instance_uid=asked,
        object_bytes_max=object_bytes_max,
    )  # fmt: skip


def with_long_header(instance: Instance, extra_bytes: int) -> bytes:
    """Put a long private element before the UIDs of study and series (PS3.5 7.8)."""
    data_set = instance.data_set()
    at = data_set.index(struct.pack("<HH", 0x0020, 0x000D) + b"UI")
    ballast = struct.pack("<HH2sHI", 0x0019, 0x1001, b"OB", 0, extra_bytes) + bytes(extra_bytes)
    creator = struct.pack("<HH2sH", 0x0019, 0x0010, b"LO", 4) + b"TEST"
    return data_set[:at] + creator + ballast + data_set[at:]


@pytest.mark.parametrize("size", [1, 2, 7, 131, 132, 133, 400, 512, 1 << 20])
@pytest.mark.parametrize("memory_bytes", [1 << 20, 0], ids=["memory", "spool"])
async def test_a_part_in_pieces_of_any_size_is_the_same_object(
    size: int, memory_bytes: int, tmp_path: Path
) -> None:
    area = an_area(tmp_path, memory_bytes)

    part = await taken(area, cut(FILE, size))

    ours = file_prefix(ONE.sop_class_uid, ONE.sop_instance_uid, ONE.transfer_syntax_uid) + DATA_SET
    assert part.identity is not None
    assert part.identity.sop_instance_uid == part.called_sop_instance_uid == ONE.sop_instance_uid
    assert part.identity.series_instance_uid == ONE.series_instance_uid
    assert (part.sop_class_uid, part.transfer_syntax_uid) == (
        ONE.sop_class_uid, ONE.transfer_syntax_uid,
    )  # fmt: skip
    assert part.held.file_sha256 == hashlib.sha256(ours).hexdigest()
    assert part.held.dataset_sha256 == hashlib.sha256(DATA_SET).hexdigest()
    body = part.held.body if part.held.path is None else part.held.path.read_bytes()
    assert body == ours
    part.held.release()
    assert (area.memory.bytes_used, area.spool.bytes_used) == (0, 0)


@pytest.mark.parametrize("size", [1000, 64 * KIB])
@pytest.mark.parametrize("extra_bytes", [100 * KIB, 3 << 20])
async def test_uids_behind_a_long_header_are_found_all_the_same(
    extra_bytes: int, size: int, tmp_path: Path
) -> None:
    """Beyond the beginning that is held back, group 0002 says what it is called."""
    area = an_area(tmp_path, 8 << 20)
    long = replace(ONE, data_set=lambda: with_long_header(ONE, extra_bytes))

    part = await taken(area, cut(long.part10(), size))

    assert part.identity is not None
    assert part.identity.study_instance_uid == ONE.study_instance_uid
    assert part.called_sop_instance_uid == ONE.sop_instance_uid
    assert part.held.dataset_sha256 == hashlib.sha256(long.data_set()).hexdigest()
    part.held.release()


async def test_no_more_than_a_beginning_is_held_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has no header does not gather in memory that nobody counts."""
    monkeypatch.setattr(intake, "_BEGINNING_BYTES_MAX", 8 * KIB)
    area = an_area(tmp_path, 0)
    in_memory: list[int] = []
    endless = replace(ONE, data_set=lambda: with_long_header(ONE, 1 << 20)).part10()

    async def watched() -> AsyncIterator[bytes]:
        for piece in cut(endless, KIB):
            yield piece
            in_memory.append(area.spool.bytes_used)

    part = await take_part(
        area, watched(), credit_bytes=0, asked_sop_instance_uid="", object_bytes_max=1 << 30
    )

    assert part.held.path is not None
    assert part.identity is not None
    part.held.release()


@pytest.mark.parametrize(("asked", "called"), [("", ""), ("1.2.3", "1.2.3")])
async def test_what_is_no_part_10_has_the_name_it_was_asked_for_by(
    asked: str, called: str, tmp_path: Path
) -> None:
    part = await taken(an_area(tmp_path), [b"<html>no image today</html>" * 20], asked=asked)

    assert part.identity is None
    assert part.called_sop_instance_uid == called
    assert part.transfer_syntax_uid == ""


async def test_a_data_set_alone_is_called_by_its_own_name_and_is_no_part_10(tmp_path: Path) -> None:
    """Asked for with its study or by itself, it is the same file in quarantine."""
    area = an_area(tmp_path)
    first = await taken(area, cut(DATA_SET, 100))
    second = await taken(area, cut(DATA_SET, 100), asked=ONE.sop_instance_uid)

    assert first.identity is None
    assert first.called_sop_instance_uid == ONE.sop_instance_uid
    assert first.held.file_sha256 == second.held.file_sha256


@pytest.mark.parametrize("size", [50, 1 << 20])
async def test_an_object_beyond_the_limit_is_named_and_leaves_nothing(
    size: int, tmp_path: Path
) -> None:
    area = an_area(tmp_path)

    with pytest.raises(PartTooLarge) as caught:
        await taken(area, cut(FILE, size), object_bytes_max=len(DATA_SET) - 1)

    assert caught.value.sop_instance_uid == ONE.sop_instance_uid
    assert (area.memory.bytes_used, area.spool.bytes_used) == (0, 0)
    (await taken(area, cut(FILE, size), object_bytes_max=len(DATA_SET))).held.release()


async def test_an_object_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    area, read = an_area(tmp_path), 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        yield FILE
        for _ in range(1000):
            read += KIB
            yield bytes(KIB)

    with pytest.raises(PartTooLarge):
        await take_part(
            area, endless(), credit_bytes=0, asked_sop_instance_uid="", object_bytes_max=64 * KIB
        )

    assert read <= 64 * KIB
    assert (area.memory.bytes_used, area.spool.bytes_used) == (0, 0)


@pytest.mark.parametrize("length", [10, 140, 300, len(FILE) - 10])
async def test_a_torn_part_leaves_nothing(length: int, tmp_path: Path) -> None:
    area = an_area(tmp_path)
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + FILE[:length]
    parts = RelatedParts(pieces_of(cut(body, 64)), "b")
    assert await parts.next_part()
    credit = area.take_credit_at_once() or 0

    with pytest.raises(MultipartTorn):
        await take_part(
            area, parts.content(), credit_bytes=credit, asked_sop_instance_uid="",
            object_bytes_max=1 << 30,
        )  # fmt: skip

    assert (area.memory.bytes_used, area.spool.bytes_used) == (0, 0)
