"""Which instances of a study a DICOMweb store lists: asked once, and anew whenever in doubt."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from cloudmig.destinations.dicomweb_profiles import DicomWebProfile
from cloudmig.dicomweb import DicomWebClient
from cloudmig.model.references import StudyRef

__all__ = ["Presence"]

_STUDIES_MAX = 64
_AGE_MAX_S = 300.0
#: UIDs named in one query: 64 characters each, and 8 kB is what a URL may have everywhere.
_UIDS_A_QUERY = 50
#: Asked for one by one where no list of UIDs is understood; above that, for all of the study.
_ONE_BY_ONE_MAX = 4


@dataclass(slots=True)
class _Listed:
    uids: set[str] | None = None
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
        self._studies: OrderedDict[StudyRef, _Listed] = OrderedDict()

    async def of(self, study: StudyRef) -> Collection[str]:
        """Return the SOP Instance UIDs listed in the study, as they were a short while ago."""
        listed = self._studies.setdefault(study, _Listed())
        self._studies.move_to_end(study)
        while len(self._studies) > _STUDIES_MAX:
            self._studies.popitem(last=False)
        async with listed.asking:
            if listed.uids is None or self._now() - listed.asked_at_s > _AGE_MAX_S:
                listed.asked_at_s = self._now()
                listed.uids = await self._client.find_instances(
                    study, rows_max=self._profile.rows_max
                )
            return listed.uids

    async def look(self, study: StudyRef, sop_instance_uids: Sequence[str]) -> set[str]:
        """Return which of these are listed now."""
        wanted = set(sop_instance_uids)
        if not self._profile.uid_lists and len(wanted) > _ONE_BY_ONE_MAX:
            self.forget(study)
            return wanted & set(await self.of(study))
        found: set[str] = set()
        step = _UIDS_A_QUERY if self._profile.uid_lists else 1
        for start in range(0, len(sop_instance_uids), step):
            some = sop_instance_uids[start : start + step]
            found |= await self._client.find_instances(study, some, rows_max=self._profile.rows_max)
        # A server that does not understand the question gives all of the study.
        return wanted & found

    def add(self, study: StudyRef, sop_instance_uid: str) -> None:
        """Take note that an instance was stored."""
        listed = self._studies.get(study)
        if listed is not None and listed.uids is not None:
            listed.uids.add(sop_instance_uid)

    def forget(self, study: StudyRef) -> None:
        """Ask again the next time: something is not known of a store in this study."""
        self._studies.pop(study, None)
