"""What the beginning of one file says: its kind, its UIDs, its study. Standard library only.

Nothing is inflated beyond a bounded prefix, no pixel is touched, no syntax is guessed: a data set
without the Part 10 header that names its transfer syntax is listed as such (PS3.10 section 7.1).
"""

from __future__ import annotations

import contextlib
import mmap
import os
from dataclasses import dataclass, field, replace

from cloudmig.dicom.ending import ends_early, ends_with_its_pixels
from cloudmig.dicom.header import NAMING_TAGS, HeaderUnreadable, read_elements, uid_text
from cloudmig.dicom.part10 import NotPart10, read_file_meta, read_prefix
from cloudmig.model.files import FileKind
from cloudmig.model.references import is_usable_uid

__all__ = ["BEGINNING_BYTES", "Heading", "read_heading"]

#: Read at once: nearly every header ends in it.
BEGINNING_BYTES = 64 << 10

_CHARACTER_SET, _MODALITY = 0x00080005, 0x00080060
_SOP_CLASS_UID, _SOP_INSTANCE_UID = 0x00080016, 0x00080018
#: Elements of group 0002, and how they are called (PS3.10 table 7.1-1).
_META_SOP_CLASS_UID, _META_SOP_INSTANCE_UID, _META_TRANSFER_SYNTAX_UID = 0x02, 0x03, 0x10
_META_KEYWORDS = {
    _META_SOP_CLASS_UID: "MediaStorageSOPClassUID",
    _META_SOP_INSTANCE_UID: "MediaStorageSOPInstanceUID",
}
_STUDY_INSTANCE_UID, _SERIES_INSTANCE_UID = 0x0020000D, 0x0020000E
_DIRECTORY_RECORDS = {0x00041130, 0x00041200, 0x00041220}  #: Only a DICOMDIR has these.
_KEYWORDS = {
    0x00080020: "StudyDate", 0x00080030: "StudyTime", 0x00080050: "AccessionNumber",
    0x00080090: "ReferringPhysicianName", 0x00081030: "StudyDescription",
    0x00100010: "PatientName", 0x00100020: "PatientID", 0x00100021: "IssuerOfPatientID",
    0x00100030: "PatientBirthDate", 0x00100040: "PatientSex", 0x00200010: "StudyID",
}  # fmt: skip
_WANTED = frozenset(
    {
        _CHARACTER_SET, _MODALITY, _SOP_CLASS_UID, _SOP_INSTANCE_UID, _STUDY_INSTANCE_UID,
        _SERIES_INSTANCE_UID, *_DIRECTORY_RECORDS, *_KEYWORDS,
    }
)  # fmt: skip
_LAST = max(_WANTED)
_TEXT_CHARS_MAX = 1024
_GUESSES = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2")
#: Python's names of the repertoires of PS3.3 C.12.1.1.2. Unknown ones are read as Latin-1.
_CODECS = {
    "ISO_IR 192": "utf-8", "GB18030": "gb18030", "GBK": "gbk", "ISO_IR 100": "latin-1",
    "ISO_IR 101": "iso8859-2", "ISO_IR 109": "iso8859-3", "ISO_IR 110": "iso8859-4",
    "ISO_IR 144": "iso8859-5", "ISO_IR 127": "iso8859-6", "ISO_IR 126": "iso8859-7",
    "ISO_IR 138": "iso8859-8", "ISO_IR 148": "iso8859-9", "ISO_IR 13": "shift_jis",
    "ISO_IR 166": "tis-620", "ISO 2022 IR 87": "iso2022_jp", "ISO 2022 IR 149": "euc_kr",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Heading:
    """What one file says of itself. UIDs as they stand there, perhaps unusable."""

    kind: FileKind
    transfer_syntax_uid: str = ""
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    modality: str = ""
    meta_differs: str = ""  #: Keywords of group 0002 whose UIDs are not those of the data set.
    answer: dict[str, str] = field(default_factory=dict)  #: Keyword -> text. Patient data!


def read_heading(file: int, size_bytes: int, *, header_bytes_max: int) -> Heading:
    """Return what an open file says of itself. Raises OSError where it cannot be read."""
    if not size_bytes:
        return Heading(FileKind.EMPTY)
    beginning = os.pread(file, BEGINNING_BYTES, 0)
    heading = _heading_of(file, beginning, size_bytes, header_bytes_max)
    if heading.kind is FileKind.INSTANCE and _is_torn(
        file, size_bytes, beginning, heading.transfer_syntax_uid, bytes_max=header_bytes_max
    ):
        return replace(heading, kind=FileKind.TORN)
    return heading


def _is_torn(
    file: int, size_bytes: int, beginning: bytes, transfer_syntax_uid: str, *, bytes_max: int
) -> bool:
    """Say whether a file, whose header was read, ends before its data set does.

    Looks at `bytes_max` of it at most: what does not show in these is not called torn.
    """
    if ends_with_its_pixels(
        beginning,
        transfer_syntax_uid,
        start=0,
        end=len(beginning),
        size_bytes=size_bytes,
        tail=os.pread(file, 8, max(0, size_bytes - 8)),
    ):
        return False
    length = min(size_bytes, bytes_max)
    with mmap.mmap(file, length, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
        offset, _ = read_prefix(view)
        with view[offset:] as dataset:
            return ends_early(
                dataset,
                transfer_syntax_uid,
                size_bytes=size_bytes - offset,
                walked_bytes_max=bytes_max,
            )


def _heading_of(file: int, beginning: bytes, size_bytes: int, header_bytes_max: int) -> Heading:
    if beginning[128:132] != b"DICM":
        return Heading(_kind_of_other(beginning))
    try:
        return _read(beginning, is_whole=size_bytes <= len(beginning))
    except (NotPart10, HeaderUnreadable):
        if size_bytes <= len(beginning):
            return Heading(FileKind.UNREADABLE)
    length = min(size_bytes, header_bytes_max)
    try:
        with mmap.mmap(file, length, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as all_:
            return _read(all_, is_whole=length == size_bytes)
    except (NotPart10, HeaderUnreadable):
        return Heading(FileKind.TOO_COSTLY if length < size_bytes else FileKind.UNREADABLE)


def _read(data: bytes | memoryview, *, is_whole: bool) -> Heading:
    offset, meta = read_file_meta(data)
    transfer_syntax_uid = uid_text(meta.get(_META_TRANSFER_SYNTAX_UID, b""))
    if not is_usable_uid(transfer_syntax_uid):
        raise HeaderUnreadable("names no transfer syntax")
    view = memoryview(data)
    with contextlib.ExitStack() as views:
        views.enter_context(view)
        dataset = views.enter_context(view[offset:])
        found = read_elements(
            dataset,
            transfer_syntax_uid,
            _WANTED,
            last=_LAST,
            needed=NAMING_TAGS,
            is_whole=is_whole,
        )
    sop_class, sop, study, series = (
        uid_text(found.get(tag, b""))[:_TEXT_CHARS_MAX]
        for tag in (_SOP_CLASS_UID, _SOP_INSTANCE_UID, _STUDY_INSTANCE_UID, _SERIES_INSTANCE_UID)
    )
    usable = all(map(is_usable_uid, (sop, study, series)))
    if not usable and found.keys() & _DIRECTORY_RECORDS:
        return Heading(FileKind.DICOMDIR)  # An image may have been left some of these, too.
    told = {_META_SOP_CLASS_UID: sop_class, _META_SOP_INSTANCE_UID: sop}
    differs = [
        name
        for number, name in _META_KEYWORDS.items()
        if uid_text(meta.get(number, b"")) not in {"", told[number]}
    ]
    codec = _codec(found.get(_CHARACTER_SET, b""))
    return Heading(
        FileKind.INSTANCE if usable else FileKind.UNUSABLE_UID,
        transfer_syntax_uid,
        sop_class,
        sop,
        study,
        series,
        modality=_text(found.get(_MODALITY, b""), "latin-1"),
        meta_differs=" ".join(differs),
        answer={
            keyword: _text(found[tag], codec) for tag, keyword in _KEYWORDS.items() if tag in found
        },
    )


def _kind_of_other(beginning: bytes) -> FileKind:
    """Say whether bytes without the preamble look like a data set (PS3.5 section 7.1)."""
    if beginning[:4] in {b"\x02\0\0\0", b"DICM"} and b"1.2.840.10008." in beginning[:1024]:
        return FileKind.NO_PART10_HEADER  # Group 0002 without its preamble.
    wanted = {_SOP_CLASS_UID, _SOP_INSTANCE_UID}
    for transfer_syntax_uid in _GUESSES:
        with contextlib.suppress(HeaderUnreadable):
            found = read_elements(beginning, transfer_syntax_uid, wanted, last=_SOP_INSTANCE_UID)
            if any(is_usable_uid(uid_text(value)) for value in found.values()):
                return FileKind.NO_PART10_HEADER
    # ACR-NEMA wrote no SOP classes: the length of group 0008, then its recognition code.
    if beginning[:8] == b"\x08\0\0\0\x04\0\0\0" and beginning[12:16] in {
        b"\x08\0\x01\0", b"\x08\0\x10\0",
    }:  # fmt: skip
        return FileKind.NO_PART10_HEADER
    return FileKind.NOT_DICOM


def _codec(character_set: bytes) -> str:
    names = [name.strip() for name in uid_text(character_set).split("\\")]
    return next((_CODECS[name] for name in reversed(names) if name in _CODECS), "latin-1")


def _text(value: bytes, codec: str) -> str:
    text = value.decode(codec, "replace").strip("\0 ")
    return text.encode("utf-8", "replace").decode()[:_TEXT_CHARS_MAX]
