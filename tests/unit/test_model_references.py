"""References can be put into an object key, or they cannot be made."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudmig.model.references import InstanceRef, SeriesRef, StudyRef, is_usable_uid

HOSTILE = [
    "",
    ".",
    "..",
    "../../x",
    "1..2",
    ".1.2",
    "1.2.",
    "1.2/3",
    "1.2\\3",
    "1.2\n",
    "1.2\0",
    " 1.2",
    "1.2 ",
    "1.2.x",
    "1.٢.3",  # a digit for str.isdigit(), and not for an object key
    "-1.2",
    "1" * 65,
    "1." + "2" * 63,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_cannot_name_an_object_never_becomes_a_reference(text: str) -> None:
    assert not is_usable_uid(text)
    with pytest.raises(ValueError, match="study_instance_uid is not a usable UID"):
        StudyRef(text)
    with pytest.raises(ValueError, match="series_instance_uid"):
        SeriesRef("1.2", text)
    with pytest.raises(ValueError, match="sop_instance_uid"):
        InstanceRef("1.2", "1.3", text)


@pytest.mark.parametrize("text", ["1", "0", "1.2.840.10008", "1.02.3", "9" * 64])
def test_real_uids_are_usable_even_with_leading_zeros(text: str) -> None:
    assert is_usable_uid(text)
    assert StudyRef(text).study_instance_uid == text


def test_the_refusal_does_not_repeat_what_was_sent() -> None:
    """A UID field may hold anything, a name too; errors are logged."""
    with pytest.raises(ValueError, match="not a usable UID") as caught:
        StudyRef("CANARY^NAME")

    assert "CANARY" not in str(caught.value)


def test_an_instance_knows_its_study() -> None:
    assert InstanceRef("1.2", "1.3", "1.4").study == StudyRef("1.2")


@given(st.text(max_size=80))
def test_usable_text_is_one_plain_path_component(text: str) -> None:
    if is_usable_uid(text):
        assert text.isascii()
        assert len(text) <= 64
        assert "/" not in text
        assert text.strip(".") == text
        assert ".." not in text
        assert all(part.isdigit() for part in text.split("."))
