"""What every run does around its work: leases kept, loops beside it, workers that end together."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass

from cloudmig.agent.outages import Outages
from cloudmig.catalog import Catalog
from cloudmig.errors import CloudmigError, Disposition
from cloudmig.model.transfer import TransferJob
from cloudmig.pipeline.parts import Parts
from cloudmig.pipeline.transfer import Ending

__all__ = [
    "Work", "beside", "finish", "progress", "raise_what_all_would_meet", "report_progress",
    "spare_the_collector", "under_lease", "until_done_or_stopped",
]  # fmt: skip

_PROGRESS_EVERY_S = 1.0
_STOP_GRACE_S = 15.0  #: What is under way may finish this long after a person said stop.


@dataclass(slots=True)
class Work:
    """A run while it works."""

    parts: Parts
    owner: str
    stop: asyncio.Event
    outages: Outages
    halt: CloudmigError | None = None  #: Why it stops before everything is done.

    def begin_round(self, stop: asyncio.Event) -> None:
        """Forget what halted the round before, and who was down in it."""
        self.stop, self.halt, self.outages = stop, None, Outages(self.parts)


def spare_the_collector() -> None:
    """Keep the cyclic collector away from the hot path: 6 % of the agent's CPU, measured.

    What was imported stays for ever, and what an instance leaves behind has no cycles. Studies and
    associations leave some: half a megabyte a second in small studies, so every half minute or so
    everything is looked at.
    """
    gc.freeze()  # Garbage and all: collecting it first takes 65 ms.
    gc.set_threshold(20_000, 5, 5)


@contextlib.asynccontextmanager
async def beside(run: Work, *loops: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run endless loops beside the block. Their errors halt the run, bugs end it."""
    tasks = [asyncio.create_task(each) for each in loops]

    def note(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            if isinstance(error, CloudmigError):
                run.halt = run.halt or error
            run.stop.set()

    for task in tasks:
        task.add_done_callback(note)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception) and not isinstance(error, CloudmigError):
            raise error


async def until_done_or_stopped(run: Work, workers: list[asyncio.Task[None]]) -> None:
    """Wait for the workers; after a stop or a halt, for a grace only."""
    stopping: asyncio.Task[object] = asyncio.create_task(run.stop.wait())
    try:
        pending: set[asyncio.Task[object]] = set(workers)
        while pending and not run.stop.is_set():
            done, _ = await asyncio.wait(pending | {stopping}, return_when=asyncio.FIRST_COMPLETED)
            pending -= done
            for task in done - {stopping}:
                if (error := task.exception()) is not None:
                    run.stop.set()
                    if not isinstance(error, CloudmigError):
                        raise error
                    run.halt = run.halt or error
        if pending:
            _, pending = await asyncio.wait(pending, timeout=_STOP_GRACE_S)
    finally:
        for task in [*workers, stopping]:
            task.cancel()
        await asyncio.gather(*workers, stopping, return_exceptions=True)
    if run.halt is not None:
        raise run.halt


async def under_lease(
    parts: Parts, job: TransferJob, attempt: Coroutine[None, None, Ending]
) -> Ending:
    """Run an attempt while its lease is renewed. Raises `LeaseLost` when that fails."""
    settings = parts.config.agent

    async def renew() -> None:
        while True:
            await asyncio.sleep(settings.renew_s)
            await parts.catalog.call(Catalog.renew, job, settings.lease_s)

    moving = asyncio.create_task(attempt)
    renewing = asyncio.create_task(renew())
    try:
        await asyncio.wait({moving, renewing}, return_when=asyncio.FIRST_COMPLETED)
        if not moving.done():
            renewing.result()  # Raises: the lease is lost, or the catalog is.
        return await moving
    finally:
        for task in (moving, renewing):
            task.cancel()
        await asyncio.gather(moving, renewing, return_exceptions=True)


async def finish(parts: Parts, job: TransferJob, ending: Ending) -> None:
    """Write down how an attempt ended. Raises `LeaseLost` when it is not ours to say any more."""
    await parts.catalog.call(
        Catalog.finish,
        job,
        ending.state,
        cause=ending.cause,
        delay_s=ending.delay_s,
        failed=ending.failed,
        reason=ending.reason,
        instances_inventory=ending.instances_inventory,
    )


def raise_what_all_would_meet(ending: Ending) -> None:
    """Raise the error of an ending that every other study would meet, too."""
    if ending.error is not None and ending.error.disposition is Disposition.HALT:
        raise ending.error


async def progress(parts: Parts) -> None:
    """Tell the counters every second."""
    while True:
        await asyncio.sleep(_PROGRESS_EVERY_S)
        report_progress(parts)


def report_progress(parts: Parts) -> None:
    """Tell the counters once."""
    counters, area = parts.counters, parts.area
    parts.reporter.event(
        "run.progress",
        studies_stored=counters.studies_stored,
        studies_quarantined=counters.studies_quarantined,
        instances_stored=counters.instances_stored,
        bytes_stored=counters.bytes_stored,
        memory_bytes=area.memory.bytes_used,
        spool_bytes=area.spool.bytes_used,
    )
