"""What a source says about a study, and the questions it was asked."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

from cloudmig.model.references import StudyRef, is_usable_uid

__all__ = ["Answer", "StudySummary", "UnnamedStudy", "parse_study_date", "reference_of"]

#: What changes while a study grows or moves about in its archive: no part of who it is.
_PASSING_KEYWORDS = frozenset({
    "InstanceAvailability", "ModalitiesInStudy", "NumberOfStudyRelatedInstances",
    "NumberOfStudyRelatedSeries", "RetrieveAETitle", "SpecificCharacterSet",
})  # fmt: skip


def parse_study_date(text: str) -> dt.date | None:
    """Return the day of a DA value (PS3.5 6.2), or None when it is empty or no day."""
    digits = text.strip().replace(".", "")  # ACR-NEMA wrote 1993.08.22; still met in old archives.
    if len(digits) != 8 or not digits.isascii() or not digits.isdigit():
        return None
    try:
        return dt.date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True, order=True)
class UnnamedStudy:
    """A study that a source lists under no usable Study Instance UID (PS3.4 C.6.2.1: unique key).

    Nobody can ask for it, so it is known by the SHA-256 of what the source answered; never by a
    made-up UID, which could be taken for a real one. What changes while a study grows is left out
    of the digest, so that a later sweep finds the same one. Two such studies that are answered
    alike are one: nothing that the source says tells them apart.
    """

    answer_sha256: str

    @classmethod
    def of(cls, answer: Mapping[str, str]) -> Self:
        """Return the study that an answer (keyword -> text) is about."""
        lasting = {key: text for key, text in answer.items() if key not in _PASSING_KEYWORDS}
        return cls(hashlib.sha256(json.dumps(lasting, sort_keys=True).encode("ascii")).hexdigest())


def reference_of(answer: Mapping[str, str]) -> StudyRef | UnnamedStudy:
    """Return what an answer is about: by its Study Instance UID if that can name an object."""
    study_instance_uid = answer.get("StudyInstanceUID", "")
    if is_usable_uid(study_instance_uid):
        return StudyRef(study_instance_uid)
    return UnnamedStudy.of(answer)


@dataclass(frozen=True, slots=True)
class StudySummary:
    """One STUDY-level answer of a source. It may be wrong; `answer` keeps it as it was given."""

    study: StudyRef | UnnamedStudy
    study_date_text: str = ""  #: As answered; may be invalid.
    study_time_text: str = ""
    modalities: tuple[str, ...] = ()  #: ModalitiesInStudy, empty where the source does not know it.
    instances_claimed: int | None = None  #: NumberOfStudyRelatedInstances, None where absent.
    patient_key: str = ""  #: Keyed pseudonym of PatientID and issuer: tells two patients apart.
    answer: Mapping[str, str] = field(default_factory=dict)  #: Keyword -> text. Patient data!

    @classmethod
    def of_answer(
        cls,
        answer: Mapping[str, str],
        *,
        instances_claimed: int | None,
        patient_key: Callable[[str, str], str],
    ) -> Self:
        """Return what an answer (keyword -> text) says.

        `patient_key` makes the pseudonym of PatientID and IssuerOfPatientID.
        """
        # Some archives write "CT, SR" or "CT/SR"; a code string has neither sign (PS3.5 6.2).
        modalities = re.split(r"[\\,/;]", answer.get("ModalitiesInStudy", ""))
        return cls(
            reference_of(answer),
            study_date_text=answer.get("StudyDate", ""),
            study_time_text=answer.get("StudyTime", ""),
            modalities=tuple(part.strip() for part in modalities if part.strip()),
            instances_claimed=instances_claimed,
            patient_key=patient_key(
                answer.get("PatientID", ""), answer.get("IssuerOfPatientID", "")
            ),
            answer=answer,
        )

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
