"""From obstore's errors to ours. It tells status and code in its message only."""

from __future__ import annotations

import errno
import re

from obstore import exceptions as theirs

from cloudmig.destinations.answers import error_for
from cloudmig.errors import (
    CloudmigError,
    ConfigError,
    DestinationRefused,
    DestinationUnavailable,
)

__all__ = ["MEANINGS", "OBSTORE_ERRORS", "lacks_bucket", "translate"]

#: Everything obstore raises for a reason outside this process. It maps some to built-in errors.
OBSTORE_ERRORS = (theirs.BaseError, OSError, NotImplementedError, ValueError)

#: What each means where the answer itself says nothing more. A test fails when obstore grows one.
MEANINGS: dict[type[BaseException], type[CloudmigError]] = {
    theirs.GenericError: DestinationUnavailable,
    theirs.JoinError: DestinationUnavailable,
    theirs.AlreadyExistsError: DestinationUnavailable,  # Where nobody asked for put-if-absent.
    theirs.PreconditionError: DestinationUnavailable,
    theirs.NotModifiedError: DestinationUnavailable,
    theirs.InvalidPathError: DestinationRefused,
    theirs.NotSupportedError: DestinationRefused,
    theirs.PermissionDeniedError: DestinationRefused,
    theirs.UnauthenticatedError: DestinationRefused,
    theirs.UnknownConfigurationKeyError: ConfigError,
    theirs.BaseError: DestinationUnavailable,
    NotImplementedError: DestinationRefused,
    ValueError: DestinationRefused,
    PermissionError: DestinationRefused,
    OSError: DestinationUnavailable,
}

_DISK_HINTS = {
    errno.EACCES: "check who owns the folder of the destination",
    errno.EROFS: "the folder of the destination is read-only",
    errno.ENOSPC: "the disk is full: free some space there",
    errno.EDQUOT: "the quota is used up: free some space there",
}

#: What obstore says of every way to a token: a managed identity, a metadata server, OAuth2.
_TOKENLESS = "Error performing token request"
_STATUS = re.compile(r"non-2xx status code: ([0-9]{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9.]{1,64})</Code>")


def translate(error: BaseException, *, doing: str) -> CloudmigError:
    """Return our error. The message of theirs holds the key, so it is never passed on."""
    text = str(error)
    if _TOKENLESS in text:
        return _no_token(text, doing=doing)
    status, code = _STATUS.search(text), _CODE.search(text)
    if status is not None or code is not None:
        number = int(status[1]) if status is not None else None
        return error_for(number, code[1] if code is not None else "", doing=doing)
    if "redirect without LOCATION" in text:
        return error_for(301, "PermanentRedirect", doing=doing)
    if "invalid peer certificate" in text:
        return DestinationRefused(
            f"{doing}: the certificate of the store is not trusted",
            hint="check the endpoint's name, and give the store's CA if it is your own",
        )
    if isinstance(error, OSError) and error.errno == errno.EROFS:
        return DestinationRefused(f"{doing}: read-only", hint=_hint(error))  # Waiting is no help.
    for kind in type(error).__mro__:
        if kind in MEANINGS:
            return MEANINGS[kind](f"{doing}: {type(error).__name__}", hint=_hint(error))
    raise AssertionError("BaseError and OSError are in the table")


def lacks_bucket(error: BaseException) -> bool:
    """Say whether an object is not there because nothing is: a HEAD alone cannot tell."""
    code = _CODE.search(str(error))
    return code is not None and code[1] in {"NoSuchBucket", "ContainerNotFound"}


def _no_token(text: str, *, doing: str) -> CloudmigError:
    """Without credentials obstore asks this machine's identity in the cloud, if it has one."""
    status = _STATUS.search(text)
    kind: type[CloudmigError] = DestinationUnavailable
    if status is not None and status[1].startswith("4") and status[1] not in {"408", "429"}:
        kind = DestinationRefused
    return kind(
        f"{doing}: no token for the store was to be had",
        hint="set the credentials of the destination, unless this machine has an identity of its"
        " own in that cloud: docs/configuration.md",
    )


def _hint(error: BaseException) -> str:
    if isinstance(error, theirs.UnauthenticatedError | theirs.PermissionDeniedError):
        return "check the credentials and what they may do"
    if isinstance(error, theirs.GenericError):
        return "no usable answer came: is the store up, and are url, endpoint and proxy right?"
    number = error.errno if isinstance(error, OSError) else None
    return _DISK_HINTS.get(number or 0, "")
