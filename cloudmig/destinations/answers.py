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


_DAMAGED = frozenset(
    {"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "IncompleteBody", "Md5Mismatch"}
)
_PASSING = frozenset(
    {"RequestTimeout", "SlowDown", "OperationAborted", "ServerBusy", "Throttling"}
)  # Throttling: of STS, when a role is assumed anew.
_TOO_LARGE = frozenset({"EntityTooLarge", "RequestBodyTooLarge", "KeyTooLongError"})
#: Of an archive class of S3, and of the Archive tier of Azure.
_ARCHIVED = frozenset({"InvalidObjectState", "BlobArchived", "BlobBeingRehydrated"})
_MAY_NOT = (
    "check the account key, or what these credentials may do: the role Storage Blob Data"
    " Contributor, or a SAS token that may read, create, write and list"
)
_HINTS = {
    "RequestTimeTooSkewed": "the clock of this machine is wrong: set it (timedatectl, chrony)",
    "InvalidAccessKeyId": "the access key is not known there: check the credentials",
    "SignatureDoesNotMatch": "the secret key is wrong, or a proxy alters requests",
    "ExpiredToken": "the session token has expired: renew the credentials",
    "NoSuchBucket": "create the bucket, or correct the url of the destination",
    "ContainerNotFound": "create the container, or correct the url of the destination",
    "InvalidResourceName": "a container is named by lower-case letters, digits and single"
    " dashes: correct the url of the destination",
    "AuthenticationFailed": "the account key or the SAS token is wrong or has expired, or the clock"
    " of this machine is wrong",
    "InvalidAuthenticationInfo": "the token is not accepted: renew the credentials",
    "NoAuthenticationInformation": "no credentials were sent: set those of the storage account",
    "AuthorizationFailure": f"{_MAY_NOT}; and the firewall of the storage account",
    "AuthorizationPermissionMismatch": _MAY_NOT,
    "InsufficientAccountPermissions": _MAY_NOT,
    "AccountIsDisabled": "the storage account is disabled",
    "PermanentRedirect": "the bucket lives in another region: correct region or endpoint",
    "AuthorizationHeaderMalformed": "the bucket lives in another region: correct region",
    "InvalidStorageClass": "the store does not know the storage class of the destination or rule",
    "NotImplemented": "the store lacks a feature: choose another profile, or override its entry",
}
_STATUS_HINTS = {
    301: _HINTS["PermanentRedirect"],
    401: "check the credentials",
    403: "check the credentials and the policy or role that says what they may do: to put, read and"
    " list objects is needed (PutObject, GetObject, ListBucket on S3)",
    404: "create the bucket or container, or correct the url of the destination",
    405: _HINTS["NotImplemented"],
    501: _HINTS["NotImplemented"],
}


def error_for(status: int | None, code: str, *, doing: str) -> DestinationError:
    """Return our error for an HTTP status (None: no answer came) and the store's error code."""
    said = f"{doing}: {code or status or 'no usable answer'}"
    if code in _TOO_LARGE or status == 413:
        return Unacceptable(f"{said}; the object is too large for this store")
    if code in _ARCHIVED:
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
