"""The third equation: entries on disk = instances + duplicates + every other kind, exactly."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from cloudmig.model.files import TOTAL, Account, ClaimState, FileKind, FileTally
from cloudmig.sources.directory.index import WITH_IMAGE, FileIndex, Mark

__all__ = ["tally"]

_FILES_OF_KIND = "SELECT path, size_bytes, mtime_ns FROM file WHERE kind = ? ORDER BY path"
_CLAIMS_IN = (
    "SELECT told_by, line, path FROM claim WHERE origin = ? AND state = ? ORDER BY claim_id"
)


def tally(index: FileIndex) -> list[FileTally]:
    """Count what the index holds. The total is what the walk counted, by itself."""
    return [*_files(index), *_claims(index), *_notes(index)]


def _files(index: FileIndex) -> Iterator[FileTally]:
    row = index.one("SELECT entries FROM survey ORDER BY survey_id DESC LIMIT 1")
    assert row is not None
    yield FileTally(Account.FILES, TOTAL, row[0])
    for kind, count, size_bytes in index.all(
        "SELECT kind, count(*), sum(size_bytes) FROM file WHERE kind <> 'gone' GROUP BY kind"
    ):
        waits = FileKind(kind).waits
        fingerprint = _fingerprint(index, _FILES_OF_KIND, kind) if waits else ""
        yield FileTally(Account.FILES, kind, count, size_bytes, fingerprint, waits=waits)


def _claims(index: FileIndex) -> Iterator[FileTally]:
    for account in (Account.LISTING, Account.DICOMDIR):
        rows = index.all(
            "SELECT state, count(*) FROM claim WHERE origin = ? GROUP BY state", (account.value,)
        )
        if not rows:
            continue
        yield FileTally(account, TOTAL, sum(count for _, count in rows))
        for state, count in rows:
            waits = ClaimState(state).waits
            fingerprint = _fingerprint(index, _CLAIMS_IN, account.value, state) if waits else ""
            yield FileTally(account, state, count, 0, fingerprint, waits=waits)


def _notes(index: FileIndex) -> Iterator[FileTally]:
    """What is worth knowing, and is counted under its kind as well, or lies on no disk."""
    instances = f"kind IN {WITH_IMAGE}"
    origins = {row[0] for row in index.all("SELECT DISTINCT origin FROM claim")}
    questions = {
        "gone": "kind = 'gone'",
        "shared": f"marks & {Mark.SHARED:d}",
        "meta_differs": f"{instances} AND meta_differs <> ''",
        "trouble": "trouble <> ''",
    }
    if Account.LISTING.value in origins:
        questions["not_listed"] = f"{instances} AND NOT marks & {Mark.LISTED:d}"
    if Account.DICOMDIR.value in origins:
        questions["not_in_dicomdir"] = f"{instances} AND NOT marks & {Mark.NAMED:d}"
    for note, where in questions.items():
        row = index.one(f"SELECT count(*), coalesce(sum(size_bytes), 0) FROM file WHERE {where}")  # noqa: S608
        assert row is not None
        if row[0]:
            yield FileTally(Account.NOTES, note, row[0], row[1])


def _fingerprint(index: FileIndex, query: str, *values: str) -> str:
    digest = hashlib.sha256()
    for row in index.rows(query, values):
        digest.update(repr(row).encode())
    return digest.hexdigest()
