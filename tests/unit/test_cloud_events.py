"""What a message's body may hold: two forms of event, requests of ours, and poison."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from cloudmig.cloud.events import EventKind, EventUnreadable, ObjectEvent, read_body, read_event
from cloudmig.messages import ObjectVerdict, StudyRequest, encode

AT = dt.datetime(2026, 11, 22, 9, 0, 0, 123000, tzinfo=dt.UTC)


def notification(key: str = "v1/a.dcm", name: str = "ObjectCreated:Put", **more: Any) -> str:  # noqa: ANN401
    told = {"key": key, "size": 7, "eTag": "abc", "versionId": "v2", **more}
    record = {
        "eventSource": "aws:s3", "eventName": name, "eventTime": "2026-11-22T09:00:00.123Z",
        "s3": {"bucket": {"name": "images"}, "object": told},
    }  # fmt: skip
    return json.dumps({"Records": [record]})


def bridged(key: str = "v1/a.dcm", kind: str = "Object Created", **more: Any) -> str:  # noqa: ANN401
    told = {"key": key, "size": 7, "etag": "abc", "version-id": "v2", **more}
    return json.dumps({
        "source": "aws.s3", "detail-type": kind, "time": "2026-11-22T09:00:00Z",
        "detail": {"bucket": {"name": "images"}, "object": told},
    })  # fmt: skip


def only(text: str) -> ObjectEvent:
    [event] = read_body(text)
    assert isinstance(event, ObjectEvent)
    return event


def test_both_forms_say_the_same() -> None:
    assert only(notification()) == ObjectEvent(
        bucket="images", key="v1/a.dcm", kind=EventKind.CREATED, at=AT, version_id="v2",
        etag="abc", size_bytes=7,
    )  # fmt: skip
    assert only(bridged()).key == only(notification()).key
    assert only(bridged()).etag == only(notification()).etag
    assert only(bridged()).version_id == "v2"


@pytest.mark.parametrize("key", ["v1/a b.dcm", "v1/a+b.dcm", "v1/ü%2B.dcm", "v1/%41"])
def test_a_key_is_decoded_in_notifications_only(key: str) -> None:
    quoted = {"v1/a b.dcm": "v1/a+b.dcm", "v1/a+b.dcm": "v1/a%2Bb.dcm",
              "v1/ü%2B.dcm": "v1/%C3%BC%252B.dcm", "v1/%41": "v1/%2541"}[key]  # fmt: skip

    assert only(notification(quoted)).key == key
    assert only(bridged(key)).key == key


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ObjectCreated:CompleteMultipartUpload", EventKind.CREATED),
        ("s3:ObjectCreated:Copy", EventKind.CREATED),
        ("ObjectRemoved:Delete", EventKind.REMOVED),
        ("ObjectRemoved:DeleteMarkerCreated", EventKind.REMOVED),
        ("LifecycleExpiration:DeleteMarkerCreated", EventKind.REMOVED),
        ("LifecycleTransition", EventKind.CLASS_CHANGED),
        ("ObjectRestore:Post", EventKind.RESTORE_ASKED),
        ("ObjectRestore:Completed", EventKind.RESTORED),
        ("ObjectRestore:Delete", EventKind.RESTORE_EXPIRED),
        ("ObjectTagging:Put", EventKind.OTHER),
    ],
)
def test_a_notification_says_what_happened(name: str, kind: EventKind) -> None:
    assert only(notification(name=name)).kind is kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Object Deleted", EventKind.REMOVED),
        ("Object Restore Initiated", EventKind.RESTORE_ASKED),
        ("Object Restore Completed", EventKind.RESTORED),
        ("Object Restore Expired", EventKind.RESTORE_EXPIRED),
        ("Object Storage Class Changed", EventKind.CLASS_CHANGED),
        ("Object Tags Added", EventKind.OTHER),
    ],
)
def test_event_bridge_says_what_happened(name: str, kind: EventKind) -> None:
    assert only(bridged(kind=name)).kind is kind


def test_what_an_event_need_not_say_may_be_left_out() -> None:
    """A removal has no size and no ETag; a bucket without versions says "null"."""
    body = json.loads(bridged(kind="Object Deleted"))
    body["detail"]["object"] = {"key": "v1/a.dcm", "version-id": "null"}

    event = only(json.dumps(body))

    assert (event.version_id, event.etag, event.size_bytes) == (None, "", None)


def test_a_message_with_several_records_is_several_events() -> None:
    body = json.loads(notification())
    body["Records"] *= 3

    assert len(read_body(json.dumps(body))) == 3


def test_the_test_event_of_s3_is_nothing() -> None:
    assert read_body('{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"images"}') == []


def test_a_study_request_is_taken_and_other_messages_are_not() -> None:
    request = StudyRequest(
        bucket="images", prefix="", archive="main", study_instance_uid="1.2", why="asked",
        at="2026-11-22T09:00:00Z",
    )  # fmt: skip
    verdict = ObjectVerdict(
        bucket="images", prefix="", key="v1/x", archive="main", study_instance_uid="",
        series_instance_uid="", sop_instance_uid="", finding="", how="", at="",
    )  # fmt: skip

    assert read_body(encode(request)) == [request]
    with pytest.raises(EventUnreadable):
        read_body(encode(verdict))


@pytest.mark.parametrize(
    "body",
    [
        "", "null", "[]", "7", '"x"', "{}", "not json", '{"Records": 7}', '{"Records": [null]}',
        '{"Records": [{}]}', '{"Service":"Amazon S3","Event":"s3:Other"}', '{"source":"aws.s3"}',
        '{"schema":"cloudmig/study-request/99"}', '{"schema":["x"]}', "[" * 100_000,
        bridged().replace("aws.s3", "aws.ec2"), notification().replace("aws:s3", "aws:sns"),
        notification("%ff"), bridged().replace('"v1/a.dcm"', "7"), bridged(""),
        bridged().replace("09:00:00Z", "09:00:00"), notification().replace("{", " " * 2_000_000, 1),
        bridged().replace('"images"', "null"),
    ],
)  # fmt: skip
def test_poison_is_called_by_its_name(body: str) -> None:
    """Whatever it is: one error, so that the message goes where a person finds it."""
    with pytest.raises(EventUnreadable):
        read_body(body)


def test_an_event_can_be_read_without_its_message() -> None:
    record = json.loads(notification())["Records"][0]

    assert read_event(record) == only(notification())
    assert read_event(json.loads(bridged())) == only(bridged())
    with pytest.raises(EventUnreadable):
        read_event({"s3": 7})
