"""Draws studies from the catalog, where there is no table of the functions' own."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

from cloudmig.catalog.sampling import StoredCopy
from cloudmig.cloud.sampling import SampledStudy, place_of, start_of, stratum_of

__all__ = ["CatalogSampler"]

_CIRCLE = 1 << 64


class CatalogSampler:
    """Sees every stored copy once and keeps the nearest of each stratum (`cloud.sampling.Sampler`).

    Memory is bounded by the strata there are, whatever the number of studies.
    """

    def __init__(self, seed: str, *, keep: int, storage_class: str) -> None:
        """Draw by `seed`. A copy whose rule named no class lies in `storage_class`."""
        self._seed = seed
        self._keep = keep
        self._storage_class = storage_class
        self._starts: dict[str, int] = {}
        #: By stratum: the nearest studies, the farthest of them on top.
        self._nearest: dict[str, list[tuple[int, str, SampledStudy]]] = {}

    @property
    def seed(self) -> str:
        """What makes the draw reproducible."""
        return self._seed

    def see(self, copies: Iterable[StoredCopy]) -> None:
        """Take note of copies."""
        for copy in copies:
            uid = copy.study.study_instance_uid
            year = str(copy.study_date.year) if copy.study_date else "unknown"
            modality = copy.modalities[0] if copy.modalities else "unknown"
            storage_class = copy.storage_class or self._storage_class
            stratum = stratum_of(storage_class, year, modality, copy.size_bytes)
            if stratum not in self._starts:
                self._starts[stratum] = int(start_of(self._seed, stratum), 16)
            away = (int(place_of(uid), 16) - self._starts[stratum]) % _CIRCLE
            nearest = self._nearest.setdefault(stratum, [])
            if len(nearest) >= self._keep and -away <= nearest[0][0]:
                continue
            study = SampledStudy(uid, stratum, copy.manifest_key, copy.manifest_sha256)
            entry = (-away, copy.manifest_key, study)
            if len(nearest) < self._keep:
                heapq.heappush(nearest, entry)
            else:
                heapq.heapreplace(nearest, entry)

    def strata(self) -> Sequence[str]:
        """Return every stratum seen."""
        return sorted(self._nearest)

    def pick(self, stratum: str, count: int) -> Sequence[SampledStudy]:
        """Return the nearest studies of a stratum."""
        assert count <= self._keep, "so many were kept"
        ordered = sorted(self._nearest[stratum], key=lambda entry: (-entry[0], entry[1]))
        return [study for _, _, study in ordered[:count]]
