"""The closing statement: inventory = verified + quarantined + excluded, and nothing unexplained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Equation", "Statement", "StudyCounts"]


@dataclass(frozen=True, slots=True)
class Equation:
    """One side counted in studies, the other in instances; each must add up by itself."""

    inventory: int = 0
    verified: int = 0
    quarantined: int = 0
    excluded: Mapping[str, int] = field(default_factory=dict)  #: By the rule's name.
    unexplained: Mapping[str, int] = field(default_factory=dict)  #: By what it waits for.

    @property
    def holds(self) -> bool:
        """Say whether everything is explained, and the parts are the whole."""
        return not sum(self.unexplained.values()) and self.inventory == (
            self.verified + self.quarantined + sum(self.excluded.values())
        )


@dataclass(frozen=True, slots=True)
class Statement:
    """Where every study and every instance went."""

    source: str | None  #: None means every source.
    studies: Equation
    instances: Equation
    verdicts: Mapping[str, int]  #: READ_BACK, STORE_CHECKSUM ... -> verified copies.
    weak_copies: int  #: Verified copies whose completeness rests on two equal pulls.
    quarantine: Mapping[str, int]  #: Reason -> studies in quarantine.
    excluded_uncounted: int  #: Excluded studies whose instances nobody has counted.
    quarantined_uncounted: int
    beyond_inventory: int  #: Verified instances that the inventory did not list.
    late_copies: int  #: Copies of closed or verified studies that are not verified. Always 0.

    @property
    def holds(self) -> bool:
        """Say whether a wave may close."""
        return self.studies.holds and self.instances.holds and not self.late_copies

    @property
    def remarks(self) -> list[str]:
        """Say what the numbers of the instance equation leave out."""
        told = (
            ("excluded studies whose instances nobody has counted", self.excluded_uncounted),
            ("studies in quarantine whose instances nobody counted", self.quarantined_uncounted),
            ("instances verified that the sources do not list", self.beyond_inventory),
        )
        return [f"{what}: {count:,}" for what, count in told if count]


@dataclass(frozen=True, slots=True)
class StudyCounts:
    """What the equation needs of one group of equal studies."""

    state: str  #: A transfer state, or `undecided`.
    rule: str
    reason: str
    studies: int
    uncounted: int  #: Studies of which nobody knows how many instances they have.
    listed: int  #: Instances by the IMAGE-level listing, else as claimed, else as copied.
    verified: int  #: Of those, in copies that are all verified.
    unverified: int  #: Of those, in copies that are all stored but not all verified.
    beyond: int  #: Verified, but not listed.
    late: int  #: Studies with copies that are not verified.
