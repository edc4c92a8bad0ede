"""Judges a study: does everything that its newest manifest names lie there as it says?

    newest manifest, and the chain behind it ──► findings about the manifests
    list of the study's prefix ┐
    verdicts in the table      ┴► what has no verdict about the object that lies there now
                                  is looked at right here
    compare ──► one verdict to the agent ──► the study's item ──► the objects' items settled

The order at the end matters. Whoever looks at an object meanwhile either finds the study's item and
asks for another judgement, or is found here, because an item that was looked at again cannot be
settled.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from cloudmig.cloud.events import EventUnreadable, ObjectEvent, read_body
from cloudmig.cloud.instants import instant, read_instant
from cloudmig.cloud.judging import judge
from cloudmig.cloud.places import PlaceKind, read_place, study_key
from cloudmig.cloud.verdict_table import ObjectItem
from cloudmig.cloud.verify_object import Desk
from cloudmig.errors import DestinationUnavailable
from cloudmig.messages import StudyRequest, StudyVerdict

__all__ = ["verify_studies", "verify_study"]

#: How often a study is judged anew because somebody looked at its objects meanwhile.
_JUDGEMENTS_MAX = 3
#: How often an object is settled anew because somebody saw the same in it meanwhile.
_SETTLES_MAX = 5
#: EventBridge cuts the time of an event to seconds: the end of that second is meant.
_EVENT_TIME_RESOLUTION = dt.timedelta(seconds=1)


def verify_studies(desk: Desk, body: str) -> list[StudyVerdict]:
    """Judge every study that a message's body speaks of; return the verdicts.

    Raises `EventUnreadable` for a body of no known form, `ManifestUnreadable` for a manifest of a
    newer version, and whatever the store, the table or a queue raises.
    """
    verdicts = []
    for told in read_body(body):
        request = _request_of(desk, told) if isinstance(told, ObjectEvent) else told
        if request is None:
            continue
        if request.prefix != desk.expected.prefix:
            raise EventUnreadable("a request for another prefix than this function's")
        verdict = verify_study(desk, request)
        if verdict is not None:
            verdicts.append(verdict)
    return verdicts


def _request_of(desk: Desk, event: ObjectEvent) -> StudyRequest | None:
    place = read_place(event.key, desk.expected.prefix)
    if place is None or place.kind is not PlaceKind.MANIFEST:
        return None
    return StudyRequest(
        bucket=event.bucket,
        prefix=desk.expected.prefix,
        archive=place.archive,
        study_instance_uid=place.study_instance_uid,
        why="manifest",
        at=instant(event.at + _EVENT_TIME_RESOLUTION),
    )


def verify_study(desk: Desk, request: StudyRequest) -> StudyVerdict | None:
    """Judge one study, tell the agent, and settle its objects.

    None: a later judgement has answered already, or the study never had a manifest. Raises
    `ValueError` for a request that can name no study.
    """
    pk = study_key(request.bucket, request.prefix, request.archive, request.study_instance_uid)
    asked = read_instant(request.at)
    for _ in range(_JUDGEMENTS_MAX):
        known = desk.table.find_study(pk)
        if known is not None and known.settled and read_instant(known.at) > asked:
            return None
        judged = judge(desk, request, pk, known)
        if judged is None:
            return None
        desk.verdicts.send([judged.verdict])
        if not desk.table.record_study(judged.item):
            return judged.verdict  # A later judgement is held, and tells the rest.
        if _settle(desk, judged.settled):
            desk.table.record_study(replace(judged.item, settled=True))
            return judged.verdict
    raise DestinationUnavailable("study: its objects changed during every judgement")


def _settle(desk: Desk, items: Sequence[ObjectItem]) -> bool:
    """Settle the items. False: something else was seen of one of them since it was judged."""

    def settle(item: ObjectItem) -> bool:
        for _ in range(_SETTLES_MAX):
            if desk.table.settle(item):
                return True
            later = desk.table.find(item.pk, item.sk)
            if later is None or not later.shows_the_same(item):
                return False
            item = replace(later, finding=item.finding)
        return False

    with ThreadPoolExecutor(desk.threads) as threads:
        return all(list(threads.map(settle, items)))
