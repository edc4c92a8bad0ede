"""Which instances a DICOMweb store lists: asked once a study, and anew whenever in doubt.

Some list them by series only; then once a series of which something is to be stored.

One SOP Instance UID may be in two series of a study, as two objects: a row that names the other
series says nothing of ours.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from cloudmig.destinations.dicomweb_profiles import DicomWebProfile
from cloudmig.dicomweb import DicomWebClient
from cloudmig.model.references import InstanceRef, StudyRef

__all__ = ["Presence"]

_Row = tuple[str, str]  # Series, empty where the row leaves it out, and instance.

_LISTS_MAX = 64
_AGE_MAX_S = 300.0
#: UIDs named in one query: 64 characters each, and 8 kB is what a URL may have everywhere.
_UIDS_A_QUERY = 50
#: Asked for one by one where no list of UIDs is understood; above that, for all of the study.
_ONE_BY_ONE_MAX = 4


@dataclass(slots=True)
class _Listed:
    rows: set[_Row] | None = None
    asked_at_s: float = 0.0
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


class Presence:
    """What is listed of the studies that are being stored."""

    def __init__(
        self, client: DicomWebClient, profile: DicomWebProfile, *, now: Callable[[], float]
    ) -> None:
        self._client = client
        self._profile = profile
        self._now = now
        #: By study, and by series where it lists these only; empty otherwise.
        self._lists: OrderedDict[tuple[StudyRef, str], _Listed] = OrderedDict()

    async def of(
        self, study: StudyRef, instances: Collection[InstanceRef]
    ) -> Collection[InstanceRef]:
        """Return which of these are listed in the study, or were a short while ago."""
        found: set[InstanceRef] = set()
        for series, some in self._by_series(instances).items():
            rows = await self._rows_of(study, series)
            found |= {each for each in some if _is_among(each, rows)}
        return found

    async def _rows_of(self, study: StudyRef, series: str) -> Collection[_Row]:
        listed = self._lists.setdefault((study, series), _Listed())
        self._lists.move_to_end((study, series))
        while len(self._lists) > _LISTS_MAX:
            self._lists.popitem(last=False)
        async with listed.asking:
            if listed.rows is None or self._now() - listed.asked_at_s > _AGE_MAX_S:
                listed.asked_at_s = self._now()
                listed.rows = await self._client.find_instances(
                    study, series_instance_uid=series, rows_max=self._profile.rows_max
                )
            return listed.rows

    async def look(
        self, study: StudyRef, instances: Sequence[InstanceRef]
    ) -> Collection[InstanceRef]:
        """Return which of these are listed now."""
        if not self._profile.uid_lists and len(instances) > _ONE_BY_ONE_MAX:
            self.forget(study)
            return await self.of(study, instances)
        found: set[_Row] = set()
        step = _UIDS_A_QUERY if self._profile.uid_lists else 1
        for series, wanted in self._by_series(instances).items():
            for start in range(0, len(wanted), step):
                found |= await self._client.find_instances(
                    study,
                    [each.sop_instance_uid for each in wanted[start : start + step]],
                    series_instance_uid=series,
                    rows_max=self._profile.rows_max,
                )
        # A server that does not understand the question gives all of the study.
        return {each for each in instances if _is_among(each, found)}

    def add(self, instance: InstanceRef) -> None:
        """Take note that an instance was stored."""
        listed = self._lists.get((instance.study, self._series_asked_for(instance)))
        if listed is not None and listed.rows is not None:
            listed.rows.add((instance.series_instance_uid, instance.sop_instance_uid))

    def forget(self, study: StudyRef) -> None:
        """Ask again the next time: something is not known of a store in this study."""
        for key in [key for key in self._lists if key[0] == study]:
            del self._lists[key]

    def _by_series(self, instances: Collection[InstanceRef]) -> dict[str, list[InstanceRef]]:
        """Return instances by the series to ask for; all under "" where it lists studies."""
        grouped: dict[str, list[InstanceRef]] = {}
        for each in instances:
            grouped.setdefault(self._series_asked_for(each), []).append(each)
        return grouped

    def _series_asked_for(self, instance: InstanceRef) -> str:
        return instance.series_instance_uid if self._profile.lists_by_series else ""


def _is_among(instance: InstanceRef, rows: Collection[_Row]) -> bool:
    series_instance_uid, uid = instance.series_instance_uid, instance.sop_instance_uid
    return (series_instance_uid, uid) in rows or ("", uid) in rows
