"""Verify every copy, write down the verdict, name what differs.

How one copy is looked at is in `cloudmig.pipeline.reading_back`; agreement is never assumed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field

from cloudmig.catalog import Catalog
from cloudmig.catalog.records import BadInstance, CopyToVerify, Detail
from cloudmig.errors import (
    CloudmigError,
    DestinationRefused,
    DestinationUnavailable,
    SourceError,
)
from cloudmig.pipeline.deciding import decisive
from cloudmig.pipeline.parts import Parts
from cloudmig.pipeline.reading_back import Look, read_copy
from cloudmig.pipeline.second_copy import StudyBeside
from cloudmig.pipeline.source_reference import SourceReference
from cloudmig.ports import Destination
from cloudmig.telemetry import Reporter

__all__ = [
    "FINDINGS_MAX", "Finding", "VerifySummary", "found", "stored_copies", "verify_copies",
    "verify_each",
]  # fmt: skip

_COPIES_AT_ONCE = 4
FINDINGS_MAX = 10_000  #: How many a summary keeps; the catalog has them all.


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference, by name."""

    source: str
    destination: str
    study_instance_uid: str
    sop_instance_uid: str  #: Empty when it is the manifest.
    finding: str  #: missing | truncated | altered | incomparable | unreadable | swapped | ...

    def __str__(self) -> str:
        what = self.sop_instance_uid or "its manifest"
        return f"{self.destination}: study {self.study_instance_uid}: {what}: {self.finding}"


@dataclass(slots=True)
class VerifySummary:
    """What one verification looked at and found."""

    copies: int = 0
    instances: int = 0
    agreed: int = 0
    failed: int = 0
    undecided: int = 0  #: Neither readable nor checksummed by the store: still unverified.
    findings: list[Finding] = field(default_factory=list)
    how: Counter[str] = field(default_factory=Counter)
    #: Instances that differ in their bytes, with no other copy to compare their elements with.
    without_reference: int = 0
    asked: int = 0  #: Instances that a source was asked for, to compare with.
    unanswered: int = 0  #: Copies left unverified because the source did not answer.
    #: Copies of which objects cannot be read, though the store answers: without a verdict, unless
    #: another object of theirs differs.
    unreadable: int = 0
    extras: int = 0  #: Objects in no manifest; only the cloud's code looks for them.


async def verify_copies(
    opened: Parts,
    *,
    part: int = 1,
    parts: int = 1,
    again: bool = False,
    sources: SourceReference | None = None,
) -> VerifySummary:
    """Verify stored copies, all or one part of them. Safe to stop and to repeat.

    With `sources` a DICOMweb copy that has no other copy beside it is compared with its source.
    Raises `DestinationError` when a store cannot be read; what was decided stays decided.
    """
    summary = VerifySummary()

    turns = _Turns()

    async def verify(copy: CopyToVerify) -> None:
        await _verify_copy(opened, copy, sources, turns, summary)

    await verify_each(opened, stored_copies(opened, part, parts, again=again), verify, summary)
    return summary


async def verify_each(
    opened: Parts,
    queue: AsyncGenerator[CopyToVerify, None],
    verify: Callable[[CopyToVerify], Awaitable[None]],
    summary: VerifySummary,
) -> None:
    """Verify what is queued, some copies at once, and tell how far it is after each.

    The first error ends it; of several at once the decisive one is raised.
    """
    lock = asyncio.Lock()

    async def work() -> None:
        while True:
            async with lock:
                copy = await anext(queue, None)
            if copy is None:
                return
            await verify(copy)
            opened.reporter.event(
                "verify.progress",
                copies=summary.copies,
                instances=summary.instances,
                failed=summary.failed,
            )

    try:
        async with aclosing(queue), asyncio.TaskGroup() as group:
            for _ in range(_COPIES_AT_ONCE):
                group.create_task(work())
    except* CloudmigError as errors:
        raise decisive(errors) from errors


async def stored_copies(
    opened: Parts, part: int, parts: int, *, again: bool
) -> AsyncGenerator[CopyToVerify, None]:
    """Yield the copies that need a verdict; with `again` those that have one, too."""
    after: int | None = None
    while page := await opened.catalog.call(
        Catalog.copies_to_verify, part=part, parts=parts, again=again, after=after
    ):
        for copy in page:
            yield copy
        after = page[-1].copy_id


def found(reporter: Reporter, copy: CopyToVerify, bad: BadInstance, why: str = "") -> Finding:
    """Tell what is wrong with a copy, and return it; `why` is what its store said of it."""
    study = copy.study.study_instance_uid
    tags = {"differences": bad.differences} if bad.differences else {}
    said = {"why": why} if why else {}
    reporter.event(
        "verify.difference",
        destination=copy.destination,
        study=study,
        instance=bad.sop_instance_uid,
        finding=bad.finding,
        **tags,
        **said,
    )
    return Finding(copy.source, copy.destination, study, bad.sop_instance_uid, bad.finding)


class _Turns:
    """Some copies are read at once, or one alone."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(_COPIES_AT_ONCE)
        self._alone = asyncio.Lock()

    @property
    def beside_others(self) -> asyncio.Semaphore:
        return self._free

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None, None]:
        """Wait until nobody reads, and let nobody begin."""
        async with self._alone, AsyncExitStack() as held:
            for _ in range(_COPIES_AT_ONCE):
                await held.enter_async_context(self._free)
            yield


async def _look(
    parts: Parts,
    copy: CopyToVerify,
    destination: Destination,
    beside: StudyBeside | None,
    turns: _Turns,
) -> Look:
    """Read a copy; where that fails, once more, one object after the other.

    So one that can never be read, on a damaged disk say, keeps no other from its verdict. Alone,
    because many that fail at once look like a store that is down, which is left alone then.
    """
    try:
        async with turns.beside_others:
            return await read_copy(destination, copy, beside)
    except (DestinationUnavailable, DestinationRefused) as error:
        parts.reporter.event(
            "verify.reading_again", destination=copy.destination, message=str(error)
        )

    async def rest() -> None:
        breakers = parts.breakers.get(copy.destination, ())
        await asyncio.sleep(max((each.seconds_until_probe for each in breakers), default=0.0))

    async with turns.alone():
        await rest()
        return await read_copy(destination, copy, beside, rest=rest)


async def _verify_copy(
    parts: Parts,
    copy: CopyToVerify,
    sources: SourceReference | None,
    turns: _Turns,
    summary: VerifySummary,
) -> None:
    destination = parts.destination(copy.destination, copy.source)
    is_web = parts.config.destinations[copy.destination].is_dicomweb
    beside = StudyBeside(parts, copy) if is_web else None
    look = await _look(parts, copy, destination, beside, turns)
    asked, is_answered = len(look.without_reference), True
    if sources is not None and asked:
        is_answered = await _ask(sources, copy, destination, look)
        summary.asked += asked * is_answered
    _tell(parts, copy, look.unreadable, summary)
    summary.unreadable += bool(look.unreadable)
    if look.unreadable and not look.bad:
        named = [bad for bad, _ in look.unreadable]
        await parts.catalog.call(Catalog.record_unreadable, copy, named, parts.now())
        summary.copies += 1
        return
    if not is_answered and len(look.bad) == asked:
        summary.copies += 1
        summary.unanswered += 1
        return
    if look.undecided and not look.bad:
        summary.copies += 1
        summary.undecided += 1
        return
    stands = await parts.catalog.call(
        Catalog.record_verdict,
        copy,
        agreed=not look.bad,
        how=look.how,
        findings=look.bad,
        at=parts.now(),
        detail=_detail(look, asked if sources is not None else 0) if is_web else {},
    )
    if stands is None:
        return  # Written meanwhile: what was seen is no more, and what is there has its turn yet.
    summary.copies += 1
    summary.without_reference += len(look.without_reference)
    summary.instances += look.instances
    summary.how[look.how] += 1
    summary.agreed += not look.bad
    summary.failed += bool(look.bad)
    _tell(parts, copy, [(bad, "") for bad in look.bad], summary)


def _tell(
    parts: Parts,
    copy: CopyToVerify,
    named: Sequence[tuple[BadInstance, str]],
    summary: VerifySummary,
) -> None:
    """Tell of what is wrong, and why, as much as the summary has room for."""
    room = max(0, FINDINGS_MAX - len(summary.findings))
    summary.findings += [found(parts.reporter, copy, bad, why) for bad, why in named[:room]]


async def _ask(
    sources: SourceReference, copy: CopyToVerify, destination: Destination, look: Look
) -> bool:
    """Compare with the source what nothing else can be compared with; False: it is silent."""
    records = list(look.without_reference)
    try:
        compared = await sources.compare(copy, destination, records)
    except SourceError:
        return False
    for record in records:
        if record.sop_instance_uid in compared:
            look.settle(record, compared[record.sop_instance_uid])
    return True


def _detail(look: Look, asked: int) -> Detail:
    """Return what the ledger keeps of a DICOMweb copy's verdict: which tier held, by whom."""
    by_source = {"compared_with_source": asked - len(look.without_reference)} if asked else {}
    return {"equal": dict(look.equal), **by_source}
