"""What a source says about a study, and the questions it was asked."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from cloudmig.model.references import StudyRef

__all__ = ["Answer", "StudySummary", "parse_study_date"]


def parse_study_date(text: str) -> dt.date | None:
    """Return the day of a DA value (PS3.5 6.2), or None when it is empty or no day."""
    digits = text.strip().replace(".", "")  # ACR-NEMA wrote 1993.08.22; still met in old archives.
    if len(digits) != 8 or not digits.isascii() or not digits.isdigit():
        return None
    try:
        return dt.date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class StudySummary:
    """One STUDY-level answer of a source. It may be wrong; `answer` keeps it as it was given."""

    study: StudyRef
    study_date_text: str = ""  #: As answered; may be invalid.
    study_time_text: str = ""
    modalities: tuple[str, ...] = ()  #: ModalitiesInStudy, empty where the source does not know it.
    instances_claimed: int | None = None  #: NumberOfStudyRelatedInstances, None where absent.
    patient_key: str = ""  #: Keyed pseudonym of PatientID and issuer: tells two patients apart.
    answer: Mapping[str, str] = field(default_factory=dict)  #: Keyword -> text. Patient data!

    @property
    def study_date(self) -> dt.date | None:
        return parse_study_date(self.study_date_text)


@dataclass(frozen=True, slots=True)
class Answer:
    """How one inventory question ended: the evidence that coverage is shown with."""

    question: str  #: Canonical text of the question, without patient data.
    answered: int
    verdict: str  #: complete | split | failed
    parent: str = ""  #: The question that was split into this one.
