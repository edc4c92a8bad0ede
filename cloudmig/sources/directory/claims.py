"""Claims: what a listing or a DICOMDIR says is there, held against what is.

The file is believed, and every difference listed. A claim ends in exactly one state, so that the
rows of a listing add up as the files of a disk do.
"""

from __future__ import annotations

import json
import os
import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cloudmig.model.files import Account, ClaimState
from cloudmig.model.references import is_usable_uid
from cloudmig.sources.directory.index import WITH_IMAGE, FileIndex, Mark, answer_texts

__all__ = ["Claim", "FolderNames", "add_claims", "forget_claims", "reconcile"]

_CLAIMS_A_COMMIT = 2000
_NAMES_MAX = 200_000  #: Names of folders kept in memory, for all folders together.
_MARKS = {Account.LISTING.value: Mark.LISTED, Account.DICOMDIR.value: Mark.NAMED}
_DIGITS = re.compile(r"\D")


@dataclass(frozen=True, slots=True)
class Claim:
    """One row or record. Patient data."""

    origin: Account
    told_by: bytes  #: The DICOMDIR; empty for the listing.
    line: int
    path: bytes = b""  #: Relative to the root, as far as it could be made out.
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    sop_instance_uid: str = ""
    told: dict[str, str] = field(default_factory=dict)  #: What else it says, by DICOM keyword.
    state: ClaimState | None = None  #: Where it is decided already: bad, outside.

    def row(self) -> tuple[Any, ...]:
        """Return what stands in the index. Without usable UIDs nobody can expect anything."""
        state = self.state
        uids: tuple[str, ...] = (
            self.study_instance_uid, self.series_instance_uid, self.sop_instance_uid,
        )  # fmt: skip
        if state is None and not all(map(is_usable_uid, uids)):
            state = ClaimState.BAD
            uids = tuple(text.encode("utf-8", "replace").decode()[:64] for text in uids)
        return (
            self.origin.value, self.told_by, self.line, self.path, *uids,
            json.dumps(self.told, sort_keys=True), state.value if state else None,
        )  # fmt: skip


def forget_claims(index: FileIndex) -> None:
    """Forget what earlier surveys were told."""
    with index.writing() as connection:
        connection.execute("DELETE FROM claim")


def add_claims(index: FileIndex, claims: Iterable[Claim]) -> None:
    """Write claims down."""
    with index.writing() as connection:
        connection.executemany(
            "INSERT INTO claim (origin, told_by, line, path, study_instance_uid,"
            " series_instance_uid, sop_instance_uid, told, state)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (claim.row() for claim in claims),
        )


def reconcile(index: FileIndex) -> None:
    """Hold every claim against the files; decide its state."""
    after = 0
    while page := index.all(
        "SELECT claim_id, origin, told_by, path, study_instance_uid, series_instance_uid,"
        " sop_instance_uid, told FROM claim WHERE state IS NULL AND claim_id > ?"
        " ORDER BY claim_id LIMIT ?",
        (after, _CLAIMS_A_COMMIT),
    ):
        # One by one: whether a row is double depends on the one before it.
        with index.writing() as connection:
            for claim_id, *claim in page:
                state, fields, file_id = _decide(connection, claim_id, claim)
                connection.execute(
                    "UPDATE claim SET state = ?, fields = ?, file_id = ? WHERE claim_id = ?",
                    (state.value, " ".join(fields), file_id, claim_id),
                )
                if file_id is not None:
                    connection.execute(
                        "UPDATE file SET marks = marks | ? WHERE file_id = ?",
                        (int(_MARKS[claim[0]]), file_id),
                    )
        after = page[-1][0]


def _decide(
    connection: Any,  # noqa: ANN401 - a connection of the index
    claim_id: int,
    claim: Sequence[Any],
) -> tuple[ClaimState, list[str], int | None]:
    """Return the state of a claim, the fields that differ, and the file it is about."""
    origin, told_by, path, study, series, sop, told = claim
    earlier = connection.execute(
        "SELECT file_id FROM claim WHERE path = ? AND claim_id < ? AND origin = ? AND told_by = ?"
        " AND study_instance_uid = ? AND series_instance_uid = ? AND sop_instance_uid = ?"
        " AND told = ? AND state NOT IN ('bad', 'outside') LIMIT 1",
        (path, claim_id, origin, told_by, study, series, sop, told),
    ).fetchone()
    if earlier is not None:
        return ClaimState.DOUBLE, [], earlier[0]
    file = connection.execute(
        "SELECT file_id, kind, study_instance_uid, series_instance_uid, sop_instance_uid,"
        " sop_class_uid, transfer_syntax_uid, size_bytes, modality, coalesce(answer, '')"
        " FROM file LEFT JOIN study USING (study_id) LEFT JOIN answer USING (answer_id)"
        " WHERE path = ? AND kind <> 'gone'",
        (path,),
    ).fetchone()
    if file is not None and file[1] in WITH_IMAGE:
        fields = _differences(file, study, series, sop, answer_texts(told))
        return (ClaimState.DISAGREES if fields else ClaimState.AGREES), fields, file[0]
    fields = [] if file is None else ["kind"]
    other = connection.execute(
        "SELECT file_id FROM file JOIN study USING (study_id) WHERE sop_instance_uid = ?"
        " AND study_instance_uid = ? AND kind IN ('instance', 'duplicate', 'conflict', 'torn')"
        " ORDER BY path LIMIT 1",
        (sop, study),
    ).fetchone()
    if other is not None:
        return ClaimState.ELSEWHERE, fields, other[0]
    return ClaimState.MISSING, fields, None


def _differences(
    file: Sequence[Any], study: str, series: str, sop: str, told: dict[str, str]
) -> list[str]:
    """Name what a claim says otherwise than the file. What it does not say is no difference."""
    header = answer_texts(file[9]) | {
        "StudyInstanceUID": file[2], "SeriesInstanceUID": file[3], "SOPInstanceUID": file[4],
        "SOPClassUID": file[5], "TransferSyntaxUID": file[6], "size_bytes": str(file[7]),
        "Modality": file[8],
    }  # fmt: skip
    said = told | {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": sop}
    return sorted(
        name
        for name, text in said.items()
        if text and _plain(name, text) != _plain(name, header.get(name) or "")
    )


def _plain(name: str, text: str) -> str:
    """Return a value as it is compared: databases write days with hyphens and times behind."""
    return _DIGITS.sub("", text)[:8] if name == "StudyDate" else text.strip()


class FolderNames:
    """Finds a file by a name as media have it: other case, `;1` behind it (PS3.12, ISO 9660)."""

    def __init__(self, root: int, names_max: int = _NAMES_MAX) -> None:
        self._root = root
        self._names_max = names_max
        self._folders: OrderedDict[bytes, dict[str, bytes]] = OrderedDict()
        self._held = 0

    def resolve(self, folder: bytes, parts: Sequence[bytes]) -> bytes | None:
        """Return the path of what is meant, or None when there is no such name."""
        path = folder
        for part in parts:
            names = self._names(path)
            found = names.get("=" + part.decode("latin-1")) or names.get(_folded(part))
            if found is None:
                return None
            path = path + b"/" + found if path else found
        return path

    def _names(self, folder: bytes) -> dict[str, bytes]:
        if folder in self._folders:
            self._folders.move_to_end(folder)
            return self._folders[folder]
        names: dict[str, bytes] = {}
        for name in sorted(self._list(folder), reverse=True):
            names[_folded(name)] = name
            names["=" + name.decode("latin-1")] = name
        self._folders[folder] = names
        self._held += len(names)
        while self._held > self._names_max and len(self._folders) > 1:
            self._held -= len(self._folders.popitem(last=False)[1])
        return names

    def _list(self, folder: bytes) -> list[bytes]:
        descriptor = os.dup(self._root)
        try:
            for part in folder.split(b"/") if folder else ():
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                inner = os.open(part, flags, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            return [os.fsencode(name) for name in os.listdir(descriptor)]  # noqa: PTH208 - a descriptor
        except OSError:
            return []  # No such folder, or none that we may list.
        finally:
            os.close(descriptor)


def _folded(name: bytes) -> str:
    return name.decode("latin-1").partition(";")[0].rstrip(".").upper()
