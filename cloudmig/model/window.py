"""Questions about studies and how they are split until no answer can have been cut.

Date and time ranges are applied per day (PS3.4 C.2.2.2.5: date and time match independently), so
a question spans whole days, or a part of one day. Times are half open in thought; the text sent
covers fractional seconds: 000000-115959.999999.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace

__all__ = ["DateWindow", "StudyQuestion", "TimeWindow"]

_SECONDS_A_DAY = 86_400


@dataclass(frozen=True, slots=True)
class DateWindow:
    """Study dates from `first` to `last`, both included."""

    first: dt.date
    last: dt.date

    def __post_init__(self) -> None:
        if self.first > self.last:
            raise ValueError(f"window ends before it starts: {self.first} > {self.last}")

    def halves(self) -> tuple[DateWindow, DateWindow] | None:
        """Split in two, or None when the window is a single day."""
        if self.first == self.last:
            return None
        middle = self.first + (self.last - self.first) // 2
        return DateWindow(self.first, middle), DateWindow(middle + dt.timedelta(days=1), self.last)

    def __contains__(self, day: dt.date) -> bool:
        return self.first <= day <= self.last

    @property
    def text(self) -> str:
        """The DA range to send (PS3.5 6.2): one day, or first-last."""
        # Not strftime: its %Y has no leading zeros in the years before 1000.
        first, last = (day.isoformat().replace("-", "") for day in (self.first, self.last))
        return first if first == last else f"{first}-{last}"


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """Seconds of one day, `first` included, `end` excluded."""

    first: int = 0
    end: int = _SECONDS_A_DAY

    def __post_init__(self) -> None:
        if not 0 <= self.first < self.end <= _SECONDS_A_DAY:
            raise ValueError(f"no part of a day: {self.first}-{self.end}")

    def halves(self) -> tuple[TimeWindow, TimeWindow] | None:
        """Split in two, or None when the window is a single second."""
        if self.end - self.first == 1:
            return None
        middle = (self.first + self.end) // 2
        return TimeWindow(self.first, middle), TimeWindow(middle, self.end)

    @property
    def text(self) -> str:
        """The TM range to send (PS3.5 6.2), covering the last second's fractions."""
        return f"{_clock(self.first)}-{_clock(self.end - 1)}.999999"


def _clock(second: int) -> str:
    return f"{second // 3600:02d}{second // 60 % 60:02d}{second % 60:02d}"


@dataclass(frozen=True, slots=True)
class StudyQuestion:
    """One STUDY-level C-FIND. Everything None is the universal query."""

    dates: DateWindow | None = None
    times: TimeWindow | None = None  #: Only with a single day.
    modality: str | None = None
    patient_id_prefix: str | None = None  #: Sent as `prefix*`. A prefix alone is no patient data.

    def __post_init__(self) -> None:
        if self.times is not None and (self.dates is None or self.dates.halves() is not None):
            raise ValueError("a time window needs a single day")

    def halves(self) -> Sequence[StudyQuestion]:
        """Split in two by date, then by time; nothing for one second of a day."""
        assert self.dates is not None, "the universal question has no halves"
        if days := self.dates.halves():
            return [replace(self, dates=half) for half in days]
        times = (self.times or TimeWindow()).halves() or ()
        return [replace(self, times=half) for half in times]

    @property
    def text(self) -> str:
        """Canonical text, for the catalog and for people."""
        parts = []
        if self.dates is not None:
            parts.append(f"date={self.dates.text}")
        if self.times is not None:
            parts.append(f"time={self.times.text}")
        if self.modality is not None:
            parts.append(f"modality={self.modality}")
        if self.patient_id_prefix is not None:
            parts.append(f"patient={self.patient_id_prefix}*")
        return " ".join(parts) or "universal"
