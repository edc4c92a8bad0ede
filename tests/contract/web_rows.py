"""Rows of a search as a DICOMweb server writes them: DICOM JSON, and XML in parts (PS3.18 F)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from aiohttp import web
from pydicom.datadict import dictionary_VR, tag_for_keyword

__all__ = ["json_row", "xml_answer"]


def json_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Write a row as DICOM JSON (PS3.18 F.2)."""
    told: dict[str, Any] = {"00081190": {"vr": "UR", "Value": ["http://127.0.0.1:9/elsewhere"]}}
    for keyword, value in row.items():
        tag = f"{tag_for_keyword(keyword):08X}"
        vr = dictionary_VR(keyword)
        values = value if isinstance(value, list) else [value] if value != "" else []
        if vr == "PN":
            values = [_person_name(str(each)) for each in values]
        elif vr == "IS":
            values = [int(each) for each in values]
        told[tag] = {"vr": vr, "Value": values} if values else {"vr": vr}
    return told


def _person_name(text: str) -> dict[str, str]:
    groups = ("Alphabetic", "Ideographic", "Phonetic")
    return {group: part for group, part in zip(groups, text.split("="), strict=False) if part}


def xml_answer(
    rows: Sequence[Mapping[str, Any]], status: int, headers: dict[str, str]
) -> web.Response:
    body = b""
    for row in rows:
        attributes = []
        for keyword, value in row.items():
            values = value if isinstance(value, list) else [value] if value != "" else []
            vr = dictionary_VR(keyword)
            inner = "".join(_xml_value(vr, number, each) for number, each in enumerate(values, 1))
            tag = f"{tag_for_keyword(keyword):08X}"
            attributes.append(f'<DicomAttribute tag="{tag}" vr="{vr}">{inner}</DicomAttribute>')
        document = (
            '<NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM">'
            f"{''.join(attributes)}</NativeDicomModel>"
        )
        body += (
            b"--xml\r\nContent-Type: application/dicom+xml\r\n\r\n" + document.encode() + b"\r\n"
        )
    kind = 'multipart/related; type="application/dicom+xml"; boundary=xml'
    return web.Response(
        status=status, body=body + b"--xml--\r\n", headers={**headers, "Content-Type": kind}
    )


def _xml_value(vr: str, number: int, value: str) -> str:
    if vr != "PN":
        return f'<Value number="{number}">{escape(str(value))}</Value>'
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), value.split("="), strict=False)
    names = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
    inner = ""
    for group, text in groups:
        parts = "".join(
            f"<{name}>{escape(part)}</{name}>"
            for name, part in zip(names, text.split("^"), strict=False)
        )
        inner += f"<{group}>{parts}</{group}>"
    return f'<PersonName number="{number}">{inner}</PersonName>'
