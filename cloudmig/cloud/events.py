"""What the body of a message in the functions' queues may hold, and what of it concerns us.

An S3 notification (Amazon S3 User Guide, "Event message structure"), an event that EventBridge
brought ("EventBridge event message structure"), or a study request of ours. An event says that an
object may have changed and no more: what it claims about the object is not believed.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import unquote_plus

from cloudmig.cloud.instants import read_instant
from cloudmig.messages import MessageUnreadable, StudyRequest, decode

__all__ = ["EventKind", "EventUnreadable", "ObjectEvent", "read_body", "read_event"]

_BODY_BYTES_MAX = 1 << 20


class EventUnreadable(ValueError):  # noqa: N818 - named for what happened, as in errors.py
    """The body is of no form we know: it belongs into the dead-letter queue."""


class EventKind(Enum):
    """What happened to the object, as far as the event says."""

    CREATED = "created"
    REMOVED = "removed"
    RESTORE_ASKED = "restore asked"
    RESTORED = "restored"
    RESTORE_EXPIRED = "restore expired"
    CLASS_CHANGED = "class changed"
    OTHER = "other"


#: The beginning of an S3 notification's event name, and EventBridge's detail type.
_KINDS = (
    ("ObjectCreated:", EventKind.CREATED),
    ("ObjectRemoved:", EventKind.REMOVED),
    ("LifecycleExpiration:", EventKind.REMOVED),
    ("ObjectRestore:Post", EventKind.RESTORE_ASKED),
    ("ObjectRestore:Completed", EventKind.RESTORED),
    ("ObjectRestore:Delete", EventKind.RESTORE_EXPIRED),
    ("LifecycleTransition", EventKind.CLASS_CHANGED),
    ("Object Created", EventKind.CREATED),
    ("Object Deleted", EventKind.REMOVED),
    ("Object Restore Initiated", EventKind.RESTORE_ASKED),
    ("Object Restore Completed", EventKind.RESTORED),
    ("Object Restore Expired", EventKind.RESTORE_EXPIRED),
    ("Object Storage Class Changed", EventKind.CLASS_CHANGED),
    ("Object Access Tier Changed", EventKind.CLASS_CHANGED),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectEvent:
    """One object of which something may have changed."""

    bucket: str
    key: str  #: In full, with the destination's prefix.
    kind: EventKind
    at: dt.datetime  #: When S3 says it happened; EventBridge cuts it to seconds.
    version_id: str | None = None
    etag: str = ""
    size_bytes: int | None = None


def read_body(text: str) -> list[ObjectEvent | StudyRequest]:
    """Return what a message's body holds; nothing for S3's test event. Raises `EventUnreadable`."""
    try:
        body = json.loads(text) if len(text) <= _BODY_BYTES_MAX else None
        if not isinstance(body, dict):
            raise EventUnreadable("no event")
        if "schema" in body:
            message = decode(text)
            if not isinstance(message, StudyRequest):
                raise EventUnreadable("a message for somebody else")
            return [message]
        if "Records" in body:
            return [_of_record(record) for record in body["Records"]]
        if body.get("Service") == "Amazon S3" and body.get("Event") == "s3:TestEvent":
            return []
        return [read_event(body)]
    except (MessageUnreadable, RecursionError) as error:
        raise EventUnreadable("no message of a version we know") from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, EventUnreadable):
            raise
        raise EventUnreadable(f"no event: {type(error).__name__}") from error


def read_event(event: Mapping[str, Any]) -> ObjectEvent:
    """Return the object of one EventBridge event or S3 notification record.

    Raises `EventUnreadable`.
    """
    try:
        return _of_record(event) if "s3" in event else _of_event_bridge(event)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, EventUnreadable):
            raise
        raise EventUnreadable(f"no event: {type(error).__name__}") from error


def _of_record(record: Mapping[str, Any]) -> ObjectEvent:
    if record["eventSource"] != "aws:s3":
        raise EventUnreadable("not from S3")
    told = record["s3"]["object"]
    # Only here keys are encoded as in a form: a blank is a plus, a plus is %2B.
    key = unquote_plus(_text(told["key"]), errors="strict")
    return _event(
        record["s3"]["bucket"]["name"], key, record["eventName"], record["eventTime"], told
    )


def _of_event_bridge(event: Mapping[str, Any]) -> ObjectEvent:
    if event["source"] != "aws.s3":
        raise EventUnreadable("not from S3")
    detail = event["detail"]
    told = detail["object"]
    return _event(
        detail["bucket"]["name"], _text(told["key"]), event["detail-type"], event["time"], told
    )


def _event(bucket: object, key: str, name: object, time: object, told: Any) -> ObjectEvent:  # noqa: ANN401
    happened = _text(name)
    # S3 speaks of "ObjectCreated:Put", others of "s3:ObjectCreated:Put".
    plain = happened.removeprefix("s3:")
    version_id = told.get("versionId") or told.get("version-id")
    size = told.get("size")
    return ObjectEvent(
        bucket=_text(bucket),
        key=key,
        kind=next((kind for start, kind in _KINDS if plain.startswith(start)), EventKind.OTHER),
        at=read_instant(_text(time)),
        version_id=version_id if version_id != "null" else None,
        etag=str(told.get("etag") or told.get("eTag") or ""),
        size_bytes=size if type(size) is int else None,
    )


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise EventUnreadable("with something that should be text")
    return value
