"""Completeness: the set of received SOP Instance UIDs against the expected set (design 5)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from cloudmig.catalog import Catalog
from cloudmig.errors import RetrieveIncomplete
from cloudmig.model.instance import ExpectedInstance
from cloudmig.pipeline.attempt import Attempt
from cloudmig.ports import RetrieveRequest

__all__ = ["list_explains", "two_equal_pulls"]

Pull = Callable[[Attempt, RetrieveRequest], Awaitable[object]]

#: Where no listing can be had, this many pulls may pass until two in a row are equal.
_PULLS_MAX = 4


async def list_explains(attempt: Attempt) -> bool:
    """Ask for the list again; True when it names everything that arrived unexpectedly.

    A study may grow while it is pulled. A list that stays shorter than what arrives was cut.
    """
    listing = await attempt.source.list_instances(attempt.job.study)
    newly = {each.instance.sop_instance_uid: each for each in listing.instances}
    if not listing.complete or not attempt.unexpected <= newly.keys():
        return False
    await attempt.parts.catalog.call(Catalog.record_expected, attempt.job, listing)
    bad = {uid for copy in attempt.copies.values() for uid in copy.bad}
    kept = {uid: each for uid, each in attempt.expected.items() if uid in bad}
    attempt.expected = kept | newly
    attempt.unexpected.clear()
    return True


async def two_equal_pulls(attempt: Attempt, pull: Pull) -> None:
    """Pull the whole study until two pulls in a row give the same set; then that is the set.

    The copies are marked WEAK: nobody listed what they hold.
    """
    attempt.completeness = "WEAK"
    before: dict[str, str] | None = dict(attempt.arrived) if attempt.arrived else None
    for _ in range(_PULLS_MAX):
        attempt.arrived.clear()
        known = attempt.expected | _received(attempt)
        await pull(attempt, RetrieveRequest(attempt.job.study, known))
        if before is not None and attempt.arrived.keys() == before.keys() and before:
            return
        before = dict(attempt.arrived)
    if not before:
        raise RetrieveIncomplete("the source neither lists nor sends an instance of this study")
    raise RetrieveIncomplete("no two pulls of this study brought the same instances")


def _received(attempt: Attempt) -> dict[str, ExpectedInstance]:
    """Return what some pull has brought: it may be answered early the next time."""
    return {
        sop_instance_uid: ExpectedInstance(row.instance, row.sop_class_uid)
        for copy in attempt.open_copies()
        for sop_instance_uid, row in copy.receipts.items()
    }
