"""What the functions want to know from the beginning of a file: its UIDs, modality and year."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cloudmig.dicom.header import (
    NAMING_TAGS,
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    HeaderUnreadable,
    Identity,
    read_elements,
    uid_text,
)
from cloudmig.dicom.part10 import NotPart10, read_prefix

__all__ = ["BEGINNING_BYTES_MAX", "Header", "HeaderTorn", "read_header"]

#: What is kept of a file to find its header in; a longer header is no image's.
BEGINNING_BYTES_MAX = 4 << 20

_STUDY_DATE = 0x00080020
_MODALITY = 0x00080060
_WANTED = frozenset({
    SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, _STUDY_DATE,
    _MODALITY,
})  # fmt: skip
#: PS3.3 C.7.3.1.1.1: a code string, never a name.
_MODALITY_TEXT = re.compile(r"[A-Z][A-Z0-9_]{1,15}")
_YEAR = re.compile(r"(?:19|20)[0-9]{2}")


class HeaderTorn(ValueError):  # noqa: N818 - named for what happened, as in errors.py
    """The bytes are no DICOM file, or too few of one to tell."""

    def __init__(self, message: str, *, more_may_tell: bool) -> None:
        super().__init__(message)
        self.more_may_tell = more_may_tell  #: Only if there are more.


@dataclass(frozen=True, slots=True)
class Header:
    """The few elements of a data set that are looked at. Nothing of it names a patient."""

    identity: Identity
    modality: str  #: Empty where there is no usable one.
    study_year: str


def read_header(beginning: bytes | bytearray) -> Header:
    """Return the header in a file's beginning (PS3.10 section 7.1). Raises `HeaderTorn`."""
    try:
        offset, transfer_syntax_uid = read_prefix(beginning)
        data_set = memoryview(beginning)[offset:]
        found = read_elements(
            data_set, transfer_syntax_uid, _WANTED, last=SERIES_INSTANCE_UID, needed=NAMING_TAGS
        )
    except (NotPart10, HeaderUnreadable) as error:
        raise HeaderTorn(str(error), more_may_tell=beginning[128:132] == b"DICM") from error
    modality = found.get(_MODALITY, b"").decode("ascii", "replace").strip("\0 ")
    year = found.get(_STUDY_DATE, b"")[:4].decode("ascii", "replace")
    return Header(
        identity=Identity(
            sop_class_uid=uid_text(found.get(SOP_CLASS_UID, b"")),
            sop_instance_uid=uid_text(found.get(SOP_INSTANCE_UID, b"")),
            study_instance_uid=uid_text(found.get(STUDY_INSTANCE_UID, b"")),
            series_instance_uid=uid_text(found.get(SERIES_INSTANCE_UID, b"")),
        ),
        modality=modality if _MODALITY_TEXT.fullmatch(modality) else "",
        study_year=year if _YEAR.fullmatch(year) else "",
    )
