"""The plan of a study and the unit of work that carries it out."""

from __future__ import annotations

from dataclasses import dataclass

from cloudmig.model.references import StudyRef

__all__ = ["CopyPlan", "Decision", "TransferJob"]


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """One planned copy: which destination, and which storage class there."""

    destination: str
    storage_class: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the rules say about one study. No copies means that it stays on site."""

    source: str
    study: StudyRef
    rule: str
    copies: tuple[CopyPlan, ...]
    priority: int = 0  #: Smaller goes first; within one priority the newest study goes first.


@dataclass(frozen=True, slots=True)
class TransferJob:
    """A claimed transfer. `attempt` fences off every worker that claimed it before."""

    transfer_id: int
    source: str
    study: StudyRef
    attempt: int
    failures: int  #: Attempts that failed by the study's own fault.
    instances_claimed: int | None
    copies: tuple[CopyPlan, ...]  #: Those still to be made: PLANNED, OWED or FAILED.
