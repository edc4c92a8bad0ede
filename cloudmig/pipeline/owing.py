"""What is owed to a store that is down is not pulled: nobody could take it (design 5).

A study that has its other copies waits for one store alone. As long as that is left alone, the
source is not even asked for a list; when its pause is over, one small question finds out whether
it is back. Only then the source is asked for the study again.
"""

from __future__ import annotations

from cloudmig.catalog import Catalog
from cloudmig.errors import DestinationRefused, DestinationUnavailable
from cloudmig.model.instance import Location
from cloudmig.model.references import is_usable_uid
from cloudmig.model.transfer import TransferJob
from cloudmig.objects import instance_key
from cloudmig.pipeline.attempt import Attempt, CopyInProgress
from cloudmig.pipeline.parts import Parts

__all__ = ["leave_out_what_is_down", "owe", "owe_what_nobody_takes"]


async def owe_what_nobody_takes(parts: Parts, job: TransferJob) -> bool:
    """Owe every copy of a job if all its stores are left alone just now; say whether they are."""
    names = [each.destination for each in job.copies]
    if not names or not all(_is_left_alone(parts, each) for each in names):
        return False
    for name in names:
        await parts.catalog.call(Catalog.owe_copy, job, name, f"{name} is down and left alone")
    return True


async def leave_out_what_is_down(attempt: Attempt) -> None:
    """Ask each store that was down for one object, and owe the copies of those that still are."""
    location = _some_location(attempt)
    refusals = attempt.parts.refusals or {}
    for name, copy in attempt.copies.items():
        if name in refusals:
            copy.owed = str(refusals[name])
            continue
        breakers = attempt.parts.breakers.get(name, ())
        if location is None or not any(each.is_open for each in breakers):
            continue
        try:
            await copy.destination.find(location)
        except (DestinationUnavailable, DestinationRefused) as error:
            owe(attempt, copy, error)


def owe(
    attempt: Attempt, copy: CopyInProgress, error: DestinationUnavailable | DestinationRefused
) -> None:
    """Make a copy later: nobody else waits for a store that is down (design 5), or refuses us.

    Raises the error where that leaves no other store to fill, or nobody waits for the rest.
    """
    if isinstance(error, DestinationRefused):
        _leave_to_a_person(attempt, copy, error)
    else:
        copy.owed = copy.owed or str(error)


def _leave_to_a_person(attempt: Attempt, copy: CopyInProgress, error: DestinationRefused) -> None:
    """Owe a copy to a store that refuses us, for as long as there is another one to fill.

    Raises the error where there is none, or nobody waits for the rest.
    """
    refusals = attempt.parts.refusals
    if refusals is None:
        raise error
    refusals.setdefault(copy.destination.name, error)
    if len(refusals) >= len(attempt.parts.config.destinations):
        raise error
    copy.owed = copy.owed or str(error)


def _is_left_alone(parts: Parts, name: str) -> bool:
    if name in (parts.refusals or {}):
        return True
    breakers = parts.breakers.get(name, ())
    return any(each.is_open and each.seconds_until_probe > 0 for each in breakers)


def _some_location(attempt: Attempt) -> Location | None:
    """Return where one of the instances would be; None where no UIDs can be part of a key."""
    archive = attempt.parts.config.sources[attempt.job.source].archive
    for each in attempt.expected.values():
        ref = each.instance
        uids = (ref.study_instance_uid, ref.series_instance_uid, ref.sop_instance_uid)
        if all(map(is_usable_uid, uids)):
            return Location(instance_key(archive, ref))
    return None
