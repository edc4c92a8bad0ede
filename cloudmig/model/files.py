"""What a file of a source directory is, and how many there are of each kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

__all__ = [
    "TOTAL", "Account", "ClaimState", "FileEquation", "FileGroup", "FileKind", "FileTally",
    "file_equations",
]  # fmt: skip

#: The kind under which an account holds what its kinds must add up to.
TOTAL = "total"


class FileKind(Enum):
    """What was found under a name. Every entry of a disk that is no folder is exactly one."""

    INSTANCE = "instance"  #: The one file, or the first of several, of its SOP Instance UID.
    DUPLICATE = "duplicate"  #: Same SOP Instance UID, same data set digest as another file.
    CONFLICT = "conflict"  #: Same SOP Instance UID as another file, other content.
    UNUSABLE_UID = "unusable_uid"  #: A data set whose UIDs cannot name an object.
    TORN = "torn"  #: A data set that ends before its last element does. Taken as it is.
    UNREADABLE = "unreadable"  #: A Part 10 file with a torn header.
    NO_PART10_HEADER = "no_part10_header"  #: A bare data set: its syntax would be a guess.
    TOO_COSTLY = "too_costly"  #: Its header takes too much memory or time to read.
    DENIED = "denied"  #: It cannot be opened.
    DICOMDIR = "dicomdir"  #: Media Storage Directory (PS3.10 section 8).
    NOT_NAMED = "not_named"  #: No DICOMDIR names it, and only named files are wanted.
    NOT_DICOM = "not_dicom"
    EMPTY = "empty"
    SYMLINK = "symlink"  #: Never followed.
    SPECIAL = "special"  #: A pipe, socket or device.
    FOLDER = "folder"  #: A folder that cannot be listed, or is nested too deep.

    @property
    def waits(self) -> bool:
        """Say whether a person has to look: images may hide in it, or a part of one is lost."""
        return self in _WAITING


_WAITING = {
    FileKind.TORN, FileKind.UNREADABLE, FileKind.NO_PART10_HEADER, FileKind.TOO_COSTLY,
    FileKind.DENIED, FileKind.FOLDER,
}  # fmt: skip


class ClaimState(Enum):
    """What became of one row of a listing, or one record of a DICOMDIR. Exactly one each."""

    AGREES = "agrees"
    DISAGREES = "disagrees"  #: The file is there and says otherwise; the file is believed.
    ELSEWHERE = "elsewhere"  #: Not under that name; the instance lies under another.
    MISSING = "missing"  #: Neither the file nor its instance: expected, and not to be had.
    DOUBLE = "double"  #: An earlier row says the same.
    BAD = "bad"  #: The row cannot be read, or its UIDs cannot name an object.
    OUTSIDE = "outside"  #: Its name leads out of the folder; refused.

    @property
    def waits(self) -> bool:
        """Say whether a person has to look: nobody knows what it was to name."""
        return self in {ClaimState.BAD, ClaimState.OUTSIDE}


class Account(Enum):
    """What is counted, and must add up by itself."""

    FILES = "files"  #: Entries on disk, by `FileKind`.
    LISTING = "listing"  #: Rows of a listing, by `ClaimState`.
    DICOMDIR = "dicomdir"  #: Records of DICOMDIR files, by `ClaimState`.
    NOTES = "notes"  #: Counted beside the equations; they overlap and add up to nothing.


@dataclass(frozen=True, slots=True, order=True)
class FileGroup:
    """The files of one source that are of one kind: what a person decides about as a whole."""

    source: str
    account: str
    kind: str

    @property
    def known_by(self) -> str:
        """What its pseudonym is made of."""
        return f"{self.source}/{self.account}/{self.kind}"


@dataclass(frozen=True, slots=True)
class FileTally:
    """How many of one kind the last inventory found."""

    account: Account
    kind: str  #: A value of `FileKind` or `ClaimState`, or `TOTAL`.
    count: int
    size_bytes: int = 0
    #: Tells one set of files from another, where a person has to look at them. Else empty.
    fingerprint: str = ""
    waits: bool = False


@dataclass(frozen=True, slots=True)
class FileEquation:
    """One account: what was counted as a whole, and as its kinds."""

    account: Account
    total: int
    kinds: Mapping[str, int]
    waiting: int  #: Of those, what a person has to look at.

    @property
    def holds(self) -> bool:
        """Say whether the kinds add up to the whole."""
        return self.total == sum(self.kinds.values())

    @property
    def words(self) -> str:
        """The equation as a line."""
        what = {"files": "files on disk", "listing": "rows of the listing"}
        parts = " + ".join(
            f"{count:,} {kind.replace('_', ' ')}" for kind, count in self.kinds.items()
        )
        name = what.get(self.account.value, "records of DICOMDIRs")
        return f"{name}: {self.total:,} = {parts or '0'}" + ("" if self.holds else " DIFFERS")


def file_equations(tallies: Iterable[FileTally]) -> list[FileEquation]:
    """Return the equation of every account that has one. Instances come first."""
    held = [tally for tally in tallies if tally.account is not Account.NOTES]
    equations = []
    for account in Account:
        ours = [tally for tally in held if tally.account is account]
        total = next((tally.count for tally in ours if tally.kind == TOTAL), None)
        if total is None or (not total and account is not Account.FILES):
            continue
        kinds = {tally.kind: tally.count for tally in ours if tally.kind != TOTAL and tally.count}
        first = {FileKind.INSTANCE.value, ClaimState.AGREES.value}
        order = sorted(kinds, key=lambda kind: (kind not in first, kind))
        waiting = sum(tally.count for tally in ours if tally.waits)
        equations.append(
            FileEquation(account, total, {kind: kinds[kind] for kind in order}, waiting)
        )
    return equations
