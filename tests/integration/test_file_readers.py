"""Processes that read files: the same bytes as a thread reads, whatever becomes of them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

from cloudmig.demo.studies import Instance
from cloudmig.dicom.part10 import file_prefix, read_prefix
from cloudmig.sources.directory import file_readers
from cloudmig.sources.directory.as_indexed import FileFacts, NotAsIndexedError
from cloudmig.sources.directory.file_readers import FileReaders, ReaderLimits
from tests.integration.folder_world import FolderWorld, path_of, write_studies
from tests.integration.migration_world import a_study

STUDY = a_study(1, series=(20, 20))
AT_ONCE = ReaderLimits(workers=2, slots_each=2, slot_bytes=1 << 20, after_files=0)


def facts_of(folder: Path, instance: Instance) -> FileFacts:
    found = (folder / path_of(instance)).stat()
    path = os.fsencode(path_of(instance))
    return FileFacts(path, found.st_size, found.st_mtime_ns, instance.transfer_syntax_uid)


def prefix_of(instance: Instance) -> bytes:
    return file_prefix(
        instance.sop_class_uid, instance.sop_instance_uid, instance.transfer_syntax_uid
    )


@contextlib.asynccontextmanager
async def begun(folder: Path, limits: ReaderLimits = AT_ONCE) -> AsyncIterator[FileReaders]:
    """Give readers whose processes are there."""
    write_studies(folder, [STUDY])
    readers = FileReaders(folder, limits)
    try:
        first = STUDY.instances()[0]
        assert await readers.read(facts_of(folder, first), prefix_of(first)) is None
        assert readers._beginning is not None
        await readers._beginning
        assert len(readers.process_ids) == limits.workers
        yield readers
    finally:
        await readers.close()


async def read_all(readers: FileReaders, folder: Path) -> list[file_readers.ReadFile | None]:
    return await asyncio.gather(*(
        readers.read(facts_of(folder, each), prefix_of(each)) for each in STUDY.instances()
    ))  # fmt: skip


def check(found: list[file_readers.ReadFile | None]) -> None:
    """Every file that was read is its own, and nobody else's."""
    for instance, read in zip(STUDY.instances(), found, strict=True):
        if read is None:
            continue
        body, whole = read.body, prefix_of(instance) + instance.data_set()
        assert bytes(body.body) == whole
        assert body.body[body.dataset_offset :] == instance.data_set()
        assert body.file_sha256 == hashlib.sha256(whole).hexdigest()
        assert body.dataset_sha256 == hashlib.sha256(instance.data_set()).hexdigest()
        assert read.identity is not None
        assert read.identity.sop_instance_uid == instance.sop_instance_uid


async def test_files_are_read_and_hashed_at_once(tmp_path: Path) -> None:
    async with begun(tmp_path) as readers:
        found = await read_all(readers, tmp_path)

        assert None not in found
        check(found)
        ours = list(readers.process_ids)
    for process_id in ours:
        with pytest.raises(ProcessLookupError):
            os.kill(process_id, 0)


async def test_a_file_that_is_not_what_the_index_says_is_named(tmp_path: Path) -> None:
    async with begun(tmp_path) as readers:
        changed, gone, other, whole = STUDY.instances()[:4]
        facts = [facts_of(tmp_path, each) for each in (changed, gone, other, whole)]
        (tmp_path / path_of(changed)).write_bytes(b"DICM")
        (tmp_path / path_of(gone)).unlink()
        facts[2] = replace(facts[2], transfer_syntax_uid="1.2.840.10008.1.2.4.70")

        for each, trouble in zip(facts[:3], ("changed", "vanished", "changed"), strict=True):
            with pytest.raises(NotAsIndexedError, match=trouble):
                await readers.read(each, prefix_of(changed))
        found = await readers.read(facts[3], prefix_of(whole))

    assert found is not None
    assert found.body.body[found.body.dataset_offset :] == whole.data_set()


async def test_a_large_file_is_left_to_threads(tmp_path: Path) -> None:
    async with begun(tmp_path, replace(AT_ONCE, slot_bytes=1024)) as readers:
        large = STUDY.instances()[0]
        assert len(large.part10()) > 1024

        assert await readers.read(facts_of(tmp_path, large), prefix_of(large)) is None


async def test_a_process_that_stands_still_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    async with begun(tmp_path, replace(AT_ONCE, answer_max_s=1.0)) as readers:
        first = readers.process_ids[0]
        os.kill(first, signal.SIGSTOP)

        async with asyncio.timeout(30):
            found = await read_all(readers, tmp_path)

        assert None in found
        check(found)
        assert first not in readers.process_ids


async def test_files_of_a_process_that_dies_are_left_to_threads(tmp_path: Path) -> None:
    async with begun(tmp_path) as readers:
        first, second = readers.process_ids
        os.kill(first, signal.SIGSTOP)
        reading = asyncio.create_task(read_all(readers, tmp_path))
        await asyncio.sleep(0)
        os.kill(first, signal.SIGKILL)
        found = await reading
        assert readers.process_ids == [second]
        check(found)
        assert None in found
        assert any(found)

        os.kill(second, signal.SIGKILL)
        while readers.process_ids:
            await read_all(readers, tmp_path)
        assert set(await read_all(readers, tmp_path)) == {None}


async def test_whoever_stops_waiting_leaves_the_place_to_the_answer(tmp_path: Path) -> None:
    """Or the next file would be read over the one before, while that is hashed."""
    async with begun(tmp_path) as readers:
        for process_id in readers.process_ids:
            os.kill(process_id, signal.SIGSTOP)
        impatient = asyncio.create_task(read_all(readers, tmp_path))
        while readers._free.qsize():
            await asyncio.sleep(0)
        impatient.cancel()
        await asyncio.wait([impatient])
        assert not readers._free.qsize(), "nobody has answered yet"

        patient = asyncio.create_task(read_all(readers, tmp_path))
        for process_id in readers.process_ids:
            os.kill(process_id, signal.SIGCONT)
        found = await patient

        assert None not in found
        check(found)
        assert readers._free.qsize() == AT_ONCE.workers * AT_ONCE.slots_each


@pytest.mark.parametrize("answer", [
    b"", b"no json\n", b'{"a": 1}\n', b'[99999999, "a", "b", []]\n', b'[-1, "a", "b", []]\n',
    b'[600, "a", "b", ["1.2"]]\n', b"x" * (1 << 17) + b"\n",
])  # fmt: skip
async def test_a_process_that_answers_something_else_is_not_believed(
    answer: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    liar = tmp_path / "liar.py"
    liar.write_text(
        "import sys\n"
        "sys.stdout.buffer.write(b'ready\\n'); sys.stdout.flush()\n"
        f"sys.stdin.readline(); sys.stdout.buffer.write({answer!r}); sys.stdout.flush()\n"
        f"{'sys.stdin.read()' if answer else ''}\n"
    )
    real = asyncio.create_subprocess_exec

    async def lying(python: str, *_: str, **options: object) -> asyncio.subprocess.Process:
        return await real(python, str(liar), **options)  # type: ignore[arg-type]

    monkeypatch.setattr(file_readers.asyncio, "create_subprocess_exec", lying)
    (tmp_path / "export").mkdir()
    async with begun(tmp_path / "export") as readers:
        found = await read_all(readers, tmp_path / "export")

        assert set(found) == {None}
        assert not readers.process_ids


@pytest.mark.parametrize(("module", "function"), [
    ("asyncio", "create_subprocess_exec"), ("os", "memfd_create"), ("mmap", "mmap"),
])  # fmt: skip
async def test_where_no_process_begins_threads_read(
    module: str, function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*_: object, **__: object) -> None:
        raise OSError("no more of them")

    monkeypatch.setattr(f"cloudmig.sources.directory.file_readers.{module}.{function}", refusing)
    write_studies(tmp_path, [STUDY])
    readers = FileReaders(tmp_path, AT_ONCE)

    found = await read_all(readers, tmp_path)
    found += await read_all(readers, tmp_path)

    assert set(found) == {None}
    assert readers._beginning is not None
    assert readers._beginning.exception() is None
    await readers.close()


async def test_a_folder_of_many_files_is_moved_by_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = FolderWorld(tmp_path)
    studies = [a_study(number, series=(60, 60)) for number in (1, 2)]
    write_studies(world.export, studies)
    apart = 0
    read_ = FileReaders.read

    async def counting(
        self: FileReaders, facts: FileFacts, prefix: bytes
    ) -> file_readers.ReadFile | None:
        nonlocal apart
        read = await read_(self, facts, prefix)
        if self._beginning is not None:
            await self._beginning
        apart += read is not None
        return read

    monkeypatch.setattr(FileReaders, "read", counting)
    closing = await world.migrate()

    assert apart > 100
    assert closing.statement.instances.verified == 240
    stored = {path.stem: path.read_bytes() for path in world.stored()}
    for instance in (each for study in studies for each in study.instances()):
        body = stored[instance.sop_instance_uid]
        assert body[read_prefix(body)[0] :] == instance.data_set()


def test_a_process_that_is_dead_before_we_hear_of_it_fails_nobody(tmp_path: Path) -> None:
    """The pipe to it is closed sooner than its answers end: the agent's event loop raises then."""

    async def ask_the_dead() -> None:
        async with begun(tmp_path) as readers:
            for reader in readers._readers:
                assert reader.process.stdin is not None
                reader.process.stdin.close()
            assert set(await read_all(readers, tmp_path)) == {None}

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(ask_the_dead())
