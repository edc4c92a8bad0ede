"""Makes copies of studies from other copies of them. No source is asked for anything.

Studies are claimed as a run claims them, so that neither two agents nor a run beside this ever work
on one study at once; killed at any point, the next `cloudmig copy` goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from cloudmig.agent.copy_choice import origin_of, plan_of, refusal_of, rows_of
from cloudmig.agent.outages import Outages
from cloudmig.agent.presence import watched
from cloudmig.agent.rounds import in_rounds, through_round
from cloudmig.agent.waiting import pause, stopped_by
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
from cloudmig.catalog.copying import CopyClaim, CopyOrder
from cloudmig.catalog.records import CopyRow, TransferRow
from cloudmig.errors import LeaseLost
from cloudmig.model.quarantine import QuarantineReason
from cloudmig.model.references import StudyRef
from cloudmig.model.states import TransferState
from cloudmig.pipeline.copying import DAMAGED, UNUSABLE, attempt_copy
from cloudmig.pipeline.parts import Parts
from cloudmig.pipeline.transfer import Ending

__all__ = ["CopySummary", "copy_studies", "copy_while_silent"]

_LOOK_AGAIN_S = 1.0  #: When some could not be claimed, or were put back.
_SILENT_AGAIN_S = 10.0  #: Between two looks at what can be copied while a source is silent.
_DAMAGED_MAX = 10_000


@dataclass(slots=True)
class CopySummary:
    """What one `cloudmig copy` did."""

    studies_copied: int = 0
    instances_stored: int = 0
    bytes_stored: int = 0
    quarantined: int = 0
    origins: Counter[str] = field(default_factory=Counter)  #: Destination -> studies.
    skipped: Counter[str] = field(default_factory=Counter)  #: Why -> studies.
    damaged: list[tuple[str, str]] = field(default_factory=list)  #: Study and destination.
    duration_s: float = 0.0
    halted: str = ""  #: Why it stopped before everything was done; empty when it did not.
    hint: str = ""


@dataclass(slots=True)
class _Copying(Work):
    order: CopyOrder = field(kw_only=True)
    studies: Sequence[tuple[str, StudyRef]] | None = None
    summary: CopySummary = field(default_factory=CopySummary)
    skipped: dict[int, str] = field(default_factory=dict)  #: Transfer -> why; not looked at again.
    tries: Counter[int] = field(default_factory=Counter)  #: Transfer -> attempts nobody stood for.
    is_left: bool = False  #: Something was put back, or somebody else is at it: look again.
    is_wanted: Callable[[TransferRow], bool] = lambda _: True


async def copy_studies(
    parts: Parts,
    order: CopyOrder,
    studies: Sequence[tuple[str, StudyRef]] | None = None,
    *,
    stop: asyncio.Event,
) -> CopySummary:
    """Make every copy that can be made, until none is left, a person stops it, or a store is down.

    Raises `CatalogError` when the catalog cannot be used and `ConfigError` when the port of the
    health page cannot be had; nothing else of ours.
    """
    settings = parts.config.agent
    started = time.monotonic()
    spare_the_collector()
    with run_lock(settings.catalog_path or settings.state_dir / "agent"):
        parts.area.spool.clean()
        run = _Copying(parts, settings.name, stop, Outages(parts), order=order, studies=studies)
        async with watched(run):
            await in_rounds(parts, stop, lambda stop: _round(run, stop))
    summary, counters = run.summary, parts.counters
    summary.instances_stored = counters.instances_stored
    summary.bytes_stored = counters.bytes_stored
    summary.skipped.update(run.skipped.values())
    summary.duration_s = time.monotonic() - started
    if run.halt is not None:
        summary.halted, summary.hint = str(run.halt), run.halt.hint
    report_progress(parts)
    return summary


async def _round(run: _Copying, stop: asyncio.Event) -> None:
    """Copy until all is done or nothing goes on; note how many had no copy to be made from."""
    run.begin_round(stop)
    await through_round(run, _work)
    if run.studies is None and (
        left := await run.parts.catalog.call(Catalog.copies_without_origin, run.order)
    ):
        run.summary.skipped["not verified"] += left


async def copy_while_silent(
    parts: Parts, owner: str, outages: Outages, stop: asyncio.Event
) -> None:
    """Make copies from verified ones of studies whose source is silent. Ends only by its errors.

    A run waits for its source; what needs no source need not wait.
    """
    # What halts this stops only this at first: else the run would end before it hears why.
    async with stopped_by(stop) as stop_copying:
        run = _Copying(parts, owner, stop_copying, outages, order=CopyOrder((), None))
        run.is_wanted = lambda row: outages.is_silent(row.source)
        while True:
            await asyncio.sleep(_LOOK_AGAIN_S)
            silent = tuple(name for name in parts.sources if outages.is_silent(name))
            if silent:
                run.order = CopyOrder(silent, None)
                await _pass(run)
                await pause(_SILENT_AGAIN_S, stop)


async def _work(run: _Copying) -> None:
    async with beside(run, progress(run.parts)):
        while not run.stop.is_set():
            run.is_left = False
            await _pass(run)
            if not run.is_left:
                return
            await pause(_LOOK_AGAIN_S, run.stop)


async def _pass(run: _Copying) -> None:
    """Look at every study once and copy those that can be, several at once."""
    parts = run.parts
    async with aclosing(rows_of(parts, run.order, run.studies)) as rows:
        lock = asyncio.Lock()
        workers = [
            asyncio.create_task(_claim_and_copy(run, rows, lock))
            for _ in range(parts.config.agent.transfers)
        ]
        await until_done_or_stopped(run, workers)


async def _claim_and_copy(
    run: _Copying, rows: AsyncIterator[TransferRow], lock: asyncio.Lock
) -> None:
    """Copy one study after the other, until this pass has seen them all."""
    parts, order = run.parts, run.order
    while not run.stop.is_set():
        async with lock:
            row = await anext(rows, None)
        if row is None:
            return
        if row.transfer_id in run.skipped or not run.is_wanted(row):
            continue
        why = refusal_of(row, order.destination)
        origin = why or origin_of(parts, row, order)
        if isinstance(origin, str):
            _skip(run, row, origin)
            continue
        wanted = None if order.destination is None else plan_of(parts, row, order.destination)
        stores = [origin.destination, *([wanted.destination] if wanted else [])]
        await run.outages.until_stores_answer(stores, run.stop)
        claim = None
        if not run.stop.is_set():
            claim = await parts.catalog.call(
                Catalog.claim_copy,
                run.owner,
                row,
                origin,
                wanted,
                lease_s=parts.config.agent.lease_s,
            )
        if claim is None:
            run.is_left = True  # Somebody else is at it, or it is not any more what it was.
            continue
        await _copy(run, claim, row, origin)


async def _copy(run: _Copying, claim: CopyClaim, row: TransferRow, origin: CopyRow) -> None:
    """Make one copy under a renewed lease and write down how that ended."""
    parts, job = run.parts, claim.job
    try:
        source = open_origin(parts, job.source, origin)
        ending = await under_lease(parts, job, attempt_copy(parts, claim, source))
        ending = _patience(run, row, ending)
        await finish(parts, job, ending)
    except LeaseLost:
        parts.reporter.event("study.lease_lost", study=job.study.study_instance_uid)
        run.is_left = True
        return
    _tell(run, row, origin, ending)
    raise_what_all_would_meet(ending)


def _patience(run: _Copying, row: TransferRow, ending: Ending) -> Ending:
    """Give up on a study that meets trouble again and again while the stores are well."""
    if ending.state is not TransferState.PLANNED or ending.cause in {DAMAGED, *UNUSABLE}:
        return ending
    if ending.error is None and not ending.cause.startswith("owed"):
        return ending
    run.is_left = True
    if not run.outages.some_store_is_down():
        run.tries[row.transfer_id] += 1
        if run.tries[row.transfer_id] >= run.parts.config.agent.attempts_max:
            _skip(run, row, "always fails")
            error = ending.error
            run.summary.halted = run.summary.halted or (
                f"a store failed again and again: {error or ending.cause}"
            )
    return ending


def _skip(run: _Copying, row: TransferRow, why: str) -> None:
    run.skipped[row.transfer_id] = why
    run.parts.reporter.event("copy.skipped", study=row.study.study_instance_uid, why=why)


def _tell(run: _Copying, row: TransferRow, origin: CopyRow, ending: Ending) -> None:
    reporter, study = run.parts.reporter, row.study.study_instance_uid
    summary, counters = run.summary, run.parts.counters
    if ending.cause in UNUSABLE:
        _skip(run, row, ending.cause)
    elif ending.cause == DAMAGED or ending.reason is QuarantineReason.VERIFICATION_FAILED:
        if len(summary.damaged) < _DAMAGED_MAX:
            summary.damaged.append((study, origin.destination))
        reporter.event("copy.difference", study=study, destination=origin.destination)
        run.is_left = True  # Perhaps there is another copy to make it from.
    elif ending.state is TransferState.QUARANTINED:
        summary.quarantined += 1
        counters.studies_quarantined += 1
        assert ending.reason is not None
        reporter.event(
            "study.quarantined", study=study, reason=ending.reason.value, cause=ending.cause
        )
    elif ending.error is not None or ending.cause.startswith("owed"):
        counters.studies_put_back += 1
        reporter.event(
            "study.put_back",
            study=study,
            cause=ending.cause,
            message=str(ending.error or ""),
        )
    else:
        counters.studies_stored += 1
        summary.studies_copied += 1
        summary.origins[origin.destination] += 1
        reporter.event(
            "study.copied",
            study=study,
            destination=run.order.destination or "",
            origin=origin.destination,
            instances=origin.instances,
        )
