"""Finds what lies in the bucket and in no manifest: objects that nobody asked for, a day later.

The table's index `unsettled` names the objects that no judgement has settled. Before one is called
an orphan the bucket is asked: its study may have a manifest that names it, and whose judgement was
lost; then the study is judged again instead. Runs on a schedule; stopping and repeating is safe.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace

from cloudmig.cloud.instants import instant, read_instant
from cloudmig.cloud.listing import list_objects
from cloudmig.cloud.looking import look
from cloudmig.cloud.manifest_chain import read_chain
from cloudmig.cloud.places import Place, PlaceKind, read_place
from cloudmig.cloud.verdict_table import ObjectItem, unsettled_keys
from cloudmig.cloud.verify_object import Desk, study_request, verdict_of
from cloudmig.manifest import ManifestUnreadable
from cloudmig.model.references import StudyRef
from cloudmig.objects import study_prefix

__all__ = ["OrphanSearch", "find_orphans"]

#: How far back is looked. Dead letters are kept for 14 days; nothing older can still be on its way.
DAYS_BACK = 31
_STUDIES_KEPT = 64


@dataclass(frozen=True, slots=True)
class OrphanSearch:
    """What one search did."""

    orphans: int  #: Told to the agent.
    gone: int  #: Not there any more, or told before; settled without a word.
    asked: int  #: Studies that are judged again, since a manifest names such an object.
    unknown: int  #: Left as they are: nobody can say what their study's manifests name.


def find_orphans(
    desk: Desk,
    *,
    after: dt.timedelta = dt.timedelta(hours=24),
    days_back: int = DAYS_BACK,
) -> OrphanSearch:
    """Tell the agent of every object that was seen `after` ago, and that no manifest names."""
    started = desk.now()
    orphans = gone = unknown = 0
    asked: set[str] = set()
    named: dict[
        str, frozenset[str] | None
    ] = {}  # Of the study at hand only: there may be millions.
    for item in _overdue(desk, started, after, days_back):
        bucket, place = _place_of(desk, item)
        if item.pk not in named:
            if len(named) >= _STUDIES_KEPT:
                named.clear()  # Objects of one study come close together.
            named[item.pk] = _named(desk, bucket, place)
        keys = named[item.pk]
        if keys is None:
            unknown += 1
            continue
        if place.key in keys:
            if item.pk not in asked:
                desk.studies.send([study_request(desk, bucket, place, "asked")])
                asked.add(item.pk)
            continue
        full_key = desk.expected.prefix + place.key
        told = bool(item.own_finding)
        if told or not look(desk.s3, bucket, full_key, read="head", now=desk.now).is_there:
            gone += desk.table.settle(item)
            continue
        # Told first: who is killed in between tells it twice.
        found = replace(item, finding="orphan")
        desk.verdicts.send([verdict_of(desk, bucket, place, found)])
        desk.table.settle(found)
        orphans += 1
    return OrphanSearch(orphans, gone, len(asked), unknown)


def _overdue(
    desk: Desk, started: dt.datetime, after: dt.timedelta, days_back: int
) -> Iterator[ObjectItem]:
    before = instant(started - after)
    last = read_instant(before).date()
    for day in range(days_back + 1):
        for key in unsettled_keys((last - dt.timedelta(days=day)).isoformat()):
            yield from desk.table.unsettled(key, before)


def _place_of(desk: Desk, item: ObjectItem) -> tuple[str, Place]:
    bucket, _, group = item.pk.partition("/")
    place = read_place(group + item.sk, desk.expected.prefix)
    assert place is not None, "the table is about what lies below the prefix"
    return bucket, place


def _named(desk: Desk, bucket: str, place: Place) -> frozenset[str] | None:
    """Return every key that a manifest of the object's study names, None where one is spoilt."""
    if not place.study_instance_uid:
        return frozenset()
    study = StudyRef(place.study_instance_uid)
    prefix = f"{desk.expected.prefix}{study_prefix(place.archive, study)}manifest/"
    lines = list_objects(desk.s3, bucket, prefix, page_keys=desk.page_keys)
    places = [read_place(each.key, desk.expected.prefix) for each in lines]
    revisions = {each.revision for each in places if each and each.kind is PlaceKind.MANIFEST}
    if not revisions:
        return frozenset()
    try:
        chain = read_chain(
            desk.s3,
            bucket,
            desk.expected,
            archive=place.archive,
            study=study,
            revisions=revisions,
        )
    except ManifestUnreadable:
        return None  # Of a newer version: its judgement waits for newer functions, too.
    return chain.named() if chain.is_whole else None
