"""What a check found: good, worth knowing, or to be fixed before a run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["Finding", "Verdict", "ok", "problem", "warning"]


class Verdict(Enum):
    """How much a finding matters."""

    OK = "ok"
    WARNING = "warning"  #: A run works, with less than it could have.
    PROBLEM = "problem"  #: A run would fail.


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor. Holds no patient data and no secret."""

    check: str  #: A stable name, for programs.
    subject: str  #: `machine`, `catalog`, `source main`, `destination archive` ...
    verdict: Verdict
    message: str
    hint: str = ""  #: What fixes it, when followed.

    def __post_init__(self) -> None:
        assert self.verdict is not Verdict.PROBLEM or self.hint, "every problem says what fixes it"


def ok(check: str, subject: str, message: str) -> Finding:
    """Return what is as it should be."""
    return Finding(check, subject, Verdict.OK, message)


def warning(check: str, subject: str, message: str, hint: str = "") -> Finding:
    """Return what is worth knowing."""
    return Finding(check, subject, Verdict.WARNING, message, hint)


def problem(check: str, subject: str, message: str, hint: str) -> Finding:
    """Return what has to be fixed."""
    return Finding(check, subject, Verdict.PROBLEM, message, hint)
