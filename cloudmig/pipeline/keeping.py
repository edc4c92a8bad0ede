"""Keep one arrived instance: every destination, variants and conflicts, quarantine."""

from __future__ import annotations

import asyncio

from cloudmig.catalog.records import BadInstance, ReceiptRow
from cloudmig.dicom.compare import Comparison
from cloudmig.errors import (
    DestinationRefused,
    DestinationUnavailable,
    InstanceConflict,
    ObjectArchived,
)
from cloudmig.model.instance import Location, Receipt, Slot, StagedInstance
from cloudmig.model.outcome import Refused, Stored, Taken
from cloudmig.model.quarantine import QuarantineReason
from cloudmig.pipeline.attempt import Attempt, CopyInProgress
from cloudmig.pipeline.comparing import Held, compare_with_held
from cloudmig.pipeline.owing import owe
from cloudmig.ports import Arrival

__all__ = ["keep", "keep_beside"]


#: Troubles with which an object is the instance of its study all the same.
_OF_THE_STUDY = {"", QuarantineReason.CONVERTED.value, QuarantineReason.TORN.value}


async def keep(attempt: Attempt, arrival: Arrival) -> bool:
    """Store an arrival everywhere it is owed; say whether every open copy holds it."""
    staged = arrival.staged
    if staged.instance is None and arrival.unexpected:
        attempt.nameless.add(staged.file_sha256)  # Nothing that is listed stands for it.
    if staged.instance is None or arrival.trouble not in _OF_THE_STUDY:
        return await _quarantine(attempt, staged, arrival.trouble)
    is_converted = arrival.trouble == QuarantineReason.CONVERTED.value
    is_torn = arrival.trouble == QuarantineReason.TORN.value
    sop_instance_uid, stored = staged.instance.sop_instance_uid, False
    async with attempt.lock(sop_instance_uid):
        if is_torn and _is_asked_again(attempt, arrival):
            attempt.arrived[sop_instance_uid] = staged.dataset_sha256
            return True  # Its sender did what it could; a failure might end the rest.
        if is_torn:
            await _tell_torn(attempt, staged)
        if not is_converted or await _is_let_pass(attempt, staged):
            stored = await _store_everywhere(attempt, staged)
    attempt.arrived[sop_instance_uid] = staged.dataset_sha256
    if arrival.unexpected:
        attempt.unexpected.add(sop_instance_uid)
        await attempt.flush()  # Its sender is told only when that is on disk.
    return stored


async def _is_let_pass(attempt: Attempt, staged: StagedInstance) -> bool:
    """Say whether a person takes what came otherwise than its source holds it.

    Until then no copy has it: the source has the original still, and may yet learn to send it.
    """
    assert staged.instance is not None
    sop_instance_uid = staged.instance.sop_instance_uid
    expected = attempt.expected.get(sop_instance_uid)
    waits = await attempt.find(
        "instance_converted",
        QuarantineReason.CONVERTED,
        staged.instance,
        held_in=list(expected.transfer_syntax_uids) if expected else [],
        came_in=staged.transfer_syntax_uid,
    )
    if waits:
        attempt.refused[sop_instance_uid] = QuarantineReason.CONVERTED
    return not waits


def _is_asked_again(attempt: Attempt, arrival: Arrival) -> bool:
    """Say whether what came cut off is left out, as it was cut on its way perhaps.

    It is missing then, or a second pull of the whole study follows. Come twice the same, it is what
    the source has; what nobody would ask for again is taken at once.
    """
    assert arrival.staged.instance is not None
    sop_instance_uid = arrival.staged.instance.sop_instance_uid
    before = attempt.torn.get(sop_instance_uid)
    attempt.torn[sop_instance_uid] = arrival.staged.dataset_sha256
    is_pulled_again = attempt.completeness == "WEAK" or not arrival.unexpected
    return before != arrival.staged.dataset_sha256 and is_pulled_again


async def _tell_torn(attempt: Attempt, staged: StagedInstance) -> None:
    """Tell a person before it is stored: once that has a receipt, nobody asks for it again."""
    await attempt.find(
        "instance_torn",
        QuarantineReason.TORN,
        staged.instance,
        dataset_sha256=staged.dataset_sha256,
        size_bytes=staged.size_bytes,
    )


async def keep_beside(attempt: Attempt, arrival: Arrival) -> bool:
    """Store what is known to be a second content of its instance beside the first.

    It is in the manifest of the copy that it comes from, so a person has seen it already.
    """
    staged = arrival.staged
    assert staged.instance is not None, "what lies beside another has its UIDs"
    async with attempt.lock(staged.instance.sop_instance_uid):
        return all([await _put_beside(attempt, copy, staged) for copy in attempt.open_copies()])


async def _put_beside(attempt: Attempt, copy: CopyInProgress, staged: StagedInstance) -> bool:
    assert staged.instance is not None
    if staged.dataset_sha256 in copy.held_beside(staged.instance.sop_instance_uid):
        return True
    try:
        outcome = await _store_beside(copy, staged)
    except (DestinationUnavailable, DestinationRefused) as error:
        owe(attempt, copy, error)
        return False
    if isinstance(outcome, Stored):
        await _note(attempt, copy, staged, outcome.receipt, Slot.CONFLICT)
        return True
    # The store holds one content per instance, as a DICOMweb store does.
    await attempt.find(
        "conflict_not_kept",
        None,
        staged.instance,
        destination=copy.destination.name,
        second=staged.dataset_sha256,
    )
    return False


async def _store_beside(copy: CopyInProgress, staged: StagedInstance) -> Stored | Refused:
    """Put a second content under its own key, over what a verdict found bad there."""
    assert staged.instance is not None
    content = f"~{staged.dataset_sha256[:16]}.dcm"
    for key, bad in copy.bad_beside.items():
        if content in key and bad.sop_instance_uid == staged.instance.sop_instance_uid:
            receipt = await copy.destination.replace(staged, _found_bad(copy, bad))
            del copy.bad_beside[key]
            return Stored(receipt, fresh=True)
    outcome = await copy.destination.store(
        staged, slot=Slot.CONFLICT, storage_class=copy.storage_class
    )
    assert not isinstance(outcome, Taken), "a conflict's key holds its own digest"
    return outcome


def _found_bad(copy: CopyInProgress, bad: BadInstance) -> Receipt:
    return Receipt(Location(bad.key, bad.version_id), 0, "", "", bad.etag, copy.storage_class)


async def _store_everywhere(attempt: Attempt, staged: StagedInstance) -> bool:
    """Return True when every open copy holds this content, here or beside the first."""
    copies = attempt.open_copies()
    if len(copies) == 1:
        results = [await _store(attempt, copies[0], staged)]
    else:
        results = await asyncio.gather(*(_store(attempt, copy, staged) for copy in copies))
    return bool(results) and all(results)


async def _store(attempt: Attempt, copy: CopyInProgress, staged: StagedInstance) -> bool:
    assert staged.instance is not None
    row = copy.receipts.get(staged.instance.sop_instance_uid)
    if row is not None and row.receipt.dataset_sha256 == staged.dataset_sha256:
        return True  # Sent again; equal data set digest is idempotent.
    try:
        if row is not None:
            return await _decide(attempt, copy, staged, row.receipt)
        return await _put(attempt, copy, staged)
    except (DestinationUnavailable, DestinationRefused) as error:
        owe(attempt, copy, error)
        return False


async def _put(attempt: Attempt, copy: CopyInProgress, staged: StagedInstance) -> bool:
    """Put what the copy has no receipt for, over what a verdict found bad if need be."""
    assert staged.instance is not None
    if (bad := copy.bad.get(staged.instance.sop_instance_uid)) is not None:
        if staged.dataset_sha256 in copy.held_beside(staged.instance.sop_instance_uid):
            return True  # It lies beside; what is bad is the other content.
        try:
            receipt = await copy.destination.replace(staged, _found_bad(copy, bad))
        except InstanceConflict as conflict:
            await _recognise(attempt, copy, staged, conflict)
        else:
            await _note(attempt, copy, staged, receipt)
        return True
    match await copy.destination.store(staged, storage_class=copy.storage_class):
        case Stored(receipt):
            await _note(attempt, copy, staged, receipt)
            return True
        case Taken(held):
            return await _decide(attempt, copy, staged, held)
        case Refused(reason):
            why = QuarantineReason.REFUSED_BY_DESTINATION
            attempt.refused[staged.instance.sop_instance_uid] = why
            await attempt.find(
                "instance_refused",
                why,
                staged.instance,
                destination=copy.destination.name,
                why=reason,
            )
            return False


async def _recognise(
    attempt: Attempt, copy: CopyInProgress, staged: StagedInstance, conflict: InstanceConflict
) -> None:
    """Note what a store holds instead and cannot replace, if it is ours in another writing.

    Verification had nothing to compare it with; now the source sent it once more. Anything else
    stays there until a person deletes it.
    """
    assert staged.instance is not None
    held = await copy.destination.find(Location(copy.bad[staged.instance.sop_instance_uid].key))
    if held is None:
        raise DestinationUnavailable("replace: what was in the way is gone") from conflict
    compared = await _compare(attempt, copy, staged, held)
    comparison = compared.comparison
    await attempt.find(
        "variant_found" if comparison.equal else "conflict_found",
        None,  # The error quarantines the study, each time until the store holds ours.
        staged.instance,
        destination=copy.destination.name,
        first=held.dataset_sha256,
        second=staged.dataset_sha256,
        differences=list(comparison.differences),
        undecided=comparison.undecided,
    )
    if not comparison.equal:
        raise conflict
    await _note(attempt, copy, staged, held, transfer_syntax_uid=compared.transfer_syntax_uid)


async def _note(
    attempt: Attempt,
    copy: CopyInProgress,
    staged: StagedInstance,
    receipt: Receipt,
    slot: Slot = Slot.PRIMARY,
    *,
    transfer_syntax_uid: str = "",
) -> None:
    """Note a receipt, of what has arrived unless it lies there in another transfer syntax."""
    assert staged.instance is not None
    row = ReceiptRow(
        destination=copy.destination.name,
        instance=staged.instance,
        sop_class_uid=staged.sop_class_uid,
        transfer_syntax_uid=transfer_syntax_uid or staged.transfer_syntax_uid,
        slot=slot,
        receipt=receipt,
        unexpected=attempt.is_unexpected(staged.instance.sop_instance_uid),
        stored_at=attempt.parts.now().isoformat(timespec="seconds"),
    )
    if slot is Slot.PRIMARY:
        attempt.count(staged)
        copy.receipts[staged.instance.sop_instance_uid] = row
    else:
        copy.note_beside(row)
    await attempt.add_receipt(row)


async def _decide(
    attempt: Attempt, copy: CopyInProgress, staged: StagedInstance, held: Receipt
) -> bool:
    """Same SOP Instance UID, other bytes: a variant keeps the first, a conflict keeps both."""
    assert staged.instance is not None
    try:
        compared = await _compare(attempt, copy, staged, held)
    except ObjectArchived:
        compared = Held(Comparison(equal=False, undecided="the first content is archived"), "")
    comparison, coded_in = compared.comparison, compared.transfer_syntax_uid
    if comparison.equal:
        await attempt.find(
            "variant_found", None, staged.instance, dataset_sha256=staged.dataset_sha256
        )
        if staged.instance.sop_instance_uid not in copy.receipts:
            await _note(attempt, copy, staged, held, transfer_syntax_uid=coded_in)
        return True
    outcome = await _store_beside(copy, staged)
    waits = await attempt.find(
        "conflict_found",
        QuarantineReason.CONFLICT,
        staged.instance,
        destination=copy.destination.name,
        first=held.dataset_sha256,
        second=staged.dataset_sha256,
        differences=list(comparison.differences),
        undecided=comparison.undecided,
    )
    if isinstance(outcome, Stored):
        await _note(attempt, copy, staged, outcome.receipt, Slot.CONFLICT)
    # Else the store holds one content per instance: the second one is listed, and not kept here.
    if staged.instance.sop_instance_uid not in copy.receipts:
        if waits and not isinstance(outcome, Stored):
            # Nobody knows whose content that is: it is no copy until a person has said so.
            attempt.refused[staged.instance.sop_instance_uid] = QuarantineReason.CONFLICT
            return False
        # The first content was put by an attempt that did not live to write it down.
        await _note(attempt, copy, staged, held, transfer_syntax_uid=coded_in)
    return isinstance(outcome, Stored)


async def _compare(
    attempt: Attempt, copy: CopyInProgress, staged: StagedInstance, held: Receipt
) -> Held:
    spool = attempt.parts.area.spool
    async with attempt.parts.comparisons:
        return await compare_with_held(spool, copy.destination, held.location, staged)


async def _quarantine(attempt: Attempt, staged: StagedInstance, trouble: str) -> bool:
    """Keep what may not become a member of the study under its digest, for a person."""
    reason = QuarantineReason(trouble or QuarantineReason.UNUSABLE_UID.value)
    is_kept, is_owed = False, False
    for copy in attempt.open_copies():
        try:
            outcome = await copy.destination.store(staged, slot=Slot.QUARANTINE)
        except (DestinationUnavailable, DestinationRefused) as error:
            owe(attempt, copy, error)
            is_owed = True
            continue
        assert not isinstance(outcome, Taken), "a quarantine key holds its own digest"
        is_kept = is_kept or isinstance(outcome, Stored)  # A DICOMweb store takes no such thing.
    if not is_kept and not attempt.open_copies():
        return False  # No copy of the study can be finished without it; it comes again.
    # Also where one owes it: that copy may be made from another, and no manifest names this.
    await attempt.find(
        "object_quarantined",
        reason,
        staged.instance,
        file_sha256=staged.file_sha256,
        size_bytes=staged.size_bytes,
    )
    return is_kept and not is_owed
