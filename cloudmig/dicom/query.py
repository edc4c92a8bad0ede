"""Identifiers of Query/Retrieve: what we ask (PS3.4 C.6.2, Study Root) and what comes back.

IMAGE-level answers come by the thousand and hold only UIDs, so they are read by the header walk;
STUDY-level answers hold names in any character set, so pydicom reads those.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from pydicom import config
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.tag import Tag

from cloudmig.dicom.header import (
    EXPLICIT_VR_BIG_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    read_elements,
)
from cloudmig.model.window import StudyQuestion

__all__ = [
    "count_of", "decode_study_answer", "failed_sop_instance_uids", "image_question",
    "retrieve_request", "series_question", "study_question",
]  # fmt: skip

#: What is asked of every study. SpecificCharacterSet must be asked for, or none comes back.
STUDY_KEYWORDS = (
    "SpecificCharacterSet", "StudyDate", "StudyTime", "AccessionNumber", "ModalitiesInStudy",
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex",
    "StudyInstanceUID", "StudyID", "StudyDescription", "ReferringPhysicianName",
    "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances",
)  # fmt: skip

#: What an integer string may say (PS3.5 6.2), and a column of the catalog can hold.
_COUNT_MAX = 2**31 - 1
_COUNT_DIGITS_MAX = 12


def count_of(text: str) -> int | None:
    """Return a number of something, or None where none is said, or none that can be."""
    digits = text.strip("\0 ").removesuffix(".0")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > _COUNT_DIGITS_MAX:
        return None
    return count if (count := int(digits)) <= _COUNT_MAX else None


def study_question(question: StudyQuestion, transfer_syntax_uid: str) -> bytes:
    """Return the encoded identifier of a STUDY-level C-FIND."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    for keyword in STUDY_KEYWORDS:
        setattr(identifier, keyword, None)
    if question.dates is not None:
        identifier.StudyDate = question.dates.text
    if question.times is not None:
        identifier.StudyTime = question.times.text
    if question.modality is not None:
        identifier.ModalitiesInStudy = question.modality
    if question.patient_id_prefix is not None:
        identifier.PatientID = f"{question.patient_id_prefix}*"
    return _encode(identifier, transfer_syntax_uid)


def series_question(study_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Return the encoded identifier of a SERIES-level C-FIND."""
    with config.disable_value_validation():
        identifier = Dataset()
        identifier.QueryRetrieveLevel = "SERIES"
        identifier.StudyInstanceUID = study_instance_uid
        identifier.SeriesInstanceUID = None
        identifier.Modality = None
        identifier.NumberOfSeriesRelatedInstances = None
    return _encode(identifier, transfer_syntax_uid)


def image_question(
    study_instance_uid: str, series_instance_uid: str, transfer_syntax_uid: str
) -> bytes:
    """Return the encoded identifier of an IMAGE-level C-FIND within one series."""
    with config.disable_value_validation():
        identifier = Dataset()
        identifier.QueryRetrieveLevel = "IMAGE"
        identifier.StudyInstanceUID = study_instance_uid
        identifier.SeriesInstanceUID = series_instance_uid
        identifier.SOPInstanceUID = None
        identifier.SOPClassUID = None
    return _encode(identifier, transfer_syntax_uid)


def retrieve_request(
    transfer_syntax_uid: str,
    study_instance_uid: str,
    series_instance_uid: str | None = None,
    sop_instance_uids: Sequence[str] = (),
) -> bytes:
    """Return the encoded identifier of a C-MOVE or C-GET at the narrowest level given."""
    with config.disable_value_validation():  # The source's own UIDs, however it spells them.
        return _retrieve_request(
            transfer_syntax_uid, study_instance_uid, series_instance_uid, sop_instance_uids
        )


def _retrieve_request(
    transfer_syntax_uid: str,
    study_instance_uid: str,
    series_instance_uid: str | None,
    sop_instance_uids: Sequence[str],
) -> bytes:
    identifier = Dataset()
    identifier.StudyInstanceUID = study_instance_uid
    identifier.QueryRetrieveLevel = "STUDY"
    if series_instance_uid is not None:
        identifier.QueryRetrieveLevel = "SERIES"
        identifier.SeriesInstanceUID = series_instance_uid
    if sop_instance_uids:
        identifier.QueryRetrieveLevel = "IMAGE"
        identifier.SOPInstanceUID = list(sop_instance_uids)
    return _encode(identifier, transfer_syntax_uid)


def decode_study_answer(identifier: bytes, transfer_syntax_uid: str) -> Mapping[str, str]:
    """Return keyword -> text of an answer. Values that break their VR are kept as they are.

    Raises `HeaderUnreadable` where the bytes are no identifier.
    """
    try:
        with config.disable_value_validation():
            return _texts(identifier, transfer_syntax_uid)
    except Exception:  # noqa: BLE001 - pydicom raises many kinds for a character set or VR that is none
        return _plain_texts(identifier, transfer_syntax_uid)


def _texts(identifier: bytes, transfer_syntax_uid: str) -> Mapping[str, str]:
    dataset = _decode(identifier, transfer_syntax_uid)
    answer: dict[str, str] = {}
    for keyword in (*STUDY_KEYWORDS, "RetrieveAETitle", "InstanceAvailability"):
        if keyword not in dataset:
            continue
        try:
            element = dataset[keyword]
            value = element.value
        except Exception as error:  # noqa: BLE001 - pydicom raises many kinds for one broken value
            answer[keyword] = f"unreadable: {type(error).__name__}"
            continue
        if value is None:
            text = ""
        elif isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue":
            text = "\\".join(str(part) for part in value)
        else:
            text = str(value)
        answer[keyword] = text
    return answer


def _plain_texts(identifier: bytes, transfer_syntax_uid: str) -> Mapping[str, str]:
    keywords = {int(Tag(keyword)): keyword for keyword in STUDY_KEYWORDS}
    found = read_elements(identifier, transfer_syntax_uid, keywords, last=max(keywords))
    return {keywords[tag]: value.decode("latin-1").strip("\0 ") for tag, value in found.items()}


def failed_sop_instance_uids(identifier: bytes, transfer_syntax_uid: str) -> list[str]:
    """Return (0008,0058) Failed SOP Instance UID List of a retrieve's final answer."""
    dataset = _decode(identifier, transfer_syntax_uid)
    raw = dataset.get_item(Tag(0x0008, 0x0058)) if 0x00080058 in dataset else None
    if raw is None:
        return []
    value = raw.value
    if isinstance(raw, RawDataElement) and isinstance(value, bytes):
        return [part.strip("\0 ") for part in value.decode("ascii", "replace").split("\\") if part]
    # pydicom makes a string of a list with one entry.
    return [value] if isinstance(value, str) else [str(part) for part in value or ()]


def _encode(identifier: Dataset, transfer_syntax_uid: str) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian = transfer_syntax_uid != EXPLICIT_VR_BIG_ENDIAN
    buffer.is_implicit_VR = transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN
    write_dataset(buffer, identifier)
    return buffer.getvalue()


def _decode(identifier: bytes, transfer_syntax_uid: str) -> Dataset:
    return read_dataset(
        io.BytesIO(identifier),
        is_implicit_VR=transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN,
        is_little_endian=transfer_syntax_uid != EXPLICIT_VR_BIG_ENDIAN,
    )
