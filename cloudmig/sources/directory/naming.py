"""Every file and every row of a listing by name, for a person who asks for it on purpose.

Names of files may be names of patients: nothing here goes into a log line, an event or an error.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from cloudmig.model.files import Account, ClaimState, FileKind
from cloudmig.sources.directory.index import OVERWRITTEN, WITH_IMAGE, FileIndex, Mark

__all__ = ["KINDS", "NOTABLE", "NamedEntry", "named_entries"]

_NOTES = ("gone", "shared", "meta_differs", "trouble", "not_listed", "not_in_dicomdir")
#: Every word that says what a file or a row is.
KINDS = tuple(
    dict.fromkeys(
        [*(kind.value for kind in FileKind), *(state.value for state in ClaimState), *_NOTES]
    )
)
#: What is named where nobody says what: all that is not as one would wish.
NOTABLE = frozenset(KINDS) - {FileKind.INSTANCE.value, ClaimState.AGREES.value}


@dataclass(frozen=True, slots=True)
class NamedEntry:
    """One file, or one row of a listing or a DICOMDIR. Patient data."""

    account: str
    kind: str
    path: str
    line: int  #: Of a listing, or the number of a record; 0 of a file.
    told_by: str  #: The DICOMDIR; empty else.
    size_bytes: int
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    detail: str  #: Fields that differ, or what happened to the file.


def named_entries(index: FileIndex, kinds: Collection[str]) -> Iterator[NamedEntry]:
    """Yield the files of some kinds, then the rows, then what is noted of files beside that."""
    yield from _files(index, sorted(set(kinds) & {kind.value for kind in FileKind}))
    yield from _claims(index, sorted(set(kinds) & {state.value for state in ClaimState}))
    instances = f"f.kind IN {WITH_IMAGE}"
    for note, where, needs in (
        ("gone", "f.kind = 'gone'", ""),
        ("shared", f"f.marks & {Mark.SHARED:d}", ""),
        ("meta_differs", f"{instances} AND f.meta_differs <> ''", ""),
        ("trouble", "f.trouble <> ''", ""),
        ("not_listed", f"{instances} AND NOT f.marks & {Mark.LISTED:d}", "listing"),
        ("not_in_dicomdir", f"{instances} AND NOT f.marks & {Mark.NAMED:d}", "dicomdir"),
    ):
        told = not needs or index.one("SELECT 1 FROM claim WHERE origin = ? LIMIT 1", (needs,))
        if note in kinds and told:
            detail = note if note == "meta_differs" else "trouble"
            yield from _rows(index, note, where, (), detail=detail)


def _files(index: FileIndex, kinds: list[str]) -> Iterator[NamedEntry]:
    for kind in kinds:
        yield from _rows(index, kind, "f.kind = ?", (kind,))


def _rows(
    index: FileIndex, kind: str, where: str, values: tuple[Any, ...], detail: str = "trouble"
) -> Iterator[NamedEntry]:
    account = Account.FILES if values else Account.NOTES
    for key, size_bytes, study, series, sop, told in index.rows(
        "SELECT f.path, f.size_bytes, coalesce(s.study_instance_uid, ''),"  # noqa: S608
        f" coalesce(f.series_instance_uid, ''), coalesce(f.sop_instance_uid, ''), f.{detail}"
        f" FROM file f LEFT JOIN study s USING (study_id) WHERE {where} ORDER BY f.path",
        values,
    ):
        path, _, _ = key.partition(OVERWRITTEN)
        yield NamedEntry(
            account.value, kind, _shown(path), 0, "", size_bytes, study, series, sop, told
        )


def _claims(index: FileIndex, states: list[str]) -> Iterator[NamedEntry]:
    for state in states:
        for origin, told_by, line, path, study, series, sop, fields in index.rows(
            "SELECT origin, told_by, line, path, study_instance_uid, series_instance_uid,"
            " sop_instance_uid, fields FROM claim WHERE state = ? ORDER BY claim_id",
            (state,),
        ):
            yield NamedEntry(
                origin, state, _shown(path), line, _shown(told_by), 0, study, series, sop, fields
            )


def _shown(path: bytes) -> str:
    """Return a path as text. Bytes that are no UTF-8, and what a terminal would obey, escaped."""
    text = path.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
