"""What an answer of an object store means to us: one table for every client library.

damaged on the way  400 BadDigest ...       DestinationUnavailable   send it again
busy, broken, late  408 409 429 5xx, none   DestinationUnavailable   try later
not us              401 403 404 301 skew    DestinationRefused       a person must change something
not this object     413 EntityTooLarge      Unacceptable             becomes a `Refused` value
not now             InvalidObjectState      ObjectArchived           restore it, or do without
"""

from __future__ import annotations

from typing import ClassVar

from cloudmig.errors import (
    DestinationError,
    DestinationRefused,
    DestinationUnavailable,
    Disposition,
    ObjectArchived,
)

__all__ = ["ConditionFailed", "Unacceptable", "error_for"]


class ConditionFailed(Exception):  # noqa: N818 - named like its siblings in errors.py
    """A conditional PUT was refused: something has the key, or is being written there."""


class Unacceptable(DestinationError):  # noqa: N818 - named like its siblings in errors.py
    """The store will never take this object. Becomes the value `Refused` before it leaves."""

    disposition: ClassVar[Disposition] = Disposition.QUARANTINE


_DAMAGED = frozenset({"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "IncompleteBody"})
_PASSING = frozenset(
    {"RequestTimeout", "SlowDown", "OperationAborted", "ServerBusy", "Throttling"}
)  # Throttling: of STS, when a role is assumed anew.
_TOO_LARGE = frozenset({"EntityTooLarge", "RequestBodyTooLarge", "KeyTooLongError"})
_HINTS = {
    "RequestTimeTooSkewed": "the clock of this machine is wrong: set it (timedatectl, chrony)",
    "InvalidAccessKeyId": "the access key is not known there: check the credentials",
    "SignatureDoesNotMatch": "the secret key is wrong, or a proxy alters requests",
    "ExpiredToken": "the session token has expired: renew the credentials",
    "NoSuchBucket": "create the bucket, or correct the url of the destination",
    "PermanentRedirect": "the bucket lives in another region: correct region or endpoint",
    "AuthorizationHeaderMalformed": "the bucket lives in another region: correct region",
    "InvalidStorageClass": "the store does not know the storage class of the destination or rule",
    "NotImplemented": "the store lacks a feature: choose another profile, or override its entry",
}
_STATUS_HINTS = {
    301: _HINTS["PermanentRedirect"],
    401: "check the credentials",
    403: "check credentials and bucket policy: PutObject, GetObject, ListBucket are needed",
    404: _HINTS["NoSuchBucket"],
    405: _HINTS["NotImplemented"],
    501: _HINTS["NotImplemented"],
}


def error_for(status: int | None, code: str, *, doing: str) -> DestinationError:
    """Return our error for an HTTP status (None: no answer came) and the store's error code."""
    said = f"{doing}: {code or status or 'no usable answer'}"
    if code in _TOO_LARGE or status == 413:
        return Unacceptable(f"{said}; the object is too large for this store")
    if code == "InvalidObjectState":
        return ObjectArchived(said, hint="the object is archived: restore it first")
    hint = _HINTS.get(code) or _STATUS_HINTS.get(status or 0, "")
    if code in _DAMAGED:
        return DestinationUnavailable(f"{said}; the body was damaged on the way")
    if code in _PASSING or (code not in _HINTS and _may_pass(status)):
        return DestinationUnavailable(said)
    return DestinationRefused(said, hint=hint or "the store does not accept it: see its logs")


def _may_pass(status: int | None) -> bool:
    if status is None or status < 300:
        return True  # No answer, or one that was empty or cut.
    # 307: the name of a new bucket does not lead to its region yet.
    return status in {307, 408, 409, 412, 425, 429} or (
        status >= 500 and status not in _STATUS_HINTS
    )
