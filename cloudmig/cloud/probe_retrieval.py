"""Read a sample of studies as a reader would, and say how fast and how right that was.

One study after the other: first byte, first instance, then the whole study with a bounded number
of GETs at once. Whatever comes is compared with the manifest, so a quick wrong answer is not a
good one. An error is a sample, too; an archived study counts by its restore promise.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Protocol

from cloudmig import manifest
from cloudmig.cloud.error_budget import TierStanding, standing
from cloudmig.cloud.probe_metrics import document_of, emf_of
from cloudmig.cloud.reading import ArchivedStudy, ReadFailed, StudyReader, cause_of
from cloudmig.cloud.retrieval_samples import RetrievalSample
from cloudmig.cloud.sampling import SampledStudy, Sampler, choose, tier_of_stratum
from cloudmig.dicom.digest import StreamDigests
from cloudmig.manifest import InstanceRecord, Manifest, ManifestUnreadable
from cloudmig.model.service_levels import ARCHIVE_TIERS, DICOMWEB, ServiceLevels

__all__ = ["ManifestStore", "ProbeResult", "probe"]


class ManifestStore(Protocol):
    """Where manifests are read; that is not timed."""

    def fetch(self, key: str) -> bytes:
        """Return a manifest by its key relative to the prefix, or raise."""
        ...


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What one probe found."""

    at: dt.datetime
    samples: Sequence[RetrievalSample]
    tiers: dict[str, TierStanding]
    left_out: int  #: Studies that were drawn and not read, for want of time.

    @property
    def breached(self) -> bool:
        """Say whether any tier burnt more than its whole budget."""
        return any(each.breached for each in self.tiers.values())

    def document(self) -> dict[str, object]:
        """Return the JSON shape: no identifiers at all."""
        return document_of(self.at, self.tiers, len(self.samples), self.left_out)

    def emf(self, namespace: str) -> list[str]:
        """Return lines of CloudWatch's embedded metric format."""
        return emf_of(namespace, self.at, self.tiers, self.samples)


class _OutOfTime(Exception):  # noqa: N818 - named for what happened, as in errors.py
    """The time of the probe ended while a study was read."""


@dataclass(frozen=True, slots=True)
class _Probe:
    """What stays the same for all studies of a probe."""

    levels: ServiceLevels
    manifests: ManifestStore
    name: Callable[[str], str]
    probe: str
    store: str
    now: Callable[[], dt.datetime]
    clock: Callable[[], float]
    time_left_s: Callable[[], float]
    pool: ThreadPoolExecutor


def probe(
    levels: ServiceLevels,
    sampler: Sampler,
    readers: Sequence[StudyReader],
    *,
    manifests: ManifestStore,
    at: dt.datetime,
    name: Callable[[str], str],
    store: str = "",
    samples: int | None = None,
    time_left_s: Callable[[], float] = lambda: 1.0,
    on_drawn: Callable[[int], None] = lambda _: None,
    on_sample: Callable[[RetrievalSample], None] = lambda _: None,
    clock: Callable[[], float] = time.perf_counter,
) -> ProbeResult:
    """Draw studies, read each by every reader, and hold the samples against the levels.

    `name` gives the pseudonym of a Study Instance UID, `store` is what the samples call the place.
    `time_left_s` is asked between pieces: once it is 0, what is being read is left out.
    Raises what the sampler's client raises; whatever goes wrong with a study is a sample.
    """
    begun = clock()
    drawn = choose(sampler, levels.samples if samples is None else samples)
    on_drawn(len(drawn))
    found: list[RetrievalSample] = []
    left_out = 0
    with ThreadPoolExecutor(levels.reads_at_once, thread_name_prefix="probe") as pool:
        parts = _Probe(
            levels=levels, manifests=manifests, name=name, probe=_text(at), store=store,
            now=lambda: at + dt.timedelta(seconds=clock() - begun), clock=clock,
            time_left_s=time_left_s, pool=pool,
        )  # fmt: skip
        for study in drawn:
            try:
                for sample in _read_study(parts, study, readers):
                    found.append(sample)
                    on_sample(sample)
            except _OutOfTime:
                left_out += 1
    return ProbeResult(at, tuple(found), dict(standing(levels, found)), left_out)


def _text(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _read_study(
    parts: _Probe, study: SampledStudy, readers: Sequence[StudyReader]
) -> Iterator[RetrievalSample]:
    """Yield a sample for each reader. Raises `_OutOfTime`."""
    if parts.time_left_s() <= 0:
        raise _OutOfTime
    first = RetrievalSample(
        at=_text(parts.now()), probe=parts.probe, how="bucket",
        tier=tier_of_stratum(study.stratum), outcome="failed", stratum=study.stratum,
        store=parts.store, study=parts.name(study.study_instance_uid),
    )  # fmt: skip
    try:
        listed = _manifest_of(parts, study)
    except Exception as error:  # noqa: BLE001 - a study that cannot be found is a failed read
        yield replace(first, cause=cause_of(error))
        return
    records = [each for each in listed.instances if each.slot == "primary"]
    first = replace(
        first, instances=len(records), size_bytes=sum(each.size_bytes for each in records)
    )
    for reader in readers:
        ours = replace(first, how=reader.how, at=_text(parts.now()))
        if reader.how == "dicomweb":
            ours = replace(ours, tier=DICOMWEB)
        sample = _timed(parts, study, reader, records, ours)
        yield sample
        if sample.outcome == "cold":
            return  # What its bucket cannot read, no endpoint before it can.


def _manifest_of(parts: _Probe, study: SampledStudy) -> Manifest:
    held = parts.manifests.fetch(study.manifest_key)
    if hashlib.sha256(held).hexdigest() != study.manifest_sha256:
        raise ReadFailed("manifest altered")
    try:
        listed = manifest.decode(held)
    except ManifestUnreadable as error:
        raise ReadFailed("manifest unreadable") from error
    if not any(each.slot == "primary" for each in listed.instances):
        raise ReadFailed("manifest empty")
    return listed


def _timed(
    parts: _Probe,
    study: SampledStudy,
    reader: StudyReader,
    records: Sequence[InstanceRecord],
    sample: RetrievalSample,
) -> RetrievalSample:
    """Return the sample of one study read one way."""
    reading = _Reading(parts, study.study_instance_uid, reader)
    try:
        asked = parts.clock()
        if reader.search(study):
            sample = replace(sample, query_s=parts.clock() - asked)
        begun = parts.clock()
        tier, first_byte_s = reading.read(records[0])
        sample = replace(
            sample, tier=tier, first_byte_s=first_byte_s, first_instance_s=parts.clock() - begun
        )
        reading.read_all(records[1:])
        return replace(sample, outcome="read", study_s=parts.clock() - begun)
    except ArchivedStudy as error:
        # Named by its tier's promise, where it has one: by its real class, not the manifest's.
        promised_s = parts.levels.level_of(error.tier).restore_s
        tier = error.tier if error.tier in ARCHIVE_TIERS else sample.tier
        return replace(sample, tier=tier, outcome="cold", promised_s=promised_s)
    except _Wrong as error:
        return replace(sample, outcome="wrong", cause=error.args[0])
    except _OutOfTime:
        raise
    except Exception as error:  # noqa: BLE001 - any fault of a read is what a reader would meet
        return replace(sample, outcome="failed", cause=cause_of(error))


class _Wrong(Exception):  # noqa: N818 - named for what happened, as in errors.py
    """Bytes came, and not those that the manifest names."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """One study, read one way."""

    parts: _Probe
    study_instance_uid: str
    reader: StudyReader

    def read(self, record: InstanceRecord) -> tuple[str, float]:
        """Read one image to its end; return its tier and the seconds to its first byte."""
        begun = self.parts.clock()
        digests = StreamDigests()
        first_byte_s: float | None = None
        with self.reader.open(self.study_instance_uid, record) as image:
            for piece in image.pieces:
                if first_byte_s is None:
                    first_byte_s = self.parts.clock() - begun
                digests.update(piece)
                if self.parts.time_left_s() <= 0:
                    raise _OutOfTime
            tier = image.tier
        found = digests.result()
        if not self.reader.agrees(found, record):
            raise _Wrong("truncated" if found.size_bytes < record.size_bytes else "altered")
        return tier, first_byte_s if first_byte_s is not None else self.parts.clock() - begun

    def read_all(self, records: Sequence[InstanceRecord]) -> None:
        """Read images with so many GETs at once as the pool has threads."""
        waiting = [self.parts.pool.submit(self.read, record) for record in records]
        try:
            for each in waiting:
                each.result()
        finally:
            for each in waiting:
                each.cancel()
            wait(waiting)  # What still runs would slow the next study down.
