"""A study without a usable Study Instance UID is known by the digest of its answer."""

from __future__ import annotations

import pytest

from cloudmig.model.references import StudyRef
from cloudmig.model.study import UnnamedStudy, reference_of

ANSWER = {"StudyInstanceUID": "", "PatientName": "MÜLLER^ÄNNE", "StudyDate": "20240229"}


def test_an_answer_with_a_usable_uid_names_its_study() -> None:
    assert reference_of({**ANSWER, "StudyInstanceUID": "1.2.3"}) == StudyRef("1.2.3")


@pytest.mark.parametrize("text", ["", " ", "../../x", "1.2..3", "1.2.3\n", "1." * 40 + "1"])
def test_any_other_is_known_by_its_digest(text: str) -> None:
    found = reference_of({**ANSWER, "StudyInstanceUID": text})

    assert isinstance(found, UnnamedStudy)
    assert found == UnnamedStudy.of(dict(reversed({**ANSWER, "StudyInstanceUID": text}.items())))


def test_an_answer_without_the_key_is_known_too() -> None:
    assert isinstance(reference_of({}), UnnamedStudy)


def test_the_digest_is_the_same_in_every_version() -> None:
    """A later version that made another would double every such study of an old catalog."""
    assert (
        UnnamedStudy.of(ANSWER).answer_sha256
        == "a84abe5705686d3af05b77488a8a4085dedb5b0564c7b3269dfcd8b5403e4943"
    )


def test_a_study_that_grows_stays_the_same() -> None:
    grown = {
        "NumberOfStudyRelatedInstances": "9",
        "ModalitiesInStudy": "CT",
        "RetrieveAETitle": "X",
    }

    assert UnnamedStudy.of({**ANSWER, **grown}) == UnnamedStudy.of(ANSWER)


@pytest.mark.parametrize("keyword", ANSWER)
def test_whatever_else_differs_makes_another_study(keyword: str) -> None:
    assert UnnamedStudy.of({**ANSWER, keyword: "other"}) != UnnamedStudy.of(ANSWER)


def test_text_that_is_no_text_has_a_digest() -> None:
    assert UnnamedStudy.of({"StudyInstanceUID": "\udc80\0"}).answer_sha256
