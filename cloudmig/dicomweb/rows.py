"""What a server answers to a search: rows in DICOM JSON, or as XML parts (PS3.18 8.7.3.2, 10.6.3).

XML is read into the form of JSON, so that nobody else needs to know which it was.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Mapping
from typing import Any

from cloudmig.dicomweb.answers import AnswerUnreadable, read_json
from cloudmig.dicomweb.multipart import MultipartTorn, RelatedParts

__all__ = ["Row", "boundary_of", "read_data_sets"]

Row = Mapping[str, Any]

#: What is not quoted goes up to the next semicolon, whatever a token may hold (RFC 9110 5.6.2).
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)')
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_ESCAPED = re.compile(r"\\(.)")
_PERSON_NAME_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_PERSON_NAME_PARTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")


async def read_data_sets(body: bytes, content_type: str) -> list[Row]:
    """Return the rows of a search's answer. Raises `AnswerUnreadable`."""
    text = body.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not text:
        return []
    if content_type.lower().startswith("multipart/"):
        return [_from_xml(part) async for part in _parts(body, content_type)]
    if text.startswith(b"<"):
        return [_from_xml(text)]
    rows = read_json(text)
    if isinstance(rows, dict) and any(map(_TAG.fullmatch, rows)):
        rows = [rows]  # Some make no list of a single row.
    if not isinstance(rows, list):
        raise AnswerUnreadable("a search is answered with a list")
    return [row for row in rows if isinstance(row, dict)]


def boundary_of(content_type: str) -> str:
    """Return the boundary of a multipart body (RFC 2046 5.1.1); nothing where it is none."""
    if not content_type.lower().startswith("multipart/"):
        return ""
    for name, text in _PARAMETER.findall(content_type):
        if name.lower() == "boundary":
            return _ESCAPED.sub(r"\1", text[1:-1]) if text[:1] == '"' else str(text).strip()
    return ""


async def _parts(body: bytes, content_type: str) -> AsyncIterator[bytes]:
    async def whole() -> AsyncIterator[bytes]:
        yield body

    try:
        parts = RelatedParts(whole(), boundary_of(content_type))
        while await parts.next_part():
            yield b"".join([piece async for piece in parts.content()])
    except MultipartTorn as error:
        raise AnswerUnreadable(str(error)) from error


def _from_xml(text: bytes) -> Row:
    """Return a Native DICOM Model (PS3.19 A.1) as DICOM JSON; no sequences, a row needs none."""
    if b"<!" in text:
        # Entities are how XML is made to explode; a Native DICOM Model has none.
        raise AnswerUnreadable("no plain XML")
    try:
        root = ET.fromstring(text)  # noqa: S314 - bounded in size, and without entities
    except (ET.ParseError, ValueError) as error:
        raise AnswerUnreadable("no XML") from error
    row: dict[str, Any] = {}
    for attribute in root:
        values = [_value(child) for child in attribute if _name(child) in {"Value", "PersonName"}]
        row[attribute.get("tag", "").upper()] = {"vr": attribute.get("vr", ""), "Value": values}
    return row


def _value(element: ET.Element) -> str | dict[str, str]:
    if _name(element) == "Value":
        return element.text or ""
    written = {}
    for group in element:
        parts = {_name(part): part.text or "" for part in group}
        text = "^".join(parts.get(name, "") for name in _PERSON_NAME_PARTS)
        written[_name(group)] = text.rstrip("^")
    return {name: written[name] for name in _PERSON_NAME_GROUPS if name in written}


def _name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]  # With or without the namespace.
