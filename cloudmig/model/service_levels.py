"""What a reader of images may expect, by storage tier: thresholds, objective, restore promises.

A tier is a storage class of the bucket, or `DICOMWEB` for what an endpoint before it serves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

__all__ = [
    "ARCHIVE_TIERS", "DICOMWEB", "MEASURES", "RESTORE_PROMISES_S", "ServiceLevels", "TierLevel",
]  # fmt: skip

#: The tier of what is read through a DICOMweb endpoint, whatever lies behind it.
DICOMWEB = "DICOMWEB"

#: What S3 states for its Standard retrieval: GLACIER 3 to 5 hours, DEEP_ARCHIVE within 12.
RESTORE_PROMISES_S: Mapping[str, float] = {"GLACIER": 5 * 3600.0, "DEEP_ARCHIVE": 12 * 3600.0}

#: Classes that answer a GET only after a restore.
ARCHIVE_TIERS = frozenset(RESTORE_PROMISES_S)

#: What is measured of a study that was read, as samples and levels name it.
MEASURES = ("first_byte_s", "first_instance_s", "study_s", "query_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class TierLevel:
    """What one tier owes a reader."""

    first_byte_s: float = 0.5  #: From the first request to the first byte of an image.
    first_instance_s: float = 1.0  #: Until the first image is complete.
    study_s: float = 10.0  #: Until the last image is complete, beside what its bytes take:
    study_bytes_per_s: float = 20e6  #: 160 Mbit/s. A CT of 1 GB has a minute.
    query_s: float = 2.0  #: An ad-hoc QIDO-RS query (PS3.18 10.6); of `DICOMWEB` only.
    restore_s: float | None = None  #: How long a restore may take; of archive tiers only.

    def study_limit_s(self, size_bytes: int) -> float:
        """Return how long the whole study may take."""
        return self.study_s + size_bytes / self.study_bytes_per_s


def _level_of_tier(tier: str) -> TierLevel:
    return TierLevel(restore_s=RESTORE_PROMISES_S.get(tier))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLevels:
    """The levels of all tiers, and how they are measured."""

    objective: float = 0.95  #: The share of studies that must be read within their tier's level.
    samples: int = 20  #: Studies of each tier that one probe reads.
    reads_at_once: int = 8  #: GETs at once while a study is read, as a viewer does.
    tiers: Mapping[str, TierLevel] = field(default_factory=dict)  #: Where not as the defaults.

    def level_of(self, tier: str) -> TierLevel:
        """Return the level of a tier; an archive tier has S3's own promise where none is set."""
        level = self.tiers.get(tier)
        if level is None:
            return _level_of_tier(tier)
        if level.restore_s is None and tier in ARCHIVE_TIERS:
            return replace(level, restore_s=RESTORE_PROMISES_S[tier])
        return level

    @property
    def budget(self) -> float:
        """Return the share of studies that may miss their level."""
        return 1 - self.objective

    def contradictions(self) -> Iterator[str]:
        """Say which settings cannot be true together, by name."""
        # 1 - 0.95 is a little more than 0.05 for a computer.
        if self.samples * self.budget < 1 - 1e-9:
            yield (
                f"samples ({self.samples}) is too few for an objective of {self.objective:g}: one"
                f" slow study would burn the whole budget; read at least {_enough(self.budget)}, or"
                " lower the objective"
            )
        for tier, level in self.tiers.items():
            if level.first_byte_s > level.first_instance_s:
                yield (
                    f"tiers.{tier}.first_byte_s ({level.first_byte_s:g}) is above first_instance_s"
                    f" ({level.first_instance_s:g}): an image cannot be complete before it begins"
                )
            if level.first_instance_s > level.study_s:
                yield (
                    f"tiers.{tier}.first_instance_s ({level.first_instance_s:g}) is above study_s"
                    f" ({level.study_s:g}): a study cannot be complete before its first image"
                )
            if level.restore_s is not None and tier not in ARCHIVE_TIERS:
                yield (
                    f"tiers.{tier}.restore_s means nothing: {tier} is read without a restore"
                    f" (archive tiers: {', '.join(sorted(ARCHIVE_TIERS))})"
                )


def _enough(budget: float) -> int:
    return int(-(-(1 - 1e-9) // budget))
