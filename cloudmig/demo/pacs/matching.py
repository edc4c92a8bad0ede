"""C-FIND of the Study Root model: what matches, and the answers (PS3.4 C.2.2.2 and C.6.2)."""

from __future__ import annotations

import datetime as dt
import fnmatch
import io
from collections.abc import Iterator, Mapping

from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import ImplicitVRLittleEndian

from cloudmig.demo.data_sets import encoded, with_values
from cloudmig.demo.pacs.holdings import Holdings
from cloudmig.demo.pacs.script import Script
from cloudmig.demo.studies import Instance, Series, Study

__all__ = ["answers", "encode_answer", "parse_identifier"]

Row = dict[str, str | int | list[str]]

_DATES_AND_TIMES = frozenset({"StudyDate", "StudyTime", "SeriesDate", "SeriesTime"})
#: What a PACS must match on (PS3.4 table C.6-5) and the unique keys of the levels.
_REQUIRED = frozenset(
    {"StudyDate", "StudyTime", "AccessionNumber", "PatientName", "PatientID", "StudyID",
     "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "Modality", "SeriesNumber",
     "InstanceNumber"}
)  # fmt: skip
_COUNTS = frozenset(
    {"NumberOfStudyRelatedInstances", "NumberOfStudyRelatedSeries", "ModalitiesInStudy",
     "NumberOfSeriesRelatedInstances", "SOPClassesInStudy"}
)  # fmt: skip
_UNIQUE_ABOVE = frozenset({"StudyInstanceUID", "SeriesInstanceUID"})
_TIME_LENGTH = len("HHMMSS.FFFFFF")
_NO_CRITERIA = frozenset({"QueryRetrieveLevel", "SpecificCharacterSet", "TimezoneOffsetFromUTC"})


def parse_identifier(data: bytes, transfer_syntax_uid: str) -> dict[str, str]:
    """Read an identifier into keyword -> text; elements the dictionary lacks are left out."""
    implicit = transfer_syntax_uid == ImplicitVRLittleEndian
    data_set = read_dataset(io.BytesIO(data), is_implicit_VR=implicit, is_little_endian=True)
    told: dict[str, str] = {}
    # The raw values: converting would judge them, and date ranges are no dates.
    for element in data_set.values():
        keyword = keyword_for_tag(element.tag)
        if keyword and isinstance(element, RawDataElement):
            told[keyword] = (element.value or b"").decode("utf-8", "replace").rstrip("\0 ")
    return told


def answers(holdings: Holdings, script: Script, identifier: Mapping[str, str]) -> Iterator[Row]:
    """Find what matches, as the script would have it; limits are the caller's affair."""
    criteria = {
        keyword: value
        for keyword, value in identifier.items()
        if value
        and keyword not in _NO_CRITERIA
        and not (script.ignores_dates and keyword in _DATES_AND_TIMES)
        and not (script.ignores_optional_keys and keyword not in _REQUIRED)
        and not (script.ignores_unique_keys and keyword in _UNIQUE_ABOVE)
    }
    for row in _rows(holdings, identifier.get("QueryRetrieveLevel", ""), criteria):
        if all(_matches(keyword, value, row) for keyword, value in criteria.items()):
            yield row
            if script.answers_twice:
                yield row


def encode_answer(
    row: Row, script: Script, identifier: Mapping[str, str], transfer_syntax_uid: str
) -> bytes:
    """Encode one answer: the keys that were asked for, empty where the PACS has nothing."""
    unique = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    told: Row = {keyword: row[keyword] for keyword in unique if keyword in row}
    hidden = frozenset() if script.optional_counts else _COUNTS
    if not script.sop_classes:
        hidden |= {"SOPClassUID"}
    for keyword in identifier:
        if keyword not in told and keyword not in hidden:
            told[keyword] = row.get(keyword, "")
            if script.counts_are_zero and keyword.startswith("NumberOf"):
                told[keyword] = "0"
    told["QueryRetrieveLevel"] = identifier.get("QueryRetrieveLevel", "")
    told["SpecificCharacterSet"] = "ISO_IR 192"
    data_set = with_values(Dataset(), _without_sequences(told))
    if not script.character_set_told and "SpecificCharacterSet" not in identifier:
        # The bytes are UTF-8 all the same: as old PACS do it, the reader is left to guess.
        whole = encoded(data_set, transfer_syntax_uid)
        head = encoded(
            with_values(Dataset(), {"SpecificCharacterSet": "ISO_IR 192"}), transfer_syntax_uid
        )
        return whole.replace(head, b"", 1)
    return encoded(data_set, transfer_syntax_uid)


def _without_sequences(row: Row) -> Row:
    """Leave out sequence keys that came along: this PACS has none to return."""
    return {keyword: value for keyword, value in row.items() if not keyword.endswith("Sequence")}


def _rows(holdings: Holdings, level: str, criteria: Mapping[str, str]) -> Iterator[Row]:
    wanted = criteria.get("StudyInstanceUID")
    studies: list[Study] | tuple[Study, ...] = holdings.studies
    if wanted:
        studies = [study for uid in wanted.split("\\") for study in holdings.under(uid)]
    for study in studies:
        if level == "STUDY":
            yield _study_row(holdings, study)
        elif level == "SERIES":
            for series in study.series:
                yield _series_row(holdings, study, series)
        else:
            asked = criteria.get("SeriesInstanceUID", "")
            for instance in holdings.instances_of(study):
                if not asked or instance.series_instance_uid in asked:
                    yield _image_row(study, instance)


def _study_row(holdings: Holdings, study: Study) -> Row:
    # Counting needs the list of instances only where an oddity may have changed it.
    counted = (
        len(holdings.instances_of(study))
        if study.oddities
        else sum(series.instances for series in study.series)
    )
    return {
        **_patient_and_study(study),
        "ModalitiesInStudy": list(study.modalities),
        "NumberOfStudyRelatedSeries": str(len(study.series)),
        "NumberOfStudyRelatedInstances": str(counted),
        "SOPClassesInStudy": sorted({series.sop_class_uid for series in study.series}),
        "InstanceAvailability": "ONLINE",
    }


def _patient_and_study(study: Study) -> Row:
    return {
        "StudyInstanceUID": study.study_instance_uid,
        "StudyDate": study.study_date,
        "StudyTime": study.study_time,
        "AccessionNumber": study.accession_number,
        "StudyID": study.study_id,
        "StudyDescription": study.description,
        "PatientName": study.patient.name,
        "PatientID": study.patient.patient_id,
        "PatientBirthDate": study.patient.birth_date,
        "PatientSex": study.patient.sex,
    }


def _series_row(holdings: Holdings, study: Study, series: Series) -> Row:
    counted = series.instances
    if study.oddities:
        counted = sum(
            instance.series_instance_uid == series.series_instance_uid
            for instance in holdings.instances_of(study)
        )
    return {
        **_patient_and_study(study),
        "SeriesInstanceUID": series.series_instance_uid,
        "SeriesNumber": str(series.series_number),
        "SeriesDate": study.study_date,
        "Modality": series.modality,
        "SeriesDescription": f"{series.modality} series {series.series_number}",
        "NumberOfSeriesRelatedInstances": str(counted),
    }


def _image_row(study: Study, instance: Instance) -> Row:
    return {
        "StudyInstanceUID": study.study_instance_uid,
        "SeriesInstanceUID": instance.series_instance_uid,
        "SOPInstanceUID": instance.sop_instance_uid,
        "SOPClassUID": instance.sop_class_uid,
        "InstanceNumber": str(instance.instance_number),
    }


def _matches(keyword: str, wanted: str, row: Row) -> bool:
    """Apply one criterion; a key the level does not have is no criterion."""
    if keyword not in row:
        return True
    has = row[keyword]
    values = has if isinstance(has, list) else [str(has)]
    if keyword.endswith("UID"):
        return any(value in wanted.split("\\") for value in values)
    if keyword.endswith("Date"):
        return any(_in_range(value, wanted) for value in values if _is_date(value))
    if keyword.endswith("Time"):
        return any(_in_range(_whole_time(value), wanted) for value in values if value)
    if keyword.endswith("Name"):
        wanted, values = wanted.casefold(), [value.casefold() for value in values]
    return any(
        fnmatch.fnmatchcase(value, one.replace("[", "[[]"))
        for value in values
        for one in wanted.split("\\")
    )


def _in_range(value: str, wanted: str) -> bool:
    """Match a single value or a range (PS3.4 C.2.2.2.5), open at either end."""
    first, dash, last = wanted.partition("-")
    if not dash:
        return value.startswith(wanted.strip())
    first, last = first.strip(), last.strip()
    if len(value) == _TIME_LENGTH:
        first = _whole_time(first) if first else ""
    return (not first or value >= first) and (not last or value[: len(last)] <= last)


def _whole_time(value: str) -> str:
    """Fill up a time to HHMMSS.FFFFFF, so that texts compare as times do."""
    seconds, _, fraction = value.partition(".")
    return f"{seconds:0<6}.{fraction:0<6}"


def _is_date(value: str) -> bool:
    try:
        dt.datetime.strptime(value, "%Y%m%d")  # noqa: DTZ007 - a date has no zone
    except ValueError:
        return False  # A database column of type DATE holds nothing for it.
    return True
