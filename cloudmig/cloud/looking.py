"""Looks at one object as it is now, and says what was seen: nothing is concluded here.

    HEAD ──► not there
     │
     ├──► the store has a SHA-256 of its own ──► ranged GET: the header
     ├──► it has none, or shall not be believed ──► GET: every byte, both digests, the header
     └──► it cannot be read: cold, or another's key ──► the checksum alone, else UNDECIDED

Every GET names the ETag that the HEAD saw, so that one look is about one object.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from botocore import exceptions as theirs

from cloudmig.cloud.headers import BEGINNING_BYTES_MAX, Header, HeaderTorn, read_header
from cloudmig.cloud.instants import instant
from cloudmig.dicom.digest import StreamDigests
from cloudmig.errors import DestinationUnavailable
from cloudmig.model.instance import ARCHIVE_CLASSES
from cloudmig.objects import DATASET_DIGEST, FILE_DIGEST, PARTS_DIGEST

__all__ = ["STORE_CHECKSUM", "STREAMED", "UNDECIDED", "Sight", "look", "status_of"]

STREAMED = "STREAMED"  #: Every byte was read.
STORE_CHECKSUM = "STORE_CHECKSUM"  #: By the SHA-256 that the store computed itself.
UNDECIDED = "UNDECIDED"  #: Neither was to be had: nothing is known of the content.

_PIECE_BYTES = 1 << 20
#: Nearly every header ends before; some classes charge for each byte that is read.
_RANGE_BYTES_FIRST = 16 << 10
#: How often an object may change under our eyes before it is left for later.
_LOOKS_MAX = 3


class _Changed(Exception):  # noqa: N818 - named for what happened, as in errors.py
    """The object changed or went away between two requests of one look."""


class _Cold(Exception):  # noqa: N818
    """The object refuses to be read, whatever its HEAD says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What was seen of one object."""

    at: str  #: When the look began.
    is_there: bool
    how: str = ""  #: Where the digests come from: STREAMED, STORE_CHECKSUM or UNDECIDED.
    version_id: str | None = None
    etag: str = ""
    size_bytes: int = 0
    storage_class: str = ""
    modified_at: dt.datetime | None = None
    is_cold: bool = False  #: It cannot be read: not without a restore, mostly.
    #: What its metadata say, in hex; empty where they say nothing.
    claimed_file_sha256: str = ""
    claimed_dataset_sha256: str = ""
    #: What was found, in hex; the data set's empty where only the whole file's is known.
    file_sha256: str = ""
    dataset_sha256: str = ""
    by_parts: bool = False  #: The digest is the claimed one: its parts' digests agree.
    header: Header | None = None  #: None where none can be read.
    is_header_beyond: bool = False  #: It is longer than what is read of it: nothing is known.
    encryption: str = ""  #: AES256 | aws:kms | aws:kms:dsse; empty: none.
    kms_key_arn: str = ""
    lock_mode: str = ""


def look(
    s3: Any,  # noqa: ANN401 - a boto3 client, which functions pass in
    bucket: str,
    full_key: str,
    *,
    read: str,
    now: Callable[[], dt.datetime],
    is_known: Callable[[Sight], bool] = lambda _: False,
) -> Sight:
    """Look at the object under a key.

    `read` says how far: `stream` reads every byte, `checksum` believes the store's digest where it
    has one, `head` looks at nothing of the content; nor does any look at what `is_known` already.

    Raises botocore's errors for everything but "not there", and `DestinationUnavailable` when
    the object changed in the middle of every look.
    """
    for _ in range(_LOOKS_MAX):
        at = instant(now())
        try:
            head = s3.head_object(Bucket=bucket, Key=full_key, ChecksumMode="ENABLED")
        except theirs.ClientError as error:
            if status_of(error) == 404:
                return Sight(at=at, is_there=False)
            if status_of(error) == 400 and _is_locked_away(s3, bucket, full_key):
                return Sight(at=at, is_there=True, how=UNDECIDED, is_cold=True)
            raise
        seen = _from_head(head, at)
        if read == "head" or is_known(seen):
            return seen
        known = _by_store_digest(head, seen)
        try:
            return _content(s3, bucket, full_key, seen, known, read)
        except _Cold:
            return replace(known or replace(seen, how=UNDECIDED), is_cold=True)
        except _Changed:
            continue
    raise DestinationUnavailable("look: the object changed during every look")


def _content(
    s3: Any,  # noqa: ANN401
    bucket: str,
    full_key: str,
    seen: Sight,
    known: Sight | None,
    read: str,
) -> Sight:
    """Add what can be found out about the bytes; `known` is what the store's checksum tells."""
    if seen.is_cold:
        return known or replace(seen, how=UNDECIDED)
    if read == "checksum" and known is not None:
        return _with_header(s3, bucket, full_key, known)
    return _streamed(s3, bucket, full_key, seen)


def status_of(error: theirs.ClientError) -> int:
    """Return the HTTP status of a refusal."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _is_locked_away(s3: Any, bucket: str, full_key: str) -> bool:  # noqa: ANN401
    """Say whether only a stranger has the key that the object is encrypted with (SSE-C).

    A HEAD is refused without a word then; so it is for an expired token. A GET says which.
    """
    try:
        s3.get_object(Bucket=bucket, Key=full_key, Range="bytes=0-0")["Body"].close()
    except theirs.ClientError as error:
        told = error.response.get("Error", {})
        return told.get("Code") == "InvalidRequest" and "Encryption" in told.get("Message", "")
    return False


def _from_head(head: dict[str, Any], at: str) -> Sight:
    metadata = head.get("Metadata", {})
    version_id = head.get("VersionId")
    storage_class = head.get("StorageClass") or "STANDARD"
    # The archive tiers of Intelligent-Tiering have no class of their own.
    cold = storage_class in ARCHIVE_CLASSES or bool(head.get("ArchiveStatus"))
    restored = 'ongoing-request="false"' in head.get("Restore", "")
    return Sight(
        at=at,
        is_there=True,
        version_id=None if version_id == "null" else version_id,
        etag=head.get("ETag", ""),
        size_bytes=head["ContentLength"],
        storage_class=storage_class,
        modified_at=head.get("LastModified"),
        is_cold=cold and not restored,
        claimed_file_sha256=metadata.get(FILE_DIGEST, ""),
        claimed_dataset_sha256=metadata.get(DATASET_DIGEST, ""),
        encryption=head.get("ServerSideEncryption", ""),
        kms_key_arn=head.get("SSEKMSKeyId", ""),
        lock_mode=head.get("ObjectLockMode", ""),
    )


# ----------------------------------------------------------------------------------- by checksum


def _by_store_digest(head: dict[str, Any], seen: Sight) -> Sight | None:
    """Add both digests by the store's own SHA-256, None where it has none or decides nothing.

    A multipart upload has a composite one, over the parts' digests. Where it equals the one that
    the agent wrote down when it cut the file, the store holds a file cut like that: which file, its
    metadata say, and whoever writes an object writes its metadata. So `by_parts` marks it, and only
    together with the ETag of the manifest's record it proves anything. Where it differs, the
    composite stands for a digest that nobody knows.
    """
    value, _, parts = head.get("ChecksumSHA256", "").partition("-")
    try:
        digest = base64.b64decode(value, validate=True).hex()
    except binascii.Error:
        return None
    if not digest:
        return None
    by_parts = False
    # Some stores do not say that a checksum is composite; their ETags still count the parts.
    if parts or head.get("ChecksumType") == "COMPOSITE" or "-" in seen.etag:
        cut = head.get("Metadata", {}).get(PARTS_DIGEST, "").partition("-")[0]
        if not cut:
            return None
        by_parts = digest == cut
    digest = seen.claimed_file_sha256 if by_parts else digest
    agrees = digest == seen.claimed_file_sha256
    return replace(
        seen,
        how=STORE_CHECKSUM,
        by_parts=by_parts,
        file_sha256=digest,
        dataset_sha256=seen.claimed_dataset_sha256 if agrees else "",
    )


def _with_header(s3: Any, bucket: str, full_key: str, seen: Sight) -> Sight:  # noqa: ANN401
    """Read as much of the beginning as its header needs: nearly always one small range."""
    length = _RANGE_BYTES_FIRST
    while True:
        beginning = b""
        if seen.size_bytes:
            span = f"bytes=0-{min(length, seen.size_bytes) - 1}"
            beginning = b"".join(_read(s3, bucket, full_key, seen, Range=span))
        found = _with_header_in(seen, beginning)
        if not found.is_header_beyond or length >= BEGINNING_BYTES_MAX:
            return found
        length = BEGINNING_BYTES_MAX


def _with_header_in(seen: Sight, beginning: bytes | bytearray) -> Sight:
    try:
        return replace(seen, header=read_header(beginning))
    except HeaderTorn as torn:
        beyond = torn.more_may_tell and len(beginning) < seen.size_bytes
        return replace(seen, is_header_beyond=beyond)


# ------------------------------------------------------------------------------------ by reading


def _streamed(s3: Any, bucket: str, full_key: str, seen: Sight) -> Sight:  # noqa: ANN401
    digests = StreamDigests()
    beginning = bytearray()
    try:
        for piece in _read(s3, bucket, full_key, seen):
            digests.update(piece)
            if len(beginning) < BEGINNING_BYTES_MAX:
                beginning += piece
    except theirs.FlexibleChecksumError:
        pass  # Every byte was read; what they are worth, our own digests say.
    found = digests.result()
    if found.size_bytes != seen.size_bytes:
        raise DestinationUnavailable("look: the answer broke off")
    return replace(
        _with_header_in(seen, beginning),
        how=STREAMED,
        file_sha256=found.file_sha256,
        dataset_sha256=found.dataset_sha256,
    )


def _read(
    s3: Any,  # noqa: ANN401
    bucket: str,
    full_key: str,
    seen: Sight,
    **arguments: str,
) -> Iterator[bytes]:
    """Yield the bytes of the very object that was seen. Raises `_Changed` or `_Cold`."""
    try:
        answer = s3.get_object(Bucket=bucket, Key=full_key, IfMatch=seen.etag, **arguments)
    except theirs.ClientError as error:
        if status_of(error) in {404, 412}:
            raise _Changed from error
        if error.response.get("Error", {}).get("Code") == "InvalidObjectState":
            raise _Cold from error
        raise
    with closing(answer["Body"]) as body:
        while piece := body.read(_PIECE_BYTES):
            yield piece
