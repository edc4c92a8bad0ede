"""The inventory of a folder: walk, read what is new, judge what is double, compare with listings.

Killed at any point, it goes on: a finished walk is not walked again, a file that was read is not
read again. Progress is told in counts; paths stay in the index.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloudmig.errors import SourceUnavailable
from cloudmig.ports import FileSurvey
from cloudmig.sources.directory.claims import forget_claims, reconcile
from cloudmig.sources.directory.index import FileIndex
from cloudmig.sources.directory.judging import judge_contents
from cloudmig.sources.directory.listing import ListingFormat, claim_by_listing
from cloudmig.sources.directory.media import claim_by_directories
from cloudmig.sources.directory.reading import HeaderLimits, HeaderWorker, worker_command
from cloudmig.sources.directory.tallying import tally
from cloudmig.sources.directory.walking import Entry, walk
from cloudmig.telemetry import Reporter

__all__ = ["Survey", "SurveyPlan"]

_ENTRIES_A_COMMIT = 2000
_FILES_A_BATCH = 250
_TELL_EVERY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyPlan:
    """What is looked at beside the files themselves."""

    workers: int = 2
    dicomdir: str = "auto"  #: auto | only | ignore
    listing: ListingFormat | None = None


@dataclass(slots=True)
class Survey:
    """One survey while it runs."""

    name: str
    index: FileIndex
    root: Path
    plan: SurveyPlan
    limits: HeaderLimits
    reporter: Reporter
    _told_s: float = field(default_factory=time.monotonic)

    async def run(self) -> FileSurvey:
        """Do what is left to do, and say what there is."""
        before = await asyncio.to_thread(self.index.one, "SELECT count(*) FROM file")
        number, walked = await asyncio.to_thread(self.index.begin_survey)
        if not walked:
            entries = await self._walk(number)
            if not entries and before is not None and before[0]:
                raise SourceUnavailable(
                    f"the folder of source {self.name} is empty, and was not before",
                    hint="is its disk mounted?",
                )
            await asyncio.to_thread(self.index.end_walk, number, entries)
        await asyncio.to_thread(forget_claims, self.index)
        if self.plan.dicomdir == "only":
            read = await self._read_named()
        else:
            read = await self._read_new()
            if self.plan.dicomdir == "auto":
                await claim_by_directories(self.index, self.root)
        self.reporter.event("inventory.judging", source=self.name)
        if self.plan.listing is not None:
            await asyncio.to_thread(claim_by_listing, self.index, self.plan.listing, self.root)
        await asyncio.to_thread(judge_contents, self.index, self.root)
        await asyncio.to_thread(reconcile, self.index)
        await asyncio.to_thread(self.index.finish_survey, number)
        tallies = await asyncio.to_thread(tally, self.index)
        return FileSurvey(tuple(tallies), headers_read=read)

    async def _walk(self, number: int) -> int:
        """Write every entry into the index; return how many there are."""
        entries = size_bytes = 0
        found = walk(os.fsencode(self.root))
        while batch := await asyncio.to_thread(_next, found, _ENTRIES_A_COMMIT):
            await asyncio.to_thread(self.index.note_entries, number, batch)
            entries += len(batch)
            size_bytes += sum(each.size_bytes for each in batch)
            self._tell("inventory.walking", entries=entries, bytes=size_bytes)
        return entries

    async def _read_named(self) -> int:
        """Read the DICOMDIRs, then what they name, and nothing else."""
        await asyncio.to_thread(self.index.leave_unread, but_directories=True)
        read = await self._read_new()
        await claim_by_directories(self.index, self.root)
        await asyncio.to_thread(self.index.leave_unread, but_directories=False)
        return read + await self._read_new()

    async def _read_new(self) -> int:
        """Read the header of every file that is new or has changed; return how many."""
        total = await asyncio.to_thread(
            self.index.one,
            "SELECT count(*), coalesce(sum(size_bytes), 0) FROM file WHERE kind IS NULL",
        )
        assert total is not None
        read, size_read, started = 0, 0, time.monotonic()
        async with aclosing(self._answers()) as answers:
            async for batch in answers:
                await asyncio.to_thread(self.index.note_headings, batch)
                read += len(batch)
                size_read += sum(max(0, answer[1]) for _, answer in batch if answer)
                elapsed_s = max(time.monotonic() - started, 0.001)
                self._tell(
                    "inventory.reading",
                    files=read,
                    files_total=total[0],
                    bytes_total=total[1],
                    files_per_s=round(read / elapsed_s),
                    bytes_per_s=round(size_read / elapsed_s),
                )
        return read

    async def _answers(self) -> AsyncGenerator[list[tuple[int, list[Any]]], None]:
        """Yield what the workers read, a batch at a time; they never wait for each other."""
        batches: asyncio.Queue[list[tuple[int, bytes]] | None] = asyncio.Queue(self.plan.workers)
        results: asyncio.Queue[list[tuple[int, list[Any]]] | None] = asyncio.Queue(2)

        async def give_out() -> None:
            after = 0
            while batch := await asyncio.to_thread(self.index.unread, after, _FILES_A_BATCH):
                await batches.put(batch)
                after = batch[-1][0]
            for _ in range(self.plan.workers):
                await batches.put(None)

        async def work() -> None:
            command = worker_command(self.root, self.limits)
            worker = HeaderWorker(command, time_max_s=self.limits.time_max_s)
            try:
                while (batch := await batches.get()) is not None:
                    async with aclosing(worker.read(batch)) as answers:
                        await results.put([answer async for answer in answers])
            finally:
                await worker.stop()

        async def work_together() -> None:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(give_out())
                    for _ in range(self.plan.workers):
                        group.create_task(work())
            finally:
                await results.put(None)

        working = asyncio.create_task(work_together())
        try:
            while (result := await results.get()) is not None:
                yield result
            await working
        finally:
            working.cancel()
            while not working.done():
                if not results.empty():
                    results.get_nowait()
                await asyncio.wait([working], timeout=0.05)
            if not working.cancelled():
                working.exception()

    def _tell(self, event: str, **fields: object) -> None:
        if time.monotonic() - self._told_s >= _TELL_EVERY_S:
            self._told_s = time.monotonic()
            self.reporter.event(event, source=self.name, **fields)


def _next(found: Iterator[Entry], count: int) -> list[Entry]:
    return list(itertools.islice(found, count))
