"""One study, from a verified copy to those that lack it: the source is not asked for anything.

What differs from the manifest of the copy it is made from is not passed on: that copy is marked
for repair instead. The rest is as in `cloudmig.pipeline.transfer`: put if absent, receipts, a
manifest; killed at any point, the next attempt repeats idempotent work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from cloudmig.catalog import Catalog
from cloudmig.catalog.copying import CopyClaim
from cloudmig.catalog.records import BadInstance
from cloudmig.errors import CloudmigError, LeaseLost
from cloudmig.model.instance import ExpectedInstance, Slot
from cloudmig.model.quarantine import QuarantineReason
from cloudmig.model.states import CopyState, TransferState
from cloudmig.pipeline import evidence, owing
from cloudmig.pipeline.attempt import Attempt
from cloudmig.pipeline.keeping import keep, keep_beside
from cloudmig.pipeline.parts import Parts
from cloudmig.pipeline.transfer import Ending, begin, end, ending_of, pull
from cloudmig.ports import Arrival, RetrieveRequest, StudySource

__all__ = ["DAMAGED", "UNUSABLE", "Origin", "attempt_copy"]

#: Causes of an ending: the copy it was to be made from differs, or cannot be copied.
DAMAGED = "origin differs"
UNUSABLE = {
    "archived": "the copy it could be made from lies in an archive class",
    "incomplete": "the copy it could be made from lacks what the source listed",
}
_HELD = (CopyState.STORED, CopyState.VERIFIED)


class Origin(StudySource, Protocol):
    """A copy of one study as a source."""

    @property
    def completeness(self) -> str: ...

    @property
    def provenance(self) -> Mapping[str, str]: ...

    @property
    def unlisted(self) -> frozenset[str]: ...

    @property
    def beside(self) -> Mapping[str, Sequence[str]]: ...

    @property
    def damaged(self) -> Sequence[BadInstance]: ...

    @property
    def unusable(self) -> str: ...


async def attempt_copy(parts: Parts, claim: CopyClaim, origin: Origin) -> Ending:
    """Try once to make the claimed copies, and say how that ended.

    No ending of a store that is down counts against the study. Raises only `LeaseLost` and bugs.
    """
    try:
        return await _copy(parts, claim, origin)
    except LeaseLost:
        raise
    except CloudmigError as error:
        return replace(ending_of(error), failed=False)


async def _copy(parts: Parts, claim: CopyClaim, origin: Origin) -> Ending:
    job = claim.job
    if await owing.owe_what_nobody_takes(parts, job):
        return Ending(TransferState.PLANNED, "owed to stores that are down")
    work = await parts.catalog.call(Catalog.open_work, job)
    if not job.copies:  # Every copy was made, and that could not be written down any more.
        return replace(await end(Attempt(parts, job, origin, work, {})), instances_inventory=None)
    listing = await origin.list_instances(job.study)
    attempt = await begin(parts, job, origin, work, listing)
    attempt.completeness = origin.completeness
    attempt.provenance = origin.provenance
    attempt.unlisted |= origin.unlisted
    listed = {each.instance.sop_instance_uid for each in listing.instances}
    lacks = "" if attempt.missing().keys() <= listed else "incomplete"  # Another copy had more.
    if not (origin.damaged or origin.unusable or lacks):
        await owing.leave_out_what_is_down(attempt)
        if not attempt.open_copies():
            return await end(attempt)
        try:
            if wanted := _wanted(attempt, origin):
                await pull(attempt, RetrieveRequest(job.study, wanted, narrow=True), _keep)
        finally:
            await attempt.flush()  # What is there already is not read again.
    if origin.damaged:
        return await _blame(attempt, origin)
    if unusable := origin.unusable or lacks:
        return await _leave(attempt, unusable, planned=claim.planned)
    if missing := attempt.missing():
        attempt.reasons.append(QuarantineReason.MISSING_INSTANCES)
    for copy in attempt.open_copies():
        await evidence.write_manifest(attempt, copy, missing)
    ending = await end(attempt)
    if ending.state is TransferState.STORED and not _is_done(attempt):
        ending = Ending(TransferState.PLANNED, "other copies are still to be made")
    elif ending.state is TransferState.STORED:
        ending = replace(ending, cause=f"copied from {origin.name}")
    # How many instances there are was said by the PACS; a copy says so only where it did not.
    known = claim.instances_inventory is not None
    return replace(ending, instances_inventory=None if known else len(attempt.expected))


def _wanted(attempt: Attempt, origin: Origin) -> dict[str, ExpectedInstance]:
    """Return what some open copy lacks: an instance, or a second content of one."""
    wanted = attempt.missing()
    for sop_instance_uid, digests in origin.beside.items():
        for copy in attempt.open_copies():
            if not copy.held_beside(sop_instance_uid) >= set(digests):
                wanted.setdefault(sop_instance_uid, attempt.expected[sop_instance_uid])
    return wanted


async def _keep(attempt: Attempt, arrival: Arrival) -> bool:
    """Keep an instance; what lies beside another there lies beside it here."""
    is_beside = getattr(arrival, "slot", Slot.PRIMARY) is Slot.CONFLICT
    return await (keep_beside if is_beside else keep)(attempt, arrival)


async def _blame(attempt: Attempt, origin: Origin) -> Ending:
    """Mark the copy it was to be made from: it is repaired before anything is copied from it."""
    parts, job = attempt.parts, attempt.job
    spent = await parts.catalog.call(
        Catalog.fail_origin, job, origin.name, origin.damaged, parts.now()
    )
    if spent:
        reason = QuarantineReason.VERIFICATION_FAILED
        return Ending(TransferState.QUARANTINED, f"{origin.name} differs again", reason)
    return Ending(TransferState.PLANNED, DAMAGED)


async def _leave(attempt: Attempt, why: str, *, planned: bool) -> Ending:
    """Leave a study as it was, if nothing asked for the copy before and nothing of it is made."""
    [copy, *others] = attempt.copies.values()
    if planned and not others and not copy.receipts and not copy.beside:
        name = copy.destination.name
        await attempt.parts.catalog.call(Catalog.forgo_copy, attempt.job, name, why)
        return Ending(TransferState.STORED, why)
    return Ending(TransferState.PLANNED, why)


def _is_done(attempt: Attempt) -> bool:
    """Say whether the copies that were not asked for now are made as well."""
    made = attempt.copies.keys()
    return all(row.state in _HELD for name, row in attempt.work.copies.items() if name not in made)
