"""JSON between agent and functions, versioned. Shared with the functions: standard library only.

A message says its kind and version in `schema`. A reader that meets one it does not know raises
`MessageUnreadable`: the message then waits in the dead-letter queue for a newer reader, and is
never guessed at.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import ClassVar, TypeAlias, get_args

__all__ = [
    "FINDINGS_MAX", "Message", "MessageUnreadable", "ObjectFinding", "ObjectVerdict",
    "RestoreReport", "StudyRequest", "StudyVerdict", "decode", "encode",
]  # fmt: skip

#: Findings named in one message: a queue takes 256 KiB, a finding is below 400 bytes.
FINDINGS_MAX = 400
_BYTES_MAX = 256 * 1024


class MessageUnreadable(ValueError):  # noqa: N818 - named for what happened, as in errors.py
    """The text is no message of a version we know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectFinding:
    """What is wrong with one object, by name."""

    finding: str  #: missing | truncated | altered | swapped | wrong class | stranger | orphan | ...
    key: str  #: Relative to the destination's prefix, as in manifests.
    sop_instance_uid: str = ""  #: Empty where the key names no instance.
    version_id: str | None = None
    etag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectVerdict:
    """What a look at one object said. Provisional until a manifest names the object."""

    SCHEMA: ClassVar[str] = "cloudmig/object-verdict/1"

    bucket: str
    prefix: str  #: What stands before `v1/` in the bucket: empty, or with a slash at its end.
    key: str  #: Relative to the prefix.
    archive: str
    study_instance_uid: str  #: From the key; empty below `quarantine/`.
    series_instance_uid: str
    sop_instance_uid: str
    finding: str  #: Empty: the object is what its key and its metadata say.
    how: str  #: STREAMED: every byte read. STORE_CHECKSUM: by what the store computed itself.
    at: str  #: ISO 8601, UTC: when the look began. Later looks win.
    version_id: str | None = None
    etag: str = ""
    size_bytes: int = 0
    file_sha256: str = ""  #: Hex; of the bytes read, or the store's own checksum.
    dataset_sha256: str = ""  #: Hex; of the bytes read, or metadata behind an equal file digest.
    storage_class: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRequest:
    """A wish that a study be looked at again, since something about it may have changed."""

    SCHEMA: ClassVar[str] = "cloudmig/study-request/1"

    bucket: str
    prefix: str
    archive: str
    study_instance_uid: str
    why: str  #: manifest | object changed | inventory differs | asked
    at: str  #: A verdict from a later look has answered it already.


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyVerdict:
    """What became of all objects of one manifest revision: the cloud's word on a copy."""

    SCHEMA: ClassVar[str] = "cloudmig/study-verdict/1"

    bucket: str
    prefix: str
    archive: str
    study_instance_uid: str
    manifest_key: str  #: Relative to the prefix.
    manifest_sha256: str  #: Hex, of the gzipped bytes.
    manifest_revision: int
    agreed: bool
    instances: int  #: Records in the manifest.
    differing: int  #: Findings there are; `findings` names `FINDINGS_MAX` of them at most.
    how: str  #: What was weakest: STORE_CHECKSUM or STREAMED.
    at: str
    findings: Sequence[ObjectFinding] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreReport:
    """What a restore from an archive class took, against what its tier promises."""

    SCHEMA: ClassVar[str] = "cloudmig/restore/1"

    bucket: str
    prefix: str
    key: str
    storage_class: str
    tier: str  #: Expedited | Standard | Bulk
    asked_at: str
    completed_at: str  #: Empty while it is asked only.
    promised_s: float
    took_s: float | None = None
    version_id: str | None = None


Message: TypeAlias = ObjectVerdict | StudyRequest | StudyVerdict | RestoreReport

_KINDS: dict[str, type[Message]] = {kind.SCHEMA: kind for kind in get_args(Message)}


def encode(message: Message) -> str:
    """Return the JSON of a message, the same for equal messages."""
    content = {"schema": message.SCHEMA} | asdict(message)
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"), sort_keys=True)
    assert len(text) <= _BYTES_MAX, "a message fits into a queue"
    return text


def decode(text: str) -> Message:
    """Return the message in a JSON text. Raises `MessageUnreadable`."""
    try:
        content = json.loads(text) if len(text) <= _BYTES_MAX else None
        if not isinstance(content, dict):
            raise MessageUnreadable("no message")
        kind = _KINDS.get(content.pop("schema", None))
        if kind is None:
            raise MessageUnreadable("of a kind or version this cloudmig does not know")
        if "findings" in content:
            content["findings"] = tuple(ObjectFinding(**one) for one in content["findings"])
        message = kind(**content)
    except (ValueError, TypeError, RecursionError) as error:
        if isinstance(error, MessageUnreadable):
            raise
        raise MessageUnreadable(f"no message: {type(error).__name__}") from error
    _check(message)
    return message


#: What a field may hold, by the annotation it carries.
_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "str | None": (str, type(None)),
    "int": (int,),
    "bool": (bool,),
    "float": (int, float),
    "float | None": (int, float, type(None)),
    "Sequence[ObjectFinding]": (tuple,),
}


def _check(message: Message | ObjectFinding) -> None:
    for each in fields(message):
        value = getattr(message, each.name)
        # bool is an int for Python, and would be a size for us.
        if type(value) not in _TYPES[str(each.type)]:
            raise MessageUnreadable(f"with a {each.name} that is none")
        if isinstance(value, tuple):
            for one in value:
                _check(one)
