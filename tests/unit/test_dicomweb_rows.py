"""Rows of a search, in the JSON that servers really write."""

from __future__ import annotations

import pytest

from cloudmig.dicom.search import study_answer
from cloudmig.dicomweb import AnswerUnreadable, read_data_sets
from cloudmig.dicomweb.answers import instances_of

ROW = '[{"0020000D":{"vr":"UI","Value":["1.2.3"]},"00100010":{"vr":"PN","Value":["%s"]}}]'


@pytest.mark.parametrize(("body", "name"), [
    ((ROW % "Müller").encode(), "Müller"),
    ((ROW % "Müller").encode("utf-16"), "Müller"),
    ((ROW % "Müller").encode("latin-1"), "Müller"),
    ((ROW % "a\tb\x1b$B").encode(), "a\tb\x1b$B"),
    ((ROW % "a\\ud800").encode(), "a?"),
    ((ROW % "a\ud800").encode("utf-8", "surrogatepass"), "a?"),
], ids=["UTF-8", "UTF-16", "Latin-1", "controls", "half", "half in UTF-8"])  # fmt: skip
async def test_one_badly_written_name_hides_no_study(body: bytes, name: str) -> None:
    """Some write text as the data set has it, whatever JSON wants (RFC 8259 7, 8.1)."""
    [row] = await read_data_sets(body, "application/dicom+json")
    answer = study_answer(row)

    assert answer["StudyInstanceUID"] == "1.2.3"
    assert answer["PatientName"] == name


@pytest.mark.parametrize("body", [
    b'[{"0020000d":{"vr":"UI","Value":["1.2.3"]}}]', b'[{"0020000D":{"vr":"UI","Value":"1.2.3"}}]',
    b'{"0020000D":{"vr":"UI","Value":["1.2.3"]}}',
], ids=["small letters", "no list of values", "no list of rows"])  # fmt: skip
async def test_a_row_in_a_form_of_its_own_is_still_a_row(body: bytes) -> None:
    [row] = await read_data_sets(body, "application/dicom+json")

    assert study_answer(row)["StudyInstanceUID"] == "1.2.3"


@pytest.mark.parametrize("body", [
    b'[{"00080018":{"Value":["1.2.3"]},"00100010":{"Value":["M\xfcller\x1b"]}}]',
    b'[{"00080018":{"Value":"1.2.3"}}]', b'{"00080018":{"Value":["1.2.3"]}}',
], ids=["a name", "no list of values", "no list of rows"])  # fmt: skip
async def test_nor_does_it_hide_what_a_store_lists(body: bytes) -> None:
    """An instance that is there and not seen in the list would be sent again and again."""
    rows = await read_data_sets(body, "application/dicom+json")

    assert instances_of(rows) == [("", "1.2.3")]


@pytest.mark.parametrize(
    "body", [b"{}", b'{"error":"no"}', b"[", b'"\xff"', b"\xff", b"<x>", b"cb([])"]
)
async def test_what_is_no_list_is_no_answer(body: bytes) -> None:
    with pytest.raises(AnswerUnreadable):
        await read_data_sets(body, "application/dicom+json")
