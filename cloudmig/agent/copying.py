"""Makes copies of studies from other copies of them. No source is asked for anything.

Studies are claimed as a run claims them, so that neither two agents nor a run beside this ever work
on one study at once; killed at any point, the next `cloudmig copy` goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from cloudmig.agent.outages import Outages
from cloudmig.agent.working import (
    Work,
    beside,
    progress,
    report_progress,
    spare_the_collector,
    under_lease,
    until_done_or_stopped,
)
from cloudmig.bootstrap import open_origin
from cloudmig.catalog import Catalog, run_lock
from cloudmig.catalog.copying import CopyClaim, CopyOrder
from cloudmig.catalog.records import CopyRow, TransferRow
from cloudmig.errors import CloudmigError, Disposition, LeaseLost
from cloudmig.model.instance import ARCHIVE_CLASSES
from cloudmig.model.quarantine import QuarantineReason
from cloudmig.model.references import StudyRef
from cloudmig.model.states import TO_MAKE, CopyState, TransferState
from cloudmig.model.transfer import CopyPlan
from cloudmig.pipeline.copying import DAMAGED, UNUSABLE, attempt_copy
from cloudmig.pipeline.parts import Parts
from cloudmig.pipeline.transfer import Ending

__all__ = ["CopyForecast", "CopySummary", "copy_studies", "forecast_copies", "origin_of"]

_LOOK_AGAIN_S = 1.0  #: When some could not be claimed, or were put back.
_PAGE = 500
_DAMAGED_MAX = 10_000
_LACKING_DONE = (TransferState.STORED, TransferState.VERIFIED, TransferState.CLOSED)
#: Verdicts that say that the bytes are those of the manifest. By any other the copy may be equal in
#: its elements only, and its bytes would not hold here.
_BYTE_FOR_BYTE = frozenset({"READ_BACK", "STORE_CHECKSUM", "CLOUD"})


@dataclass(slots=True)
class CopyForecast:
    """What a `cloudmig copy` would do now."""

    studies: int = 0
    instances: int = 0
    bytes: int = 0
    planned: int = 0  #: Of the studies: the plan asks for this copy already.
    origins: Counter[str] = field(default_factory=Counter)  #: Destination -> studies.
    skipped: Counter[str] = field(default_factory=Counter)  #: Why -> studies.


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
    outages: Outages = field(kw_only=True)
    studies: Sequence[tuple[str, StudyRef]] | None = None
    summary: CopySummary = field(default_factory=CopySummary)
    skipped: dict[int, str] = field(default_factory=dict)  #: Transfer -> why; not looked at again.
    tries: Counter[int] = field(default_factory=Counter)  #: Transfer -> attempts nobody stood for.
    is_left: bool = False  #: Something was put back, or somebody else is at it: look again.


def origin_of(parts: Parts, row: TransferRow, order: CopyOrder, destination: str) -> CopyRow | str:
    """Return the copy that a study can be copied from, or why there is none."""
    verified = [
        copy
        for copy in row.copies
        if copy.state is CopyState.VERIFIED
        and copy.destination != destination
        and order.origin in {None, copy.destination}
    ]
    proven = [copy for copy in verified if copy.verdict_how in _BYTE_FOR_BYTE]
    readable = [copy for copy in proven if not _is_archived(parts, copy)]
    if readable:
        return readable[0]
    if proven:
        return "archived"
    return "not byte for byte" if verified else "not verified"


def _is_archived(parts: Parts, copy: CopyRow) -> bool:
    settings = parts.config.destinations.get(copy.destination)
    default = settings.storage_class if settings is not None else ""
    return (copy.storage_class or default) in ARCHIVE_CLASSES


def _plan_of(parts: Parts, row: TransferRow, destination: str) -> CopyPlan:
    """Return the copy as planned, or as the rule that decided about the study would plan it."""
    for copy in row.copies:
        if copy.destination == destination:
            return CopyPlan(destination, copy.storage_class)
    for rule in parts.config.rules:
        if rule.name == row.rule and destination in rule.copy_to:
            return CopyPlan(destination, rule.storage_class or "")
    return CopyPlan(destination)


def _refusal(row: TransferRow, destination: str) -> str:
    """Return why a named study gets no copy there; empty when it may."""
    held = {copy.destination: copy.state for copy in row.copies}.get(destination)
    if held is not None and held not in TO_MAKE and not _is_unfinished(row):
        return "there already"
    if row.state is TransferState.QUARANTINED:
        return "in quarantine"
    if held is None and row.state not in _LACKING_DONE:
        return "not planned"
    return ""


def _is_unfinished(row: TransferRow) -> bool:
    """Say whether every copy is made, and that could not be written down any more."""
    return row.state in {TransferState.PLANNED, TransferState.MOVING} and not any(
        copy.state in TO_MAKE for copy in row.copies
    )


async def forecast_copies(
    parts: Parts, order: CopyOrder, studies: Sequence[tuple[str, StudyRef]] | None = None
) -> CopyForecast:
    """Count what would be copied. Changes nothing, and asks neither source nor store."""
    assert order.destination is not None
    forecast = CopyForecast()
    async with aclosing(_rows(parts, order, studies)) as rows:
        async for row in rows:
            why = _refusal(row, order.destination)
            origin = why or origin_of(parts, row, order, order.destination)
            if isinstance(origin, str):
                forecast.skipped[origin] += 1
                continue
            forecast.studies += 1
            if _is_unfinished(row):
                forecast.planned += 1
                continue
            forecast.instances += origin.instances or 0
            forecast.bytes += origin.bytes or 0
            forecast.planned += any(copy.destination == order.destination for copy in row.copies)
            forecast.origins[origin.destination] += 1
    if studies is None:
        unverified = await parts.catalog.call(Catalog.copies_without_origin, order)
        if unverified:
            forecast.skipped["not verified"] += unverified
    return forecast


async def _rows(
    parts: Parts, order: CopyOrder, studies: Sequence[tuple[str, StudyRef]] | None
) -> AsyncGenerator[TransferRow, None]:
    """Yield the studies that lack the copy, or those that a person named."""
    for source, study in studies or ():
        row = await parts.catalog.call(Catalog.transfer, source, study)
        if row is not None:
            yield row
    after = 0
    while studies is None and (
        page := await parts.catalog.call(Catalog.copies_to_make, order, after=after, limit=_PAGE)
    ):
        for row in page:
            yield row
        after = page[-1].transfer_id


async def copy_studies(
    parts: Parts,
    order: CopyOrder,
    studies: Sequence[tuple[str, StudyRef]] | None = None,
    *,
    stop: asyncio.Event,
) -> CopySummary:
    """Make every copy that can be made, until none is left, a person stops it, or a store is down.

    Raises `CatalogError` when the catalog cannot be used; nothing else of ours.
    """
    settings = parts.config.agent
    started = time.monotonic()
    spare_the_collector()
    with run_lock(settings.catalog_path or settings.state_dir / "agent"):
        parts.area.spool.clean()
        run = _Copying(
            parts, settings.name, stop, order=order, studies=studies, outages=Outages(parts)
        )
        # The lock says that no process of this name lives: what it held is free again.
        await parts.catalog.call(Catalog.put_back_all, run.owner)
        try:
            await _work(run)
        except CloudmigError as error:
            run.halt = error
        await parts.catalog.call(Catalog.put_back_all, run.owner)
    if studies is None and (left := await parts.catalog.call(Catalog.copies_without_origin, order)):
        run.summary.skipped["not verified"] += left
    summary, counters = run.summary, parts.counters
    summary.instances_stored = counters.instances_stored
    summary.bytes_stored = counters.bytes_stored
    summary.skipped.update(run.skipped.values())
    summary.duration_s = time.monotonic() - started
    if run.halt is not None:
        summary.halted, summary.hint = str(run.halt), run.halt.hint
    report_progress(parts)
    return summary


async def _work(run: _Copying) -> None:
    parts = run.parts
    async with beside(run, progress(parts)):
        while not run.stop.is_set():
            run.is_left = False
            async with aclosing(_rows(parts, run.order, run.studies)) as rows:
                lock = asyncio.Lock()
                workers = [
                    asyncio.create_task(_claim_and_copy(run, rows, lock))
                    for _ in range(parts.config.agent.transfers)
                ]
                await until_done_or_stopped(run, workers)
            if not run.is_left:
                return
            await run.outages.pause(_LOOK_AGAIN_S, run.stop)


async def _claim_and_copy(
    run: _Copying, rows: AsyncIterator[TransferRow], lock: asyncio.Lock
) -> None:
    """Copy one study after the other, until this pass has seen them all."""
    parts, order = run.parts, run.order
    assert order.destination is not None
    while not run.stop.is_set():
        async with lock:
            row = await anext(rows, None)
        if row is None:
            return
        if row.transfer_id in run.skipped:
            continue
        why = _refusal(row, order.destination)
        origin = why or origin_of(parts, row, order, order.destination)
        if isinstance(origin, str):
            _skip(run, row, origin)
            continue
        await run.outages.until_stores_answer([order.destination, origin.destination], run.stop)
        claim = None
        if not run.stop.is_set():
            claim = await parts.catalog.call(
                Catalog.claim_copy,
                run.owner,
                row,
                origin,
                _plan_of(parts, row, order.destination),
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
        await parts.catalog.call(
            Catalog.finish,
            job,
            ending.state,
            cause=ending.cause,
            failed=ending.failed,
            reason=ending.reason,
            instances_inventory=ending.instances_inventory,
        )
    except LeaseLost:
        parts.reporter.event("study.lease_lost", study=job.study.study_instance_uid)
        run.is_left = True
        return
    _tell(run, row, origin, ending)
    if ending.error is not None and ending.error.disposition is Disposition.HALT:
        raise ending.error


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
            destination=run.order.destination,
            origin=origin.destination,
            instances=origin.instances,
        )
