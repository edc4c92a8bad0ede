"""Answers to a STUDY-level query are read whatever is wrong with one of their values."""

from __future__ import annotations

import pytest

from cloudmig.dicom.header import HeaderUnreadable
from cloudmig.dicom.query import count_of, decode_study_answer

EXPLICIT = "1.2.840.10008.1.2.1"
DATE = b"\x08\x00\x20\x00DA\x08\x0020200101"
UID = b"\x20\x00\x0d\x00UI\x06\x001.2.3\0"


@pytest.mark.parametrize(
    "character_set",
    [b"\x08\x00\x05\x00CS\x08\x00utf\0 8xx", b"\x08\x00\x05\x00CT\x0a\x00ISO_IR 100"],
    ids=["a character set with a NUL", "a VR that is none"],
)
def test_a_broken_value_does_not_end_the_inventory(character_set: bytes) -> None:
    answer = decode_study_answer(character_set + DATE + UID, EXPLICIT)

    assert (answer["StudyInstanceUID"], answer["StudyDate"]) == ("1.2.3", "20200101")


def test_what_is_no_identifier_is_unreadable() -> None:
    with pytest.raises(HeaderUnreadable):
        decode_study_answer(b"\x08\x00\x05\x00CT\x0a\x00ISO", EXPLICIT)


@pytest.mark.parametrize(
    ("said", "count"),
    [
        ("17", 17), (" 17 ", 17), ("0017", 17), ("17\0", 17), ("17.0", 17),
        ("2147483647", 2**31 - 1),
        ("", None), ("-1", None), ("many", None), ("\xb2", None), ("17.5", None),
        ("4294967295", None), ("9" * 20, None), ("9" * 5000, None),
    ],
)  # fmt: skip
def test_a_count_that_cannot_be_one_counts_nothing(said: str, count: int | None) -> None:
    """A series of 9...9 instances ended the whole run; PostgreSQL has no column for 4294967295."""
    assert count_of(said) == count
