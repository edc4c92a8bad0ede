"""Reads a message of the cloud side, and believes nothing in it that the catalog could not hold.

A queue takes words from whoever may write to it. What has no form that a function of ours writes
is left where it is, for the dead-letter queue; it is never guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TypeAlias

from cloudmig.cloud.instants import read_instant
from cloudmig.config import Configuration
from cloudmig.messages import (
    MessageUnreadable,
    ObjectFinding,
    ObjectVerdict,
    RestoreReport,
    StudyRequest,
    StudyVerdict,
    decode,
)
from cloudmig.model.references import is_usable_uid

__all__ = ["Addresses", "CloudWord", "checked_verdict", "read_word"]

CloudWord: TypeAlias = StudyVerdict | ObjectVerdict | RestoreReport

#: The longest text that a column and its index take, by the name of the field.
_BYTES_MAX = {
    "key": 1024, "manifest_key": 1024, "etag": 256, "version_id": 128, "finding": 64, "how": 32,
    "tier": 32, "storage_class": 64,
}  # fmt: skip
_BYTES_MAX_ELSE = 128
_SHA256 = re.compile(r"[0-9a-f]{64}")
_UIDS = ("study_instance_uid", "series_instance_uid", "sop_instance_uid")


@dataclass(frozen=True, slots=True)
class Addresses:
    """Whose object lies in which bucket: what a message says, and what we call it."""

    destinations: Mapping[tuple[str, str], str]  #: Bucket and prefix -> destination.
    sources: Mapping[str, str]  #: Archive -> source.

    @classmethod
    def of(cls, config: Configuration, destinations: tuple[str, ...]) -> Addresses:
        """Return the addresses of some destinations. Messages write a prefix with its slash."""
        return cls(
            {
                (each.bucket, each.key_prefix): name
                for name, each in config.destinations.items()
                if name in destinations
            },
            {each.archive: name for name, each in config.sources.items()},
        )

    def destination(self, word: CloudWord) -> str:
        """Return our name of the destination, empty where it is none of ours."""
        return self.destinations.get((word.bucket, word.prefix), "")

    def source(self, archive: str) -> str:
        """Return our name of the source, empty where it is none of ours."""
        return self.sources.get(archive, "")


def read_word(text: str) -> CloudWord:
    """Return what a message says. Raises `MessageUnreadable`."""
    word = decode(text)
    try:
        match word:
            case StudyVerdict():
                return checked_verdict(word)
            case ObjectVerdict():
                return _object_verdict(word)
            case RestoreReport():
                return _restore_report(word)
            case StudyRequest():
                raise MessageUnreadable("for somebody else")
    except ValueError as error:
        if isinstance(error, MessageUnreadable):
            raise
        raise MessageUnreadable("with a time or a text that is none") from error


def checked_verdict(word: StudyVerdict) -> StudyVerdict:
    """Return a verdict as the catalog takes it. Raises `MessageUnreadable` or `ValueError`."""
    _check_texts(word)
    read_instant(word.at)
    whole = (
        is_usable_uid(word.study_instance_uid)
        and _SHA256.fullmatch(word.manifest_sha256 or "0" * 64)  # Empty where none can be told.
        and 1 <= word.manifest_revision < 1 << 31
        and word.differing >= len(word.findings)
        and (word.differing == 0 or not word.agreed)
        and bool(word.findings) == (word.differing > 0)
        and all(each.finding for each in word.findings)
    )
    if not whole:
        raise MessageUnreadable("a verdict that contradicts itself")
    return replace(word, findings=tuple(_finding(each) for each in word.findings))


def _finding(word: ObjectFinding) -> ObjectFinding:
    _check_texts(word)
    return replace(word, version_id=_version(word.version_id), etag=_etag(word.etag))


def _object_verdict(word: ObjectVerdict) -> ObjectVerdict:
    _check_texts(word)
    read_instant(word.at)
    return replace(word, version_id=_version(word.version_id), etag=_etag(word.etag))


def _restore_report(word: RestoreReport) -> RestoreReport:
    _check_texts(word)
    read_instant(word.asked_at)
    if word.completed_at:
        read_instant(word.completed_at)
    return replace(word, version_id=_version(word.version_id))


def _check_texts(word: CloudWord | ObjectFinding) -> None:
    for each in fields(word):
        text = getattr(word, each.name)
        if not isinstance(text, str):
            continue
        if each.name in _UIDS and text and not is_usable_uid(text):
            raise MessageUnreadable(f"with a {each.name} that is none")
        size_bytes = len(text.encode())  # Raises `UnicodeEncodeError`, which is a `ValueError`.
        # A stranger's key may hold anything but what PostgreSQL cannot: its verdict counts.
        storable = "\0" not in text if each.name == "key" else text.isprintable()
        if size_bytes > _BYTES_MAX.get(each.name, _BYTES_MAX_ELSE) or not storable:
            raise MessageUnreadable(f"with a {each.name} that no catalog takes")


def _version(version_id: str | None) -> str | None:
    """Return the version, None where the bucket is not versioned."""
    return None if version_id in {None, "", "null"} else version_id


def _etag(etag: str) -> str:
    """Return the ETag as a store's header has it: in quotes (RFC 9110, 8.8.3)."""
    return f'"{etag.strip(chr(34))}"' if etag else ""
