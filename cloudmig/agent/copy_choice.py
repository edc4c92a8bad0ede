"""Which studies get a copy from another copy, from which one, and why others get none."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from cloudmig.catalog import Catalog
from cloudmig.catalog.copying import CopyClaim, CopyOrder
from cloudmig.catalog.records import CopyRow, TransferRow
from cloudmig.model.instance import ARCHIVE_CLASSES
from cloudmig.model.references import StudyRef
from cloudmig.model.states import DONE, TO_MAKE, CopyState, TransferState
from cloudmig.model.transfer import CopyPlan, TransferJob
from cloudmig.pipeline.parts import Parts

__all__ = [
    "CopyForecast", "claim_from_copy", "forecast_copies", "origin_of", "plan_of", "refusal_of",
    "rows_of",
]  # fmt: skip

_PAGE = 500
_UNMADE = (CopyState.PLANNED, CopyState.FAILED)
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


def origin_of(parts: Parts, row: TransferRow, order: CopyOrder) -> CopyRow | str:
    """Return the copy that a study can be copied from, or why there is none."""
    verified = [
        copy
        for copy in row.copies
        if copy.state is CopyState.VERIFIED
        and copy.destination != order.destination
        and order.origin in {None, copy.destination}
    ]
    # A home that was given up or has another name now: what lies there cannot be read.
    there = [copy for copy in verified if copy.destination in parts.config.destinations]
    proven = [copy for copy in there if copy.verdict_how in _BYTE_FOR_BYTE]
    readable = [copy for copy in proven if not _is_archived(parts, copy)]
    if readable:
        return readable[0]
    if proven:
        return "archived"
    if there:
        return "not byte for byte"
    return "not configured" if verified else "not verified"


async def claim_from_copy(parts: Parts, job: TransferJob) -> tuple[CopyClaim, CopyRow] | None:
    """Return the verified copy that a claimed job can be done from, where all it lacks is owed.

    Every other copy was made then, and the source has given what it has (design section 5).
    """
    if job.attempt == 1:
        return None  # Nothing is made yet.
    row = await parts.catalog.call(Catalog.transfer, job.source, job.study)
    assert row is not None, "what is claimed is there"
    if any(copy.state in _UNMADE for copy in row.copies):
        return None
    origin = origin_of(parts, row, CopyOrder((job.source,), None))
    if isinstance(origin, str):
        return None
    if any(each.is_open for each in parts.breakers.get(origin.destination, ())):
        return None
    return CopyClaim(job, planned=False, instances_inventory=row.instances_inventory), origin


def _is_archived(parts: Parts, copy: CopyRow) -> bool:
    settings = parts.config.destinations.get(copy.destination)
    default = settings.storage_class if settings is not None else ""
    return (copy.storage_class or default) in ARCHIVE_CLASSES


def plan_of(parts: Parts, row: TransferRow, destination: str) -> CopyPlan:
    """Return the copy as planned, or as the rule that decided about the study would plan it."""
    for copy in row.copies:
        if copy.destination == destination:
            return CopyPlan(destination, copy.storage_class)
    for rule in parts.config.rules:
        if rule.name == row.rule and destination in rule.copy_to:
            return CopyPlan(destination, rule.storage_class or "")
    return CopyPlan(destination)


def refusal_of(row: TransferRow, destination: str | None) -> str:
    """Return why a named study gets no copy there; empty when it may."""
    if destination is None:
        return ""
    held = {copy.destination: copy.state for copy in row.copies}.get(destination)
    if held is not None and held not in TO_MAKE and not _is_unfinished(row):
        return "there already"
    if row.state is TransferState.QUARANTINED:
        return "in quarantine"
    if held is None and row.state not in DONE:
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
    async with aclosing(rows_of(parts, order, studies)) as rows:
        async for row in rows:
            why = refusal_of(row, order.destination)
            origin = why or origin_of(parts, row, order)
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


async def rows_of(
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
