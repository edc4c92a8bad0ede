"""What a source says of a study is taken as it means it."""

from __future__ import annotations

import pytest

from cloudmig.model.study import StudySummary


@pytest.mark.parametrize("said", ["CT\\SR", "CT,SR", "CT, SR", "CT/SR", "CT \\ SR", "CT;SR\\"])
def test_modalities_are_told_apart_however_they_are_joined(said: str) -> None:
    """A rule for CT must meet the study: a text like "CT,SR" is the modality of none."""
    summary = StudySummary.of_answer(
        {"StudyInstanceUID": "1.2.3", "ModalitiesInStudy": said},
        instances_claimed=None,
        patient_key=lambda *_: "key",
    )

    assert summary.modalities == ("CT", "SR")
