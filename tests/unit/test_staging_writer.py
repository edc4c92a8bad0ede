"""An arriving object lands in memory or in the spool, whole and hashed, or gives all room back."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

import pytest

from cloudmig.dicom.part10 import file_prefix, read_prefix
from cloudmig.errors import SpoolFull
from cloudmig.staging import MemoryBudget, Spool, StagedBytes, StagingArea, StagingLimits
from cloudmig.staging.writer import StagingWriter

CT, SOP, SYNTAX = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", "1.2.840.10008.1.2.1"
PREFIX = file_prefix(CT, SOP, SYNTAX)
KIB, MIB = 1 << 10, 1 << 20
LIMITS = StagingLimits(
    credit_bytes=64 * KIB,
    memory_object_bytes_max=256 * KIB,
    beginning_bytes=4 * KIB,
    credit_wait_max_s=0.02,
)


def an_area(
    folder: Path, *, memory: int = MIB, spool: int = 16 * MIB, kind: type[Spool] = Spool
) -> StagingArea:
    area = StagingArea(MemoryBudget(memory), kind(folder / "spool", bytes_max=spool), LIMITS)
    area.spool.clean()
    return area


@pytest.fixture
async def area(tmp_path: Path) -> AsyncIterator[StagingArea]:
    made = an_area(tmp_path)
    yield made
    assert_nothing_is_held(made)


def assert_nothing_is_held(area: StagingArea) -> None:
    assert area.memory.bytes_used == 0
    assert area.spool.bytes_used == 0
    assert list(area.spool.folder.iterdir()) == []


async def begin(area: StagingArea, *, credit_bytes: int | None = None) -> StagingWriter:
    credit = await area.take_credit() if credit_bytes is None else credit_bytes
    return area.open(
        sop_class_uid=CT, sop_instance_uid=SOP, transfer_syntax_uid=SYNTAX, credit_bytes=credit
    )


async def feed(writer: StagingWriter, data: bytes, *, piece_bytes: int = 16 * KIB) -> None:
    for start in range(0, len(data), piece_bytes):
        wait = writer.write(memoryview(data)[start : start + piece_bytes])
        if wait is not None:
            await wait


async def stage(area: StagingArea, data: bytes, *, credit_bytes: int | None = None) -> StagedBytes:
    writer = await begin(area, credit_bytes=credit_bytes)
    await feed(writer, data)
    return await writer.complete()


def content(size_bytes: int) -> bytes:
    return hashlib.shake_128(b"pixels").digest(size_bytes)


def bytes_of(held: StagedBytes) -> bytes:
    if held.body is not None:
        return bytes(held.body)
    assert held.path is not None
    return held.path.read_bytes()


@pytest.mark.parametrize(
    ("size_bytes", "in_memory"),
    [(0, True), (8, True), (60 * KIB, True), (200 * KIB, True), (300 * KIB, False), (MIB, False)],
)
async def test_an_object_is_whole_and_hashed_wherever_it_lands(
    area: StagingArea, size_bytes: int, in_memory: bool
) -> None:
    data = content(size_bytes)

    held = await stage(area, data)

    assert (held.body is not None) is in_memory
    assert bytes_of(held) == PREFIX + data
    assert held.size_bytes == len(PREFIX) + size_bytes
    assert held.file_sha256 == hashlib.sha256(PREFIX + data).hexdigest()
    assert held.dataset_sha256 == hashlib.sha256(data).hexdigest()
    assert read_prefix(bytes_of(held)) == (held.dataset_offset, SYNTAX)
    held.release()


async def test_an_object_in_memory_holds_what_it_takes_and_not_its_credit(
    area: StagingArea,
) -> None:
    held = await stage(area, content(1000))

    assert area.memory.bytes_used == len(PREFIX) + 1000
    held.release()


async def test_an_object_in_the_spool_holds_no_memory(area: StagingArea) -> None:
    held = await stage(area, content(MIB))

    assert area.memory.bytes_used == 0
    assert area.spool.bytes_used == len(PREFIX) + MIB
    held.release()


@pytest.mark.parametrize("size_bytes", [100, 3 * KIB, 300 * KIB])
async def test_an_object_without_credit_shows_its_beginning_all_the_same(
    tmp_path: Path, size_bytes: int
) -> None:
    """The header walk finds its UIDs there; without them a clean object would be quarantined."""
    area = an_area(tmp_path, memory=64 * KIB)
    assert area.memory.try_take(64 * KIB)
    data = content(size_bytes)

    held = await stage(area, data)

    assert held.path is not None
    assert held.beginning == (PREFIX + data)[: LIMITS.beginning_bytes]
    held.release()
    area.memory.give(64 * KIB)
    assert_nothing_is_held(area)


async def test_credit_is_waited_for_and_no_longer_than_allowed(area: StagingArea) -> None:
    assert area.memory.try_take(MIB)

    assert await area.take_credit() == 0

    area.memory.give(MIB)
    assert await area.take_credit() == LIMITS.credit_bytes
    area.memory.give(LIMITS.credit_bytes)


async def test_nobody_waits_for_memory_in_the_middle_of_an_object(tmp_path: Path) -> None:
    """With another waiting for credit, a growing object spills at once (design 5)."""
    area = an_area(tmp_path, memory=128 * KIB)
    first = await begin(area)
    others = [await area.take_credit()]
    waiting = asyncio.create_task(area.take_credit())
    await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await feed(first, content(200 * KIB))
        held = await first.complete()

    assert held.path is not None
    held.release()
    others.append(await waiting)
    area.memory.give(sum(others))
    assert_nothing_is_held(area)


async def test_discarding_gives_everything_back_at_any_size(area: StagingArea) -> None:
    for size_bytes in (0, 10, 100 * KIB, 300 * KIB, 3 * MIB):
        writer = await begin(area)
        await feed(writer, content(size_bytes))
        writer.discard()
        assert_nothing_is_held(area)


@pytest.mark.parametrize("size_bytes", [8, 2 * MIB])
async def test_discarding_takes_nothing_from_a_completed_object(
    area: StagingArea, size_bytes: int
) -> None:
    writer = await begin(area)
    await feed(writer, content(size_bytes))
    held = await writer.complete()
    used = (area.memory.bytes_used, area.spool.bytes_used)

    writer.discard()

    assert (area.memory.bytes_used, area.spool.bytes_used) == used
    assert bytes_of(held) == PREFIX + content(size_bytes)
    held.release()


async def test_what_had_no_room_may_be_discarded_again(tmp_path: Path) -> None:
    area = an_area(tmp_path, spool=MIB)
    writer = await begin(area)
    await feed(writer, content(3 * MIB))
    with pytest.raises(SpoolFull):
        await writer.complete()

    writer.discard()

    assert_nothing_is_held(area)


async def test_releasing_twice_is_a_bug(area: StagingArea) -> None:
    held = await stage(area, content(10))
    held.release()

    with pytest.raises(AssertionError, match="released twice"):
        held.release()


async def test_a_released_object_lets_go_of_its_bytes(area: StagingArea) -> None:
    held = await stage(area, content(10))
    held.release()

    assert held.body is None
    assert not held.beginning


async def test_a_full_spool_is_told_at_the_end_and_holds_nothing(tmp_path: Path) -> None:
    """The object is drained, not broken off: the peer gets 0xA700 and keeps its association."""
    area = an_area(tmp_path, spool=2 * MIB)
    writer = await begin(area)

    await feed(writer, content(4 * MIB))

    assert writer.trouble is not None
    with pytest.raises(SpoolFull, match="spool is full"):
        await writer.complete()
    assert_nothing_is_held(area)


async def test_room_that_becomes_free_in_the_spool_is_used_again(tmp_path: Path) -> None:
    area = an_area(tmp_path, spool=2 * MIB)
    first = await stage(area, content(MIB + KIB))
    with pytest.raises(SpoolFull):
        await stage(area, content(MIB + KIB))
    first.release()

    (await stage(area, content(MIB + KIB))).release()
    assert_nothing_is_held(area)


async def test_a_full_disk_is_named_and_holds_nothing(tmp_path: Path) -> None:
    area = an_area(tmp_path, kind=SpoolOnAFullDisk)

    with pytest.raises(SpoolFull, match="No space left") as caught:
        await stage(area, content(2 * MIB))

    assert "state_dir" in caught.value.hint
    assert_nothing_is_held(area)


async def test_a_spool_folder_that_went_away_is_named(tmp_path: Path) -> None:
    area = an_area(tmp_path)
    area.spool.folder.rmdir()

    with pytest.raises(SpoolFull, match="cannot be written"):
        await stage(area, content(2 * MIB))

    assert (area.memory.bytes_used, area.spool.bytes_used) == (0, 0)


async def test_the_reader_is_asked_to_wait_while_the_disk_is_slow(tmp_path: Path) -> None:
    area = an_area(tmp_path, kind=SlowSpool)
    slow = area.spool
    assert isinstance(slow, SlowSpool)
    writer = await begin(area)
    data = content(MIB + 300 * KIB)
    wait = None
    for start in range(0, len(data), 16 * KIB):
        assert wait is None, "a second piece was sent while the first waits"
        wait = writer.write(memoryview(data)[start : start + 16 * KIB])
        if wait is not None:
            waiting = asyncio.ensure_future(wait)
            await asyncio.to_thread(slow.begun.wait, 5)
            assert not waiting.done()
            slow.may_write.set()
            await waiting
            wait = None

    held = await writer.complete()
    assert bytes_of(held) == PREFIX + data
    held.release()
    assert_nothing_is_held(area)


async def test_a_file_is_not_closed_under_the_thread_that_writes_it(tmp_path: Path) -> None:
    """Its descriptor could be somebody else's by then, and a cancelled wait hides no thread."""
    area = an_area(tmp_path, kind=SlowSpool)
    slow = area.spool
    assert isinstance(slow, SlowSpool)
    writer = await begin(area)
    feeding = asyncio.create_task(feed(writer, content(2 * MIB)))
    await asyncio.to_thread(slow.begun.wait, 5)

    feeding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await feeding
    writer.discard()

    assert slow.file is not None
    assert not slow.file.closed
    slow.may_write.set()
    async with asyncio.timeout(5):
        while not slow.file.closed:
            await asyncio.sleep(0.01)
    assert slow.found_closed is False
    assert_nothing_is_held(area)


def test_the_spool_removes_what_a_dead_process_left(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", bytes_max=MIB)
    assert spool.clean() == 0
    path, file = spool.create()
    file.close()
    (tmp_path / "spool" / "1-1.part").write_bytes(b"left")

    assert Spool(tmp_path / "spool", bytes_max=MIB).clean() == 2
    assert not path.exists()


def test_the_spool_is_for_its_owner_alone(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", bytes_max=MIB)
    spool.clean()

    assert os.stat(spool.folder).st_mode & 0o077 == 0  # noqa: PTH116 - as `ls` shows it


class SpoolOnAFullDisk(Spool):
    """Every write meets ENOSPC, as from the kernel."""

    def write(self, file: BinaryIO, data: bytes | bytearray) -> None:
        with open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123
            super().write(full, data)


class SlowSpool(Spool):
    """A write begins, waits until it may go on, and then really writes."""

    def __init__(self, folder: Path, *, bytes_max: int) -> None:
        super().__init__(folder, bytes_max=bytes_max)
        self.begun = threading.Event()
        self.may_write = threading.Event()
        self.file: BinaryIO | None = None
        self.found_closed: bool | None = None

    def write(self, file: BinaryIO, data: bytes | bytearray) -> None:
        self.file = file
        self.begun.set()
        assert self.may_write.wait(5), os.strerror(errno.ETIMEDOUT)
        self.found_closed = file.closed
        super().write(file, data)
