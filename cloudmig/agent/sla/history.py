"""Samples of some days, put together for the report: by store, tier, time, study and restore."""

from __future__ import annotations

import bisect
import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cloudmig.cloud.error_budget import TierStanding, missed, standing
from cloudmig.cloud.retrieval_samples import RetrievalSample
from cloudmig.model.service_levels import MEASURES, ServiceLevels

__all__ = ["Moment", "StoreHistory", "WorstStudy", "histories_of"]

#: More moments than these do not fit side by side into a picture.
_MOMENTS_MAX = 40
_WORST_MAX = 10


@dataclass(frozen=True, slots=True)
class Moment:
    """How a tier stood at one time: one probe, or several close to each other."""

    at: dt.datetime
    standing: TierStanding


@dataclass(frozen=True, slots=True)
class WorstStudy:
    """The worst read of one study."""

    study: str  #: A pseudonym.
    worst: float | None  #: Its time over the limit; None: no right answer came.
    sample: RetrievalSample
    missed: Sequence[str]


@dataclass(frozen=True, slots=True)
class StoreHistory:
    """Everything about one store."""

    store: str
    tiers: Mapping[str, TierStanding]  #: Over the whole time.
    moments: Mapping[str, Sequence[Moment]]  #: By tier, the oldest first.
    study_limits_s: Mapping[str, float]  #: By tier, for a study of median size.
    worst: Sequence[WorstStudy]
    restores: Sequence[RetrievalSample]


def histories_of(levels: ServiceLevels, samples: Iterable[RetrievalSample]) -> list[StoreHistory]:
    """Put samples together, each counted once however many folders hold it."""
    by_store: dict[str, list[RetrievalSample]] = {}
    for sample in sorted(set(samples), key=lambda each: (each.at, each.tier, each.study)):
        by_store.setdefault(sample.store, []).append(sample)
    return [_of_store(levels, store, by_store[store]) for store in sorted(by_store)]


def _of_store(
    levels: ServiceLevels, store: str, samples: Sequence[RetrievalSample]
) -> StoreHistory:
    tiers = standing(levels, samples)
    moments: dict[str, list[Moment]] = {tier: [] for tier in tiers}
    for at, group in _moments(samples):
        for tier, each in standing(levels, group).items():
            moments[tier].append(Moment(at, each))
    return StoreHistory(
        store=store,
        tiers=tiers,
        moments=moments,
        study_limits_s={
            tier: levels.level_of(tier).study_limit_s(_median_size(samples, tier)) for tier in tiers
        },
        worst=_worst(levels, samples),
        restores=[each for each in samples if each.outcome == "restored"],
    )


def _moments(
    samples: Sequence[RetrievalSample],
) -> list[tuple[dt.datetime, list[RetrievalSample]]]:
    """Group by probe, or by equal parts of the time where the probes are too many."""
    times = sorted({_probe_of(each) for each in samples if each.outcome != "restored"})
    by_probe: dict[dt.datetime, list[RetrievalSample]] = {at: [] for at in times}
    for sample in samples:
        at = _probe_of(sample)
        if sample.outcome == "restored" and times:
            # A restore ends at any time: it counts with the probe before it.
            at = times[max(bisect.bisect_right(times, at) - 1, 0)]
        by_probe.setdefault(at, []).append(sample)
    if len(by_probe) <= _MOMENTS_MAX:
        return sorted(by_probe.items())
    first, last = min(by_probe), max(by_probe)
    step = (last - first) / _MOMENTS_MAX
    parts: dict[int, list[RetrievalSample]] = {}
    for at, group in sorted(by_probe.items()):
        parts.setdefault(min(int((at - first) / step), _MOMENTS_MAX - 1), []).extend(group)
    return [(first + (part + 0.5) * step, group) for part, group in sorted(parts.items())]


def _probe_of(sample: RetrievalSample) -> dt.datetime:
    return dt.datetime.fromisoformat(sample.probe)


def _median_size(samples: Sequence[RetrievalSample], tier: str) -> int:
    sizes = sorted(each.size_bytes for each in samples if each.tier == tier)
    return sizes[len(sizes) // 2]


def _worst(levels: ServiceLevels, samples: Sequence[RetrievalSample]) -> list[WorstStudy]:
    """Return the studies that missed by most, each by its worst read."""
    found: dict[str, WorstStudy] = {}
    for sample in samples:
        what = missed(levels, sample)
        if not what or not sample.study or sample.outcome == "restored":
            continue
        study = WorstStudy(sample.study, _over(levels, sample), sample, what)
        if sample.study not in found or _badness(study) > _badness(found[sample.study]):
            found[sample.study] = study
    return sorted(found.values(), key=_badness, reverse=True)[:_WORST_MAX]


def _badness(study: WorstStudy) -> float:
    return float("inf") if study.worst is None else study.worst


def _over(levels: ServiceLevels, sample: RetrievalSample) -> float | None:
    if sample.outcome != "read":
        return None
    level = levels.level_of(sample.tier)
    limits = {
        "first_byte_s": level.first_byte_s,
        "first_instance_s": level.first_instance_s,
        "study_s": level.study_limit_s(sample.size_bytes),
        "query_s": level.query_s,
    }
    times = ((getattr(sample, name), limits[name]) for name in MEASURES)
    return max(float(took) / limit for took, limit in times if took is not None)
