"""References: DICOM UIDs and nothing else, checked on birth.

A reference is safe to put into an object key. UIDs that are not (PS3.5 section 9.1) never become
a reference; what carries them is keyed by its digest and quarantined.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

__all__ = ["InstanceRef", "SeriesRef", "StudyRef", "is_usable_uid"]

#: Components without digits (`1..2`, a leading or trailing dot) are refused: they make two
#: spellings of one path. Leading zeros break PS3.5 9.1 but are met in real archives, and are
#: harmless in a key.
_USABLE_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_UID_CHARS_MAX = 64


@functools.lru_cache(maxsize=4096)
def is_usable_uid(text: str) -> bool:
    """Say whether `text` can name an object: 1-64 digits and dots, no empty component."""
    return len(text) <= _UID_CHARS_MAX and _USABLE_UID.fullmatch(text) is not None


def _check(**uids: str) -> None:
    for name, text in uids.items():
        if not is_usable_uid(text):
            raise ValueError(f"{name} is not a usable UID")


@dataclass(frozen=True, slots=True, order=True)
class StudyRef:
    """One study."""

    study_instance_uid: str

    def __post_init__(self) -> None:
        _check(study_instance_uid=self.study_instance_uid)


@dataclass(frozen=True, slots=True, order=True)
class SeriesRef:
    """One series of one study."""

    study_instance_uid: str
    series_instance_uid: str

    def __post_init__(self) -> None:
        _check(
            study_instance_uid=self.study_instance_uid,
            series_instance_uid=self.series_instance_uid,
        )


@dataclass(frozen=True, slots=True, order=True)
class InstanceRef:
    """One instance, with the series and study that hold it."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str

    def __post_init__(self) -> None:
        _check(
            study_instance_uid=self.study_instance_uid,
            series_instance_uid=self.series_instance_uid,
            sop_instance_uid=self.sop_instance_uid,
        )

    @property
    def study(self) -> StudyRef:
        return StudyRef(self.study_instance_uid)
