"""What the PACS really holds: the ground truth, and how a query or retrieve picks from it."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from threading import Lock

from cloudmig.demo.studies import Instance, Study

__all__ = ["Held", "Holdings"]

_KEPT_BYTES_MAX = 32 << 20


@dataclass(frozen=True, slots=True)
class Held:
    """One instance of the ground truth."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    data_set_bytes: int
    data_set_sha256: str


class Holdings:
    """The studies of the archive by UID. Data sets are made when asked for; a few are kept."""

    def __init__(self, studies: Iterable[Study]) -> None:
        self.studies = tuple(studies)
        self._by_uid: dict[str, list[Study]] = {}
        for study in self.studies:
            self._by_uid.setdefault(study.study_instance_uid, []).append(study)
        self._kept: OrderedDict[int, tuple[Instance, bytes]] = OrderedDict()
        self._kept_bytes = 0
        self._instances: OrderedDict[int, list[Instance]] = OrderedDict()
        self._lock = Lock()

    def under(self, study_instance_uid: str) -> list[Study]:
        """Return the studies with this UID: two, when two patients share it."""
        return self._by_uid.get(study_instance_uid, [])

    def instances(
        self,
        study_instance_uids: Iterable[str],
        series_instance_uids: Iterable[str] = (),
        sop_instance_uids: Iterable[str] = (),
    ) -> list[Instance]:
        """Return the instances a retrieve means; an empty list of UIDs is no restriction."""
        series, sops = frozenset(series_instance_uids), frozenset(sop_instance_uids)
        return [
            instance
            for study_instance_uid in study_instance_uids
            for study in self.under(study_instance_uid)
            for instance in self.instances_of(study)
            if (not series or instance.series_instance_uid in series)
            and (not sops or instance.sop_instance_uid in sops)
        ]

    def instances_of(self, study: Study) -> list[Instance]:
        """List a study's instances; the lists of the last few studies are kept."""
        with self._lock:
            listed = self._instances.get(id(study))
            if listed is None:
                listed = self._instances[id(study)] = study.instances()
                if len(self._instances) > 256:
                    self._instances.popitem(last=False)
            return listed

    def data_set(self, instance: Instance) -> bytes:
        """Return the bytes as they are held."""
        with self._lock:
            if id(instance) in self._kept:
                return self._kept[id(instance)][1]
        made = instance.data_set()
        with self._lock:
            if id(instance) not in self._kept and len(made) < _KEPT_BYTES_MAX // 8:
                self._kept[id(instance)] = (instance, made)
                self._kept_bytes += len(made)
            while self._kept_bytes > _KEPT_BYTES_MAX:
                self._kept_bytes -= len(self._kept.popitem(last=False)[1][1])
        return made

    def another_than(self, study_instance_uid: str) -> Study | None:
        """Return some other study with instances, for a PACS that sends the wrong one."""
        for study in self.studies:
            if study.study_instance_uid != study_instance_uid and study.series:
                return study
        return None

    def truth(self) -> Iterator[Held]:
        """Say what is held, instance by instance, in the order of the archive."""
        for study in self.studies:
            for instance in study.instances():
                data_set = instance.data_set()
                yield Held(
                    study_instance_uid=instance.study_instance_uid,
                    series_instance_uid=instance.series_instance_uid,
                    sop_instance_uid=instance.sop_instance_uid,
                    sop_class_uid=instance.sop_class_uid,
                    transfer_syntax_uid=instance.transfer_syntax_uid,
                    data_set_bytes=len(data_set),
                    data_set_sha256=hashlib.sha256(data_set).hexdigest(),
                )
