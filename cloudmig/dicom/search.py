"""Questions and answers of QIDO-RS: keys of a search (PS3.18 8.3.4), rows as keyword -> text.

A row is a data set in DICOM JSON (PS3.18 annex F), whoever it was read from. It is evidence given
by a stranger: what breaks its form is left out, but for tags in small letters and a single value
that is not in a list, which writers of JSON make of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydicom.datadict import tag_for_keyword

from cloudmig.dicom.query import STUDY_KEYWORDS
from cloudmig.model.window import StudyQuestion

__all__ = [
    "IMAGE_INCLUDED", "SERIES_INCLUDED", "STUDY_INCLUDED", "image_answer", "series_answer",
    "study_answer", "study_keys",
]  # fmt: skip

Keys = list[tuple[str, str]]

#: What is asked for beside what a server returns by itself (PS3.18 tables 10.6.3-3 to 10.6.3-5);
#: some return even of that only what they are asked for.
STUDY_INCLUDED = (
    "StudyDescription", "IssuerOfPatientID", "ModalitiesInStudy", "NumberOfStudyRelatedSeries",
    "NumberOfStudyRelatedInstances",
)  # fmt: skip
SERIES_INCLUDED = ("NumberOfSeriesRelatedInstances",)
IMAGE_INCLUDED = ("SOPClassUID", "AvailableTransferSyntaxUID")

_TEXT_CHARS_MAX = 4096
_VALUES_MAX = 1000


def study_keys(question: StudyQuestion) -> Keys:
    """Return the matching keys of a search for studies."""
    keys: Keys = []
    if question.dates is not None:
        keys.append(("StudyDate", question.dates.text))
    if question.times is not None:
        keys.append(("StudyTime", question.times.text))
    if question.modality is not None:
        keys.append(("ModalitiesInStudy", question.modality))
    if question.patient_id_prefix is not None:
        keys.append(("PatientID", f"{question.patient_id_prefix}*"))
    return keys


def study_answer(row: Mapping[str, Any]) -> dict[str, str]:
    """Return what a row of a search for studies says, as a C-FIND answer would."""
    return _texts(row, (*STUDY_KEYWORDS, "RetrieveAETitle", "InstanceAvailability"))


def series_answer(row: Mapping[str, Any]) -> dict[str, str]:
    """Return what a row of a search for series says of it."""
    return _texts(row, ("StudyInstanceUID", "SeriesInstanceUID", "NumberOfSeriesRelatedInstances"))


def image_answer(row: Mapping[str, Any]) -> dict[str, str]:
    """Return what a row of a search for instances says of it."""
    keywords = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", *IMAGE_INCLUDED)
    return _texts(row, keywords)


def _texts(row: Mapping[str, Any], keywords: Iterable[str]) -> dict[str, str]:
    answer: dict[str, str] = {}
    for keyword in keywords:
        tag = tag_for_keyword(keyword)
        assert tag is not None, f"no such keyword: {keyword}"
        attribute = row.get(f"{tag:08X}", row.get(f"{tag:08x}"))
        if isinstance(attribute, dict):
            values = attribute.get("Value")
            some = values[:_VALUES_MAX] if isinstance(values, list) else [values]
            text = "\\".join(map(_text, some))[:_TEXT_CHARS_MAX]
            # JSON may hold halves of a character, which nothing can write down.
            answer[keyword] = text.encode("utf-8", "replace").decode("utf-8")
    return answer


def _text(value: object) -> str:
    """Return one value as C-FIND would give it."""
    match value:
        case str():
            return value.strip("\0 ")
        case dict():
            # A person's name in up to three writings (PS3.18 F.2.2, PS3.5 6.2.1).
            groups = ("Alphabetic", "Ideographic", "Phonetic")
            written = [str(value.get(group) or "") for group in groups]
            return "=".join(written).rstrip("=")
        case bool() | None | list():
            return ""
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return str(value)
