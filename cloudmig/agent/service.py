"""The long-running part: claims transfers, runs several at once, keeps leases, minds outages."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from dataclasses import dataclass, field, replace

from cloudmig.agent.copy_choice import claim_from_copy
from cloudmig.agent.copying import copy_while_silent
from cloudmig.agent.outages import Outages
from cloudmig.agent.presence import listen, registered, watched
from cloudmig.agent.rounds import in_rounds, through_round
from cloudmig.agent.verdicts import follow_verdicts
from cloudmig.agent.waiting import pause
from cloudmig.agent.working import (
    Work,
    beside,
    finish,
    progress,
    raise_what_all_would_meet,
    report_progress,
    spare_the_collector,
    under_lease,
    until_done_or_stopped,
)
from cloudmig.bootstrap.copies import open_origin
from cloudmig.catalog import Catalog, run_lock
from cloudmig.catalog.records import StatusCounts
from cloudmig.errors import LeaseLost, SpoolFull, naming_source
from cloudmig.model.quarantine import QuarantineReason
from cloudmig.model.states import TransferState
from cloudmig.model.transfer import TransferJob
from cloudmig.pipeline.closure import count_excluded
from cloudmig.pipeline.copying import UNUSABLE, attempt_copy
from cloudmig.pipeline.parts import Parts
from cloudmig.pipeline.transfer import Ending, attempt_transfer
from cloudmig.telemetry import get_logger

__all__ = ["RunSummary", "run_agent"]

log = get_logger("cloudmig.agent")

_LOOK_AGAIN_S = 1.0  #: When nothing can be claimed while others still move.
_BACKOFF_MAX_S = 3600.0


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What one run did."""

    studies_stored: int
    instances_stored: int
    bytes_stored: int
    quarantined: int
    waiting: int  #: Findings that wait for a person, of this run and of those before.
    duration_s: float
    halted: str = ""  #: Why it stopped before everything was done; empty when it did not.
    hint: str = ""
    catalog_is_empty: bool = False
    undecided: int = 0  #: Studies that no plan has decided about: the run left them alone.


@dataclass(slots=True)
class _Run(Work):
    sources: list[str] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)  #: Set when the next study ends.
    moving: int = 0  #: Studies under way.

    def note_end(self) -> None:
        """Wake whoever waits for a study to end; it may have been the last."""
        ended, self.ended = self.ended, asyncio.Event()
        ended.set()


async def run_agent(parts: Parts, *, stop: asyncio.Event) -> RunSummary:
    """Move every planned study until none is left, a person stops it, or all would fail alike.

    Raises `CatalogError` when the catalog cannot be used and `ConfigError` when the port of the
    health page cannot be had; nothing else of ours.
    """
    settings = parts.config.agent
    started = time.monotonic()
    spare_the_collector()
    lock_name = settings.catalog_path or settings.state_dir / "agent"
    with run_lock(lock_name):
        parts.area.spool.clean()
        run = _Run(parts, settings.name, stop, Outages(parts), sources=list(parts.sources))
        async with watched(run):
            standing = await in_rounds(parts, stop, lambda stop: _round(run, stop))
    counters, halt = parts.counters, run.halt
    summary = RunSummary(
        studies_stored=counters.studies_stored,
        instances_stored=counters.instances_stored,
        bytes_stored=counters.bytes_stored,
        quarantined=counters.studies_quarantined,
        waiting=sum(standing.quarantine.values()),
        duration_s=time.monotonic() - started,
        halted=str(halt) if halt else "",
        hint=halt.hint if halt else "",
        catalog_is_empty=not any(standing.studies.values()),
        undecided=sum(standing.studies.values())
        - sum(sum(states.values()) for states in standing.transfers.values()),
    )
    report_progress(parts)
    parts.reporter.event(
        "run.finished",
        studies_stored=summary.studies_stored,
        instances_stored=summary.instances_stored,
        bytes_stored=summary.bytes_stored,
        studies_quarantined=summary.quarantined,
        waiting=summary.waiting,
        undecided=summary.undecided,
        duration_s=round(summary.duration_s, 3),
        halted=summary.halted,
        hint=summary.hint,
        stopped=stop.is_set() and halt is None,
    )
    return summary


async def _round(run: _Run, stop: asyncio.Event) -> StatusCounts:
    """Move until all is done or nothing goes on; return what there is then."""
    run.begin_round(stop)
    run.parts.refusals = {}
    async with registered(run):
        await through_round(run, _work)
        return await run.parts.catalog.call(Catalog.status_counts)


async def _work(run: _Run) -> None:
    parts = run.parts
    async with contextlib.AsyncExitStack() as stack:
        copying = copy_while_silent(parts, run.owner, run.outages, run.stop)
        await stack.enter_async_context(beside(run, copying))
        for source in parts.sources.values():
            with naming_source(source.name):
                await run.outages.until_source_answers(
                    source.name, source.prepare, run.stop, lambda: _is_idle(run)
                )
        if parts.listener is not None and any(not each.uses_get for each in parts.sources.values()):
            await listen(parts, stack)
        planned = await parts.catalog.call(Catalog.status_counts)
        total = sum(
            states.get(TransferState.PLANNED, 0) + states.get(TransferState.MOVING, 0)
            for states in planned.transfers.values()
        )
        counters = parts.counters  # Of the rounds before, too.
        done = counters.studies_stored + counters.studies_quarantined
        parts.reporter.event("run.started", studies_planned=done + total)
        loops = [progress(parts)]
        if parts.verdict_posts:
            loops.append(follow_verdicts(parts))
        await stack.enter_async_context(beside(run, *loops))
        workers = [
            asyncio.create_task(_claim_and_move(run)) for _ in range(parts.config.agent.transfers)
        ]
        await until_done_or_stopped(run, workers)
    if not run.stop.is_set():
        await count_excluded(parts, run.stop.is_set)


async def _is_idle(run: _Run) -> bool:
    """Say whether nothing is planned and nobody moves anything."""
    wait_s = await run.parts.catalog.call(Catalog.seconds_until_work, run.sources)
    return wait_s is None


async def _claim_and_move(run: _Run) -> None:
    """Claim the most urgent study and move it, again and again, until none is left."""
    settings = run.parts.config.agent
    while not run.stop.is_set():
        sources = await run.outages.sources_worth_asking(run.sources, run.stop)
        if not sources:
            if await _is_idle(run):
                return  # Other copies have given what a silent source did not.
            continue
        ended = run.ended
        job = await run.parts.catalog.call(
            Catalog.claim_next, run.owner, lease_s=settings.lease_s, sources=sources
        )
        if job is not None:
            run.moving += 1
            try:
                await _move(run, job)
            finally:
                run.moving -= 1
            run.note_end()
            continue
        wait_s = await run.parts.catalog.call(Catalog.seconds_until_work, run.sources)
        if wait_s is None:
            return
        run.outages.give_up_on_stores()
        if not run.moving:
            run.outages.give_up_on_refusals()
        await pause(min(max(wait_s, 0.05), _LOOK_AGAIN_S), run.stop, ended)


async def _move(run: _Run, job: TransferJob) -> None:
    """Run one attempt under a renewed lease and write down how it ended."""
    parts, log_ = run.parts, log.bind(study=job.study.study_instance_uid, attempt=job.attempt)
    try:
        ending = await under_lease(parts, job, _attempt(run, job))
        ending = _patience(run, job, ending)
        await finish(parts, job, ending)
    except LeaseLost:
        log_.warning("lease lost", event_kind="lease.lost")
        parts.reporter.event("study.lease_lost", study=job.study.study_instance_uid)
        return
    _tell(parts, job, ending)
    with naming_source(job.source):
        raise_what_all_would_meet(ending)


async def _attempt(run: _Run, job: TransferJob) -> Ending:
    """Make what is owed from a verified copy if there is one; else ask the source."""
    parts = run.parts
    if (found := await claim_from_copy(parts, job)) is not None:
        claim, origin = found
        ending = await attempt_copy(parts, claim, open_origin(parts, job.source, origin))
        if ending.error is None and ending.cause not in UNUSABLE:
            return replace(ending, instances_inventory=claim.instances_inventory)
    return await run.outages.judge(job, await attempt_transfer(parts, job))


def _patience(run: _Run, job: TransferJob, ending: Ending) -> Ending:
    """After too many failures of its own a study waits for a person; before that, for a while."""
    settings = run.parts.config.agent
    run.outages.owes_no_more(job)  # Unless it is found so once more.
    if ending.state is not TransferState.PLANNED:
        return ending
    if not ending.failed:
        if isinstance(ending.error, SpoolFull):
            return ending.with_delay(settings.backoff_s)
        delay_s = 0.0 if ending.error else run.outages.seconds_to_owe(job)
        return ending.with_delay(delay_s)
    failures = job.failures + 1
    if failures >= settings.attempts_max:
        return Ending(
            TransferState.QUARANTINED,
            ending.cause,
            QuarantineReason.ALWAYS_FAILS,
            failed=True,
            instances_inventory=ending.instances_inventory,
            error=ending.error,
        )
    backoff_s = min(settings.backoff_s * 2 ** (failures - 1), _BACKOFF_MAX_S)
    return ending.with_delay(backoff_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter


def _tell(parts: Parts, job: TransferJob, ending: Ending) -> None:
    study, counters = job.study.study_instance_uid, parts.counters
    match ending.state:
        case TransferState.STORED:
            counters.studies_stored += 1
            parts.reporter.event("study.stored", study=study, instances=ending.instances_inventory)
        case TransferState.QUARANTINED:
            counters.studies_quarantined += 1
            assert ending.reason is not None
            parts.reporter.event(
                "study.quarantined", study=study, reason=ending.reason.value, cause=ending.cause
            )
        case TransferState.EXCLUDED:
            parts.reporter.event("study.excluded", study=study, rule=ending.cause)
        case _:
            counters.studies_put_back += 1
            parts.reporter.event(
                "study.put_back",
                study=study,
                cause=ending.cause,
                message=str(ending.error or ""),
                again_in_s=round(ending.delay_s, 1),
            )
