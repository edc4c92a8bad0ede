"""Samples against service levels: percentiles and the error budget of each tier.

The budget is the share of studies that may miss their level: 1 - objective. What is burnt of it is
the share that did miss, divided by the budget; above 1 the level is breached. A study that was not
to be had, or came wrong, missed. An archived study counts by its restore promise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cloudmig.cloud.percentiles import Percentiles, percentiles
from cloudmig.cloud.retrieval_samples import RetrievalSample
from cloudmig.model.service_levels import ARCHIVE_TIERS, MEASURES, ServiceLevels

__all__ = ["RESTORE", "TierStanding", "missed", "standing"]

#: Beside the measures of a read: how long real restores took.
RESTORE = "restore_s"


@dataclass(frozen=True, slots=True)
class TierStanding:
    """How one tier stands after some samples."""

    tier: str
    samples: int
    missed: int  #: Of these samples: slow, wrong or failed.
    wrong: int
    failed: int
    cold: int  #: Archived and not restored; each counts by its promise.
    burnt: float  #: 1 is the whole budget.
    percentiles: Mapping[str, Percentiles]  #: By measure, over the right answers.

    @property
    def breached(self) -> bool:
        """Say whether more than the whole budget is burnt."""
        return self.burnt > 1


def missed(levels: ServiceLevels, sample: RetrievalSample) -> tuple[str, ...]:
    """Return what a sample missed: measures, or `wrong` or `failed`; nothing: it was good."""
    if sample.outcome in {"wrong", "failed"}:
        return (sample.outcome,)
    level = levels.level_of(sample.tier)
    if sample.outcome in {"cold", "restored"}:
        allowed = level.restore_s if sample.outcome == "cold" else sample.promised_s
        took = sample.promised_s if sample.outcome == "cold" else sample.restore_s
        late = took is None or allowed is None or took > allowed
        return (RESTORE,) if late else ()
    limits = {
        "first_byte_s": level.first_byte_s,
        "first_instance_s": level.first_instance_s,
        "study_s": level.study_limit_s(sample.size_bytes),
        "query_s": level.query_s,
    }
    return tuple(
        name for name in MEASURES if (took := getattr(sample, name)) is not None
        and took > limits[name]
    )  # fmt: skip


def standing(
    levels: ServiceLevels, samples: Iterable[RetrievalSample]
) -> Mapping[str, TierStanding]:
    """Return how each tier stands, by name, those that need a restore last."""
    by_tier: dict[str, list[RetrievalSample]] = {}
    for sample in samples:
        by_tier.setdefault(sample.tier, []).append(sample)
    ordered = sorted(by_tier, key=lambda tier: (tier in ARCHIVE_TIERS, tier))
    return {tier: _of_tier(levels, tier, by_tier[tier]) for tier in ordered}


def _of_tier(levels: ServiceLevels, tier: str, samples: list[RetrievalSample]) -> TierStanding:
    late = sum(bool(missed(levels, each)) for each in samples)
    answered = [each for each in samples if each.outcome in {"read", "restored"}]
    found = {
        name: percentiles([took for each in answered if (took := getattr(each, name)) is not None])
        for name in (*MEASURES, RESTORE)
    }
    outcomes = [each.outcome for each in samples]
    # Rounded, or 3 of 60 studies would burn more than the whole of 5 %: 1 - 0.95 is no round
    # number for a computer.
    burnt = round(late / len(samples) / levels.budget, 9)
    return TierStanding(
        tier=tier,
        samples=len(samples),
        missed=late,
        wrong=outcomes.count("wrong"),
        failed=outcomes.count("failed"),
        cold=outcomes.count("cold"),
        burnt=burnt,
        percentiles={name: each for name, each in found.items() if each is not None},
    )
