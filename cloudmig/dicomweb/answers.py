"""What a server says to a store and to a query: DICOM JSON and XML (PS3.18 F, PS3.19 A.1).

An answer is evidence given by a stranger: what cannot be understood is left out, and whoever asked
must look for himself. Nothing of its text is kept, only UIDs and codes.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cloudmig.model.references import is_usable_uid

__all__ = ["AnswerUnreadable", "StoreAnswer", "instances_of", "read_json", "read_store_answer"]

_FAILED_SOP_SEQUENCE = "00081198"
_REFERENCED_SOP_SEQUENCE = "00081199"
_REFERENCED_SOP_INSTANCE_UID = "00081155"
_WARNING_REASON = "00081196"
_FAILURE_REASON = "00081197"
_SOP_INSTANCE_UID = "00080018"
_SERIES_INSTANCE_UID = "0020000E"


class AnswerUnreadable(ValueError):  # noqa: N818 - named for what happened, as in errors.py
    """The body is not what was asked for."""


@dataclass(frozen=True, slots=True)
class StoreAnswer:
    """A Store Instances Response, instance by instance (PS3.18 10.5.3, table I.2-1).

    An instance named as stored and as failed at once, or as stored with a warning in a form that
    nobody can read, is in neither: that has to be looked up.
    """

    #: SOP Instance UID -> Warning Reason, None where there is none.
    stored: Mapping[str, int | None] = field(default_factory=dict)
    #: SOP Instance UID -> Failure Reason, None where none is given or it is no number.
    failed: Mapping[str, int | None] = field(default_factory=dict)
    #: Reasons of failures that name no instance: the server could not read it so far.
    unnamed: tuple[int | None, ...] = ()


def read_store_answer(body: bytes) -> StoreAnswer:
    """Read the answer to a store; one that cannot be read says nothing about any instance."""
    try:
        data_set = _data_set(body)
    except AnswerUnreadable:
        return StoreAnswer()
    stored, failed, unnamed = {}, {}, []
    for item in _items(data_set, _REFERENCED_SOP_SEQUENCE):
        warning = _number(item, _WARNING_REASON)
        is_told = warning is not None or _is_empty(item.get(_WARNING_REASON))
        if is_told and (uid := _uid(item, _REFERENCED_SOP_INSTANCE_UID)):
            stored[uid] = warning
    for item in _items(data_set, _FAILED_SOP_SEQUENCE):
        reason = _number(item, _FAILURE_REASON)
        if uid := _uid(item, _REFERENCED_SOP_INSTANCE_UID):
            failed[uid] = reason
        else:
            unnamed.append(reason)
    for uid in stored.keys() & failed.keys():
        del stored[uid], failed[uid]
    return StoreAnswer(stored, failed, tuple(unnamed))


def instances_of(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return series and instance of each row of a query's answer (PS3.18 10.6.3, F.2).

    A row that leaves its series out has an empty one.
    """
    return [
        (_uid(row, _SERIES_INSTANCE_UID), uid)
        for row in rows
        if (uid := _uid(row, _SOP_INSTANCE_UID))
    ]


def read_json(text: bytes) -> Any:  # noqa: ANN401 - JSON
    """Read JSON, also with names in it as the data set has them: UIDs are ASCII in any of these."""
    try:
        try:
            return json.loads(text, strict=False)
        except UnicodeDecodeError:
            return json.loads(text.decode("latin-1"), strict=False)
    except (ValueError, RecursionError) as error:
        raise AnswerUnreadable("no JSON") from error


def _data_set(body: bytes) -> Any:  # noqa: ANN401 - JSON
    """Return an answer as DICOM JSON. Some servers label it wrongly or not at all."""
    text = body.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"<"):
        return _from_xml(text)
    data_set = read_json(text)
    # One data set was asked for; some servers put it into a list, as answers to queries are.
    return data_set[0] if isinstance(data_set, list) and data_set else data_set


def _from_xml(text: bytes) -> dict[str, Any]:
    """Return a Native DICOM Model as DICOM JSON; only what an answer needs."""
    if b"<!" in text:
        # Entities are how XML is made to explode; a Native DICOM Model has none.
        raise AnswerUnreadable("no plain XML")
    try:
        root = ET.fromstring(text)  # noqa: S314 - bounded in size, and without entities
        return _from_element(root, depth=0)
    except (ET.ParseError, ValueError) as error:
        raise AnswerUnreadable("no XML") from error


def _from_element(element: ET.Element, *, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for attribute in element:
        if depth > 2 or not _is_named(attribute, "DicomAttribute"):
            continue  # An answer is a data set with sequences of flat items.
        values: list[Any] = []
        for child in attribute:
            if _is_named(child, "Item"):
                values.append(_from_element(child, depth=depth + 1))
            elif _is_named(child, "Value"):
                values.append(child.text or "")
        found[attribute.get("tag", "").upper()] = {"Value": values}
    return found


def _is_named(element: ET.Element, name: str) -> bool:
    return element.tag.rpartition("}")[2] == name  # With or without the namespace.


def _values(item: Any, tag: str) -> list[Any]:  # noqa: ANN401 - JSON
    attribute = item.get(tag) if isinstance(item, dict) else None
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    if isinstance(values, list):
        return values
    return [] if values is None else [values]  # Some make no list of a single value.


def _items(data_set: Any, tag: str) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - JSON
    yield from (item for item in _values(data_set, tag) if isinstance(item, dict))


def _uid(item: Any, tag: str) -> str:  # noqa: ANN401 - JSON
    """Return a UID, or nothing where there is none or one that cannot be ours."""
    for value in _values(item, tag):
        if isinstance(value, str) and is_usable_uid(uid := value.strip("\0 \r\n\t")):
            return uid
    return ""


def _number(item: dict[str, Any], tag: str) -> int | None:
    for value in _values(item, tag):
        try:
            return int(value)
        except (TypeError, ValueError, OverflowError):
            continue
    return None


def _is_empty(attribute: Any) -> bool:  # noqa: ANN401 - JSON
    """Say whether an attribute holds nothing, or is not there (PS3.18 F.2.5)."""
    if not isinstance(attribute, dict):
        return attribute is None
    values = attribute.get("Value") or []
    said = values if isinstance(values, list) else [values]
    return attribute.keys() <= {"vr", "Value"} and all(each is None or each == "" for each in said)
