"""Processes that read and hash files of ordinary size.

Reading a CT slice and hashing it twice takes a millisecond in which a thread lets go of the
interpreter and asks for it back a dozen times, while the event loop and those who write want it
too: that leaves a third of two cores idle. A process shares nothing but the memory it reads into.

A process that dies, stands still, or answers what nobody asked, is not believed and not replaced:
its files are read by threads, as are large ones and the first ones.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cloudmig.dicom.header import Identity
from cloudmig.own_modules import module_command
from cloudmig.sources.directory.as_indexed import FileFacts, NotAsIndexedError
from cloudmig.sources.directory.children import begun, ended
from cloudmig.sources.directory.read_worker import READY, request_line
from cloudmig.staging import ReadBody

__all__ = ["FileReaders", "ReadFile", "ReaderLimits"]

_LINE_BYTES_MAX = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderLimits:
    """When processes are begun, how many, and what they may read."""

    workers: int = min(os.cpu_count() or 1, 4)
    slots_each: int = 8  #: The next is read while we are busy with the answer.
    slot_bytes: int = 2 << 20  #: Larger files are read by threads.
    after_files: int = 100  #: Fewer are read sooner than a process begins.
    start_max_s: float = 60.0
    answer_max_s: float = 60.0  #: Behind a disk that takes longer, threads wait as well.
    end_max_s: float = 5.0


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A file as it was read, and the UIDs of its data set where it has them."""

    body: ReadBody
    identity: Identity | None


#: A text is the trouble with the file; None means that the process ended before its answer.
_Outcome = ReadFile | str | None


class FileReaders:
    """The processes of one folder, begun when it pays. Used in one event loop only."""

    def __init__(self, root: Path, limits: ReaderLimits | None = None) -> None:
        self._root = root
        self._limits = limits or ReaderLimits()
        self._files_seen = 0
        self._beginning: asyncio.Task[None] | None = None
        self._readers: list[_Reader] = []
        self._free: asyncio.Queue[_Slot] = asyncio.Queue()

    @property
    def process_ids(self) -> list[int]:
        """The processes that are believed."""
        return [reader.process.pid for reader in self._readers if not reader.is_lost]

    async def read(self, facts: FileFacts, prefix: bytes) -> ReadFile | None:
        """Return a file with our prefix in front; None where a thread should read it.

        Raises `NotAsIndexedError` when it is not what the index says.
        """
        self._files_seen += 1
        if self._beginning is None and self._files_seen > self._limits.after_files:
            self._beginning = asyncio.create_task(self._begin())
        fits = len(prefix) + facts.size_bytes <= self._limits.slot_bytes
        if not fits or not self.process_ids:
            return None
        outcome = await self._outcome(facts, prefix)
        if isinstance(outcome, str):
            raise NotAsIndexedError(outcome)
        return outcome

    async def _outcome(self, facts: FileFacts, prefix: bytes) -> _Outcome:
        slot: _Slot | None = None
        try:
            async with asyncio.timeout(self._limits.answer_max_s):
                slot = await self._free.get()
                free = partial(self._free.put_nowait, slot)
                # Cancelled, we leave the slot to the answer, which comes all the same.
                return await slot.reader.ask(facts, prefix, slot, free)
        except TimeoutError:
            if slot is not None:
                slot.reader.lose()
            return None

    async def _begin(self) -> None:
        limits = self._limits
        share = limits.slots_each * limits.slot_bytes  # Of each process.
        try:
            descriptor = os.memfd_create("cloudmig-files")
            try:
                os.ftruncate(descriptor, limits.workers * share)
                memory = memoryview(mmap.mmap(descriptor, limits.workers * share))
                command = module_command(
                    "cloudmig.sources.directory.read_worker",
                    str(self._root),
                    str(descriptor),
                    str(len(memory)),
                )
                for number in range(limits.workers):
                    process = await begun(
                        command,
                        ready=READY,
                        start_max_s=limits.start_max_s,
                        line_bytes_max=_LINE_BYTES_MAX,
                        pass_fds=[descriptor],
                    )
                    if process is None:
                        return
                    reader = _Reader(process)
                    self._readers.append(reader)
                    for offset in range(number * share, (number + 1) * share, limits.slot_bytes):
                        room = memory[offset : offset + limits.slot_bytes]
                        self._free.put_nowait(_Slot(reader, offset, room))
            finally:
                os.close(descriptor)
        except OSError:
            return  # No memory or no processes to be had: those that are there do it, and threads.

    async def close(self) -> None:
        """End the processes, whatever they are doing."""
        if self._beginning is None:
            return
        self._beginning.cancel()
        await asyncio.wait([self._beginning])
        for reader in self._readers:
            await reader.end(self._limits.end_max_s)


@dataclass(frozen=True, slots=True)
class _Slot:
    """A place in the shared memory. One process writes to it, for one question at a time."""

    reader: _Reader
    offset: int
    room: memoryview


@dataclass(frozen=True, slots=True)
class _Question:
    slot: _Slot
    prefix_bytes: int
    outcome: asyncio.Future[_Outcome]
    free: Callable[[], None]

    def answer(self, line: bytes | None) -> None:
        """Pass on what the process said; nobody may wait for it any more.

        The bytes are copied: a store that nobody waits for may hold them long after their slot has
        been filled again.
        """
        outcome = None if line is None else self._read(line)
        if not self.outcome.done():
            self.outcome.set_result(outcome)
        self.free()

    def _read(self, line: bytes) -> _Outcome:
        """Raises `ValueError` when it is no answer."""
        match json.loads(line):
            case [str(trouble)]:
                return trouble
            case [int(size_bytes), str(file_sha256), str(dataset_sha256), [*uids]]:
                if not self.prefix_bytes <= size_bytes <= len(self.slot.room) or len(uids) not in {
                    0,
                    4,
                }:
                    raise ValueError("more than was asked for")
                body = ReadBody(
                    body=bytearray(self.slot.room[:size_bytes]),
                    dataset_offset=self.prefix_bytes,
                    file_sha256=file_sha256,
                    dataset_sha256=dataset_sha256,
                )
                return ReadFile(body, Identity(*map(str, uids)) if uids else None)
            case _:
                raise ValueError("no answer")


class _Reader:
    """One process. Its answers come in the order of the questions."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.is_lost = False
        self._asked: deque[_Question] = deque()
        self._listening = asyncio.create_task(self._listen())

    def ask(
        self, facts: FileFacts, prefix: bytes, slot: _Slot, free: Callable[[], None]
    ) -> asyncio.Future[_Outcome]:
        """Return what will hold the outcome. `free` is called when nobody writes to the slot."""
        outcome: asyncio.Future[_Outcome] = asyncio.get_running_loop().create_future()
        question = _Question(slot, len(prefix), outcome, free)
        assert self.process.stdin is not None
        if self.is_lost or self.process.stdin.is_closing():  # It may be dead before we hear of it.
            question.answer(None)
            return outcome
        self._asked.append(question)
        self.process.stdin.write(request_line(facts, prefix, slot.offset))
        return outcome

    async def _listen(self) -> None:
        assert self.process.stdout is not None
        try:
            while (line := await self.process.stdout.readline()) and self._asked:
                self._asked[0].answer(line)
                self._asked.popleft()
        except ValueError:
            pass  # Too long a line, or no answer: it is stopped like one that said too much.
        finally:
            self.lose()
            while self._asked:
                self._asked.popleft().answer(None)

    def lose(self) -> None:
        """Believe the process no more; what it was asked is answered when it is gone."""
        self.is_lost = True
        if self.process.returncode is None:
            self.process.kill()

    async def end(self, wait_max_s: float) -> None:
        """End the process, whatever it is doing."""
        self._listening.cancel()
        await asyncio.wait([self._listening])
        await ended(self.process, wait_max_s=wait_max_s)
