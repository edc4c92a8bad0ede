"""Looks at an object because something may have happened to it, and writes down what was seen.

Every event leads to the same: the object is looked at as it is *now*. So events may come twice,
late and in any order. What the look says is provisional, since objects come before their manifest:
while no manifest of the study has been judged a bad object is told to the agent at once; afterwards
the study is judged again, because only its manifest knows whether the object still counts.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from cloudmig.cloud.events import read_body
from cloudmig.cloud.expectations import Expectations, finding_of
from cloudmig.cloud.instants import instant
from cloudmig.cloud.looking import UNDECIDED, Sight, look
from cloudmig.cloud.places import Place, PlaceKind, read_place
from cloudmig.cloud.verdict_queue import Outbox
from cloudmig.cloud.verdict_table import ObjectItem, VerdictTable, unsettled_since
from cloudmig.messages import ObjectVerdict, StudyRequest

__all__ = ["Desk", "examine", "study_request", "verdict_of", "verify_object", "verify_objects"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the verifying functions work with."""

    s3: Any  #: A boto3 client.
    table: VerdictTable
    verdicts: Outbox  #: To the agent.
    studies: Outbox  #: To `verify_study`.
    expected: Expectations
    now: Callable[[], dt.datetime]
    threads: int = 8  #: Objects looked at at once while a study is judged.
    page_keys: int = 1000  #: Keys asked for in one list request.


def verify_objects(desk: Desk, body: str) -> list[ObjectVerdict]:
    """Verify every object that a message's body speaks of; return the verdicts.

    Raises `EventUnreadable` for a body of no known form, and whatever the store or a queue
    raises: the message must come again then.
    """
    verdicts = []
    for event in read_body(body):
        if isinstance(event, StudyRequest):
            desk.studies.send([event])
            continue
        verdict = verify_object(desk, event.bucket, event.key)
        if verdict is not None:
            verdicts.append(verdict)
    return verdicts


def verify_object(desk: Desk, bucket: str, full_key: str) -> ObjectVerdict | None:
    """Look at one object, keep and tell what was seen. None: not ours, or a later look is held."""
    place = read_place(full_key, desk.expected.prefix)
    if place is None:
        return None
    if place.kind is PlaceKind.MANIFEST:
        desk.studies.send([study_request(desk, bucket, place, "manifest")])
        return None
    item, held = examine(desk, bucket, place)
    known = held is not None and not held.unsettled and held.shows_the_same(item)
    if held is not None and known:
        item = replace(item, unsettled="", finding=held.finding)
    elif place.kind is PlaceKind.QUARANTINE:
        item = replace(item, unsettled="")  # No manifest ever names it: its key proves it.
    if not desk.table.record(item):
        return None
    verdict = verdict_of(desk, bucket, place, item)
    # Read after the item was written: who judged the study in between is asked to do it again.
    if place.study_instance_uid and desk.table.find_study(item.pk) is not None:
        if not known:
            desk.studies.send([study_request(desk, bucket, place, "object changed")])
    elif item.finding and (not known or place.kind is PlaceKind.QUARANTINE):
        desk.verdicts.send([verdict])
    return verdict


def examine(
    desk: Desk, bucket: str, place: Place, *, read: str = ""
) -> tuple[ObjectItem, ObjectItem | None]:
    """Look at the object at a place; return what is to be kept of it, and what was held before.

    A bad look is repeated before it counts: an answer that is damaged on its way to us says
    nothing about what the store holds. Bytes that an earlier look has decided about are not read
    again, unless `read` asks for it: events come twice, and a lifecycle moves objects by the
    million, into classes that cannot be read or charge for it.
    """
    expected, full_key = desk.expected, desk.expected.prefix + place.key
    pk = place.partition_key(bucket, expected.prefix)
    held = desk.table.find(pk, place.rest)
    how_far = "head" if place.kind is PlaceKind.STRANGE else read or expected.read

    def is_known(seen: Sight) -> bool:
        return not read and held is not None and _is_about(held, seen)

    sight = look(desk.s3, bucket, full_key, read=how_far, now=desk.now, is_known=is_known)
    if held is not None and sight.is_there and not sight.how and how_far != "head":
        return _seen_again(held, sight, expected), held
    if sight.how and finding_of(place, sight, expected):
        sight = look(desk.s3, bucket, full_key, read=how_far, now=desk.now)
    return _item(pk, place, sight, finding_of(place, sight, expected)), held


def _is_about(held: ObjectItem, seen: Sight) -> bool:
    """Say whether an earlier look decided about these very bytes."""
    modified = instant(seen.modified_at) if seen.modified_at else ""
    return (
        held.how not in {"", UNDECIDED}
        and modified <= held.at
        and (held.etag, held.version_id, held.size_bytes)
        == (seen.etag, seen.version_id or "", seen.size_bytes)
    )


def _seen_again(held: ObjectItem, seen: Sight, expected: Expectations) -> ObjectItem:
    """Return what was held, with what a HEAD says of how the object is kept now."""
    finding = held.own_finding
    if finding in {"", "not encrypted", "not locked"}:
        finding = expected.shelter_of(seen.encryption, seen.kms_key_arn, seen.lock_mode)
    return replace(
        held,
        at=seen.at,
        own_finding=finding,
        finding=finding,
        storage_class=seen.storage_class,
        unsettled=unsettled_since(seen.at, held.pk, held.sk),
    )


def _item(pk: str, place: Place, sight: Sight, finding: str) -> ObjectItem:
    return ObjectItem(
        pk=pk,
        sk=place.rest,
        at=sight.at,
        own_finding=finding,
        finding=finding,
        how=sight.how,
        version_id=sight.version_id or "",
        etag=sight.etag,
        size_bytes=sight.size_bytes,
        file_sha256=sight.file_sha256,
        dataset_sha256=sight.dataset_sha256,
        storage_class=sight.storage_class,
        by_parts=sight.by_parts,
        modality=sight.header.modality if sight.header else "",
        study_year=sight.header.study_year if sight.header else "",
        unsettled=unsettled_since(sight.at, pk, place.rest),
    )


def study_request(desk: Desk, bucket: str, place: Place, why: str) -> StudyRequest:
    """Return the wish that the study of an object be judged, from now on."""
    return StudyRequest(
        bucket=bucket,
        prefix=desk.expected.prefix,
        archive=place.archive,
        study_instance_uid=place.study_instance_uid,
        why=why,
        at=instant(desk.now()),
    )


def verdict_of(desk: Desk, bucket: str, place: Place, item: ObjectItem) -> ObjectVerdict:
    """Return an item as it is told to the agent."""
    return ObjectVerdict(
        bucket=bucket,
        prefix=desk.expected.prefix,
        key=place.key,
        archive=place.archive,
        study_instance_uid=place.study_instance_uid,
        series_instance_uid=place.series_instance_uid,
        sop_instance_uid=place.sop_instance_uid,
        finding=item.finding,
        how=item.how,
        at=item.at,
        version_id=item.version_id or None,
        etag=item.etag,
        size_bytes=item.size_bytes,
        file_sha256=item.file_sha256,
        dataset_sha256=item.dataset_sha256,
        storage_class=item.storage_class,
    )
