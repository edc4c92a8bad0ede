"""The data set of a made-up instance: the header by pydicom, the picture behind it."""

from __future__ import annotations

from collections.abc import Mapping

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ImplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless

from cloudmig.demo.pixels import encapsulated_jpeg, encapsulated_rle, grey_16, stamp_of
from cloudmig.demo.studies import Series, Study

__all__ = ["encode_data_set", "encoded", "with_values"]


def with_values(data_set: Dataset, values: Mapping[str, object]) -> Dataset:
    """Set elements by keyword without a look at the values: an archive holds invalid ones."""
    for keyword, value in values.items():
        data_set.add(_element(keyword, value))
    return data_set


def _element(keyword: str, value: object) -> DataElement:
    tag = tag_for_keyword(keyword)
    assert tag is not None, f"not a DICOM keyword: {keyword}"
    return DataElement(tag, dictionary_VR(tag), value, validation_mode=config.IGNORE)


def encoded(data_set: Dataset, transfer_syntax_uid: str) -> bytes:
    """Encode in the byte order and VR coding of the transfer syntax (PS3.5 annex A)."""
    stream = DicomBytesIO()
    stream.is_little_endian = True
    stream.is_implicit_VR = transfer_syntax_uid == ImplicitVRLittleEndian
    write_dataset(stream, data_set)
    return stream.getvalue()


def encode_data_set(study: Study, series: Series, number: int, sop_instance_uid: str) -> bytes:
    """Encode one instance of the series, with a picture unless it is a report."""
    data_set = Dataset()
    with_values(data_set, _who_and_what(study, series, number, sop_instance_uid))
    if series.modality == "SR":
        _write_report(data_set, sop_instance_uid)
    else:
        _draw_picture(data_set, series, number, sop_instance_uid)
    return encoded(data_set, series.transfer_syntax_uid)


def _who_and_what(
    study: Study, series: Series, number: int, sop_instance_uid: str
) -> dict[str, object]:
    return {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": series.sop_class_uid,
        "SOPInstanceUID": sop_instance_uid,
        "StudyDate": study.study_date,
        "SeriesDate": study.study_date,
        "StudyTime": study.study_time,
        "AccessionNumber": study.accession_number,
        "Modality": series.modality,
        "Manufacturer": "Made Up Imaging",
        "InstitutionName": "Example Hospital",
        "ReferringPhysicianName": "Referring^Example",
        "StudyDescription": study.description,
        "SeriesDescription": f"{series.modality} series {series.series_number}",
        "PatientName": study.patient.name,
        "PatientID": study.patient.patient_id,
        "PatientBirthDate": study.patient.birth_date,
        "PatientSex": study.patient.sex,
        "StudyInstanceUID": study.study_instance_uid,
        "SeriesInstanceUID": series.series_instance_uid,
        "StudyID": study.study_id,
        "SeriesNumber": str(series.series_number),
        "InstanceNumber": str(number),
    }


def _draw_picture(data_set: Dataset, series: Series, number: int, sop_instance_uid: str) -> None:
    rows, columns = series.rows, series.columns
    bits_allocated, bits_stored = 16, 12
    if series.transfer_syntax_uid == JPEGBaseline8Bit:
        pixels = encapsulated_jpeg(sop_instance_uid, rows=rows, columns=columns)
        bits_allocated = bits_stored = 8
    elif series.transfer_syntax_uid == RLELossless:
        pixels = encapsulated_rle(sop_instance_uid, rows=rows, columns=columns)
    else:
        pixels = grey_16(sop_instance_uid, rows=rows, columns=columns)
    with_values(
        data_set,
        {
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "Rows": rows,
            "Columns": columns,
            "BitsAllocated": bits_allocated,
            "BitsStored": bits_stored,
            "HighBit": bits_stored - 1,
            "PixelRepresentation": 0,
        },
    )
    if series.modality in {"CT", "MR"}:
        with_values(
            data_set,
            {
                "SliceThickness": "3",
                "PixelSpacing": ["0.7", "0.7"],
                "ImagePositionPatient": ["-120", "-120", str(3 * number)],
                "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
                "FrameOfReferenceUID": f"{series.series_instance_uid}.1",
            },
        )
    compressed = series.transfer_syntax_uid in {JPEGBaseline8Bit, RLELossless}
    element = DataElement("PixelData", "OB" if compressed else "OW", pixels)
    element.is_undefined_length = compressed
    data_set.add(element)


def _write_report(data_set: Dataset, sop_instance_uid: str) -> None:
    """Add the content of a basic text report: a title and one paragraph (PS3.3 A.35.1)."""
    paragraph = with_values(
        Dataset(),
        {
            "RelationshipType": "CONTAINS",
            "ValueType": "TEXT",
            "ConceptNameCodeSequence": [_code("121071", "Finding")],
            "TextValue": f"No finding of note. Reading {stamp_of(sop_instance_uid, 200).hex()}.",
        },
    )
    with_values(
        data_set,
        {
            "CompletionFlag": "COMPLETE",
            "VerificationFlag": "UNVERIFIED",
            "ValueType": "CONTAINER",
            "ContinuityOfContent": "SEPARATE",
            "ConceptNameCodeSequence": [_code("18748-4", "Diagnostic imaging report", "LN")],
            "ContentSequence": [paragraph],
        },
    )


def _code(value: str, meaning: str, scheme: str = "DCM") -> Dataset:
    return with_values(
        Dataset(),
        {"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning},
    )
