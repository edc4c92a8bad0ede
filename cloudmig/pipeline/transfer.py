"""The heart: one study, from the source to every planned copy, read from top to bottom (design 5).

Killed at any point, the next attempt repeats idempotent work: receipts that were committed are not
asked for again, and what was put without a receipt is recognised by its data set digest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from functools import partial

from cloudmig.catalog import Catalog
from cloudmig.catalog.records import OpenWork
from cloudmig.errors import (
    CloudmigError,
    Disposition,
    InstanceConflict,
    LeaseLost,
    RetrieveIncomplete,
    SourceBusy,
    SourceUnavailable,
    SpoolFull,
)
from cloudmig.model.instance import ExpectedInstance
from cloudmig.model.quarantine import QuarantineReason
from cloudmig.model.states import CopyState, TransferState
from cloudmig.model.transfer import TransferJob
from cloudmig.objects import is_conflict_key
from cloudmig.pipeline import completeness, evidence, owing
from cloudmig.pipeline.attempt import Attempt, CopyInProgress
from cloudmig.pipeline.deciding import decisive
from cloudmig.pipeline.keeping import keep
from cloudmig.pipeline.parts import Parts
from cloudmig.ports import Arrival, Listing, RetrieveEvidence, RetrieveRequest, StudySource

__all__ = [
    "NO_IMAGES_RULE", "Ending", "attempt_transfer", "begin", "end", "ending_of", "pull",
]  # fmt: skip

Keep = Callable[[Attempt, Arrival], Coroutine[None, None, bool]]

_HELD = (CopyState.STORED, CopyState.VERIFIED)

#: The built-in rule that excludes a study the source lists no instance of and counts none in.
NO_IMAGES_RULE = "no images (built in)"

#: What is said of a study that lacks what came under the name of another transfer syntax.
MISLABELLED = "some came with plain pixels under the name of a compressed transfer syntax"

#: What is said of one that lacks what came cut off, and never twice alike.
CUT_ELSEWHERE = "some came cut off, each time elsewhere"

#: Instances asked for one at a time when asking for several makes the source fall over.
_ONE_BY_ONE_MAX = 500

#: The same, while nothing of the study comes at all.
_NOTHING_COMES_MAX = 20

#: Equal questions that brought nothing, one after the other, before it is asked differently.
_FRUITLESS_MAX = 2


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended, for the catalog and for the loop that claims work."""

    state: TransferState
    cause: str
    reason: QuarantineReason | None = None
    failed: bool = False  #: Counts against the study: not set when source or store were down.
    delay_s: float = 0.0
    instances_inventory: int | None = None
    error: CloudmigError | None = None  #: What the loop must know of: an outage, a refusal.

    def with_delay(self, delay_s: float) -> Ending:
        """Return the same ending, not to be tried again for a while."""
        return replace(self, delay_s=delay_s)

    def not_its_fault(self, error: CloudmigError | None = None) -> Ending:
        """Return the same ending without holding it against the study."""
        return replace(self, failed=False, error=error or self.error)


async def attempt_transfer(parts: Parts, job: TransferJob) -> Ending:
    """Try once to move the study, and say how that ended. Raises only `LeaseLost` and bugs."""
    last_try = job.failures + 1 >= parts.config.agent.attempts_max
    try:
        return await _transfer(parts, job, last_try=last_try)
    except LeaseLost:
        raise
    except CloudmigError as error:
        return ending_of(error)


def ending_of(error: CloudmigError) -> Ending:
    """Return how an attempt ended that met this error."""
    cause = type(error).__name__
    match error.disposition:
        case Disposition.RETRY:
            return Ending(TransferState.PLANNED, cause, failed=True, error=error)
        case Disposition.QUARANTINE:
            is_conflict = isinstance(error, InstanceConflict)
            reason = QuarantineReason.CONFLICT if is_conflict else QuarantineReason.ALWAYS_FAILS
            return Ending(TransferState.QUARANTINED, cause, reason, error=error)
        case Disposition.HALT:
            return Ending(TransferState.PLANNED, cause, error=error)


async def _transfer(parts: Parts, job: TransferJob, *, last_try: bool) -> Ending:
    if await owing.owe_what_nobody_takes(parts, job):
        return Ending(TransferState.PLANNED, "owed to stores that are down")
    work = await parts.catalog.call(Catalog.open_work, job)
    source = parts.sources[job.source]
    listing = await source.list_instances(job.study)
    known = len(work.expected) or _held_before(work)
    is_gone = bool(known) and listing.complete and not listing.instances
    if not is_gone:  # Else what it listed before stays on record, for the attempts to come.
        await parts.catalog.call(Catalog.record_expected, job, listing)
    attempt = await begin(parts, job, source, work, listing)
    if not listing.instances and not attempt.whole and attempt.completeness == "SET":
        return _nothing_listed(job, listing, known, last_try=last_try)
    if lacking := _made_of_less(attempt):
        await parts.catalog.call(Catalog.reopen_copies, job, lacking)
        return Ending(TransferState.PLANNED, f"listed by now and lacking: {', '.join(lacking)}")
    await owing.leave_out_what_is_down(attempt)
    if not attempt.open_copies():
        return await end(attempt)
    try:
        await _pull_everything(attempt, last_try=last_try)
    finally:
        await attempt.flush()  # What arrived before the source went away is not asked for again.
    if attempt.strays:
        await parts.catalog.call(Catalog.record_strays, job, attempt.strays)
    missing, wanted = attempt.missing(), attempt.wanted()
    unread = attempt.unread - missing.keys()
    cut_off = {uid for uid in attempt.torn.keys() - attempt.refused.keys() if attempt.lacks(uid)}
    attempt.unexpected |= cut_off - attempt.expected.keys()
    if (wanted or cut_off) and not last_try:
        count = len(wanted.keys() | cut_off)
        raise RetrieveIncomplete(f"{count} of {len(attempt.expected)} did not arrive")
    if unread and not last_try:
        raise RetrieveIncomplete(f"further contents of {len(unread)} did not arrive")
    if cut_off:
        attempt.lost = CUT_ELSEWHERE
    if wanted or cut_off or unread - attempt.too_large:
        attempt.reasons.append(QuarantineReason.MISSING_INSTANCES)
    if attempt.too_large & (missing.keys() | unread):
        attempt.reasons.append(QuarantineReason.TOO_LARGE)
    # Of a study without a list nothing is missing: what is refused is known by its UID alone.
    attempt.reasons += [why for uid, why in attempt.refused.items() if attempt.lacks(uid)]
    for copy in attempt.open_copies():
        if copy.receipts or copy.beside:
            await evidence.write_manifest(attempt, copy, missing)
    return await end(attempt)


async def begin(
    parts: Parts, job: TransferJob, source: StudySource, work: OpenWork, listing: Listing
) -> Attempt:
    """Put together what is expected and what earlier attempts have stored already."""
    copies = {}
    for plan in job.copies:
        bad = work.bad.get(plan.destination, ())
        beside = work.beside.get(plan.destination, ())
        mended = {row.receipt.location.key for row in beside}
        copies[plan.destination] = CopyInProgress(
            destination=parts.destination(plan.destination, job.source),
            storage_class=plan.storage_class,
            row=work.copies[plan.destination],
            receipts=dict(work.receipts.get(plan.destination, {})),
            beside={},
            bad={each.sop_instance_uid: each for each in bad if not is_conflict_key(each.key)},
            bad_beside={
                each.key: each
                for each in bad
                if is_conflict_key(each.key) and each.key not in mended
            },
            is_repair=bool(bad),
        )
        for row in beside:
            copies[plan.destination].note_beside(row)
    attempt = Attempt(parts, job, source, work, copies)
    attempt.expected = {each.instance.sop_instance_uid: each for each in listing.instances}
    attempt.completeness = "SET" if listing.complete else "WEAK"
    attempt.whole = listing.whole
    for copy in copies.values():
        if copy.row.manifest_revision:
            await evidence.adopt_manifest(attempt, copy)
    _expect_what_came_unlisted(attempt)
    return attempt


def _expect_what_came_unlisted(attempt: Attempt) -> None:
    """Expect what the source has sent before and does not list: its list was cut, and is so still.

    Every copy has to have it, and what else is not listed may not have come yet.
    """
    held = (*attempt.work.receipts.values(), *(copy.receipts for copy in attempt.copies.values()))
    came = {
        sop_instance_uid: ExpectedInstance(row.instance, row.sop_class_uid)
        for receipts in held
        for sop_instance_uid, row in receipts.items()
        if row.unexpected and sop_instance_uid not in attempt.expected
    }
    attempt.expected |= came
    attempt.unlisted = frozenset(came)


def _nothing_listed(job: TransferJob, listing: Listing, known: int, *, last_try: bool) -> Ending:
    """A study without instances: excluded by a named rule, unless it may have held some.

    - `known`: how many it had in an earlier attempt.
    """
    if not job.instances_claimed and not listing.notes and not known:
        if not last_try and not job.failures:
            # One empty answer is little to sign a study off on: the next of CTN's was another.
            raise RetrieveIncomplete("the source lists no instance of this study")
        return Ending(TransferState.EXCLUDED, NO_IMAGES_RULE, instances_inventory=0)
    if not last_try:
        raise RetrieveIncomplete("the source lists no instance of this study any more")
    return Ending(
        TransferState.QUARANTINED,
        "nothing listed",
        QuarantineReason.NOTHING_LISTED,
        failed=True,
        instances_inventory=known or job.instances_claimed or None,
    )


def _held_before(work: OpenWork) -> int:
    """Return how many instances the fullest copy has.

    Of a study that was done once only its copies tell: the list that it was stored by is not kept.
    """
    receipts = (len(each) for each in work.receipts.values())
    return max([*receipts, *(copy.instances or 0 for copy in work.copies.values())], default=0)


def _made_of_less(attempt: Attempt) -> list[str]:
    """Name the copies of earlier attempts that hold fewer instances than the source lists now.

    The study has grown while another copy was owed; or a kill came between their manifests and the
    word that instances are missing.
    """
    return [
        name
        for name, row in attempt.work.copies.items()
        if row.state in _HELD and (row.instances or 0) < len(attempt.expected)
    ]


async def _pull_everything(attempt: Attempt, *, last_try: bool) -> None:
    """Ask, and ask again narrower, until nothing is missing or there is nothing left to try."""
    if attempt.completeness == "WEAK":
        await completeness.two_equal_pulls(attempt, pull)
        return
    first = attempt.expected if attempt.whole else attempt.missing() | attempt.perhaps_mended()
    if not first and not attempt.whole and not attempt.unlisted:
        return
    whole = len(first) == len(attempt.expected)
    try:
        if not attempt.unlisted:
            await pull(attempt, RetrieveRequest(attempt.job.study, first, narrow=not whole))
        if attempt.unlisted or (
            attempt.unexpected and not await completeness.list_explains(attempt)
        ):
            # The listing was cut, or the study is growing: only equal pulls can tell.
            await completeness.two_equal_pulls(attempt, pull)
        await _ask_narrower(attempt, last_try=last_try)
    except SourceUnavailable as error:
        if isinstance(error, SourceBusy) or not (last_try or attempt.too_large):
            raise
        # Perhaps one instance makes the source fall over, or makes us hang up: get the others.
        await _ask_one_by_one(attempt)


async def _ask_narrower(attempt: Attempt, *, last_try: bool) -> None:
    """Ask for exactly what is missing, as long as that helps; then around it; then otherwise."""
    study, said, fruitless = attempt.job.study, RetrieveEvidence(), 0
    while (missing := attempt.wanted()) and fruitless < _FRUITLESS_MAX:
        said = await pull(attempt, RetrieveRequest(study, missing, narrow=True))
        fruitless = fruitless + 1 if len(attempt.wanted()) == len(missing) else 0
    if not missing:
        return
    if last_try:
        await _ask_one_by_one(attempt)  # A PACS may stop at the first one it cannot send.
    reached = bool(said.offered or attempt.arrived or said.mislabelled) and not said.strays
    told = said.mislabelled or (said.failed is not None and said.failed >= len(missing))
    if reached and (told or attempt.job.failures):
        # It cannot send them as it is asked. Anything else may pass, and a source that can convert
        # must not be made to: what would come is not what it holds.
        await _ask_by_syntax(attempt)


async def _ask_by_syntax(attempt: Attempt) -> None:
    """Ask in one transfer syntax at a time, for a source that cannot convert (field notes 2.11)."""
    sop_classes = sorted({each.sop_class_uid for each in attempt.wanted().values()})
    if not sop_classes:
        return
    for uid in attempt.source.alternatives(sop_classes):
        if not (missing := attempt.wanted()):
            return
        request = RetrieveRequest(attempt.job.study, missing, narrow=True, transfer_syntax_uid=uid)
        await pull(attempt, request)


async def _ask_one_by_one(attempt: Attempt) -> None:
    """Ask for each missing instance by itself. Raises `SourceUnavailable` in a real outage."""
    for number, (sop_instance_uid, each) in enumerate(attempt.wanted().items()):
        if number >= (_ONE_BY_ONE_MAX if attempt.arrived else _NOTHING_COMES_MAX):
            return
        request = RetrieveRequest(attempt.job.study, {sop_instance_uid: each}, narrow=True)
        try:
            await pull(attempt, request)
        except SourceBusy:
            raise
        except SourceUnavailable as error:
            attempt.lost = str(error)
            await attempt.source.ping()


def _settle(arrival: Arrival, storing: asyncio.Task[bool]) -> None:
    """Settle an arrival, whatever happened: a task cancelled before its first step ran nothing."""
    failed = storing.cancelled() or storing.exception() is not None
    arrival.settle(stored=not failed and storing.result())


async def pull(attempt: Attempt, request: RetrieveRequest, keep_: Keep = keep) -> RetrieveEvidence:
    """Run one retrieve; store what arrives while more arrives. Memory bounds the store tasks."""
    gone: SourceUnavailable | None = None
    async with attempt.source.retrieve(request) as retrieval:
        try:
            async with asyncio.TaskGroup() as stores:
                try:
                    async for arrival in retrieval:
                        storing = stores.create_task(keep_(attempt, arrival))
                        storing.add_done_callback(partial(_settle, arrival))
                except SourceUnavailable as error:
                    gone = error  # What arrived before is stored all the same.
        except* CloudmigError as group:
            raise decisive(group) from group
        finally:
            attempt.strays += retrieval.evidence.strays
            if retrieval.evidence.mislabelled:
                attempt.lost = MISLABELLED
            attempt.too_large |= retrieval.evidence.too_large
            attempt.unread -= request.expected.keys()
            attempt.unread |= retrieval.evidence.unread
    if retrieval.evidence.no_room:
        raise SpoolFull(
            f"{retrieval.evidence.no_room} instances found no room in memory and spool",
            hint="raise agent.spool_bytes_max or free the disk of state_dir; it is tried again",
        )
    if gone is not None:
        raise gone
    return retrieval.evidence


async def end(attempt: Attempt) -> Ending:
    """Decide from what is known now. A person's reason outweighs a debt."""
    if attempt.open_copies() or not attempt.copies:  # Else nothing of it is decided yet.
        attempt.note_what_waits()
    inventory = len(attempt.expected.keys() | attempt.unexpected) + len(attempt.nameless)
    if attempt.reasons:
        cause = ", ".join(sorted({reason.value for reason in attempt.reasons}))
        return Ending(
            TransferState.QUARANTINED,
            f"{cause}; {attempt.lost}" if attempt.lost else cause,
            attempt.reasons[0],
            failed=True,
            instances_inventory=inventory,
        )
    owed = {name: copy.owed for name, copy in attempt.copies.items() if copy.owed}
    if owed and attempt.open_copies():
        attempt.parts.counters.transfers_behind.add(attempt.job.transfer_id)
    for destination, why in owed.items():
        await attempt.parts.catalog.call(Catalog.owe_copy, attempt.job, destination, why)
    if owed:
        return Ending(
            TransferState.PLANNED, f"owed to {', '.join(owed)}", instances_inventory=inventory
        )
    return Ending(TransferState.STORED, "", instances_inventory=inventory)
