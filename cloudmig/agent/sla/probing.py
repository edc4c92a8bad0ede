"""A probe on site: draw from the catalog, read from the stores, keep the samples, settle alarms."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cloudmig.agent.sla.alarms import AlarmBook, AlarmChange
from cloudmig.agent.sla.catalog_sampler import CatalogSampler
from cloudmig.agent.sla.samples_folder import keep_samples, samples_dir
from cloudmig.bootstrap import Parts
from cloudmig.bootstrap.destinations import open_store_client
from cloudmig.catalog import Catalog
from cloudmig.cloud.probe_retrieval import ProbeResult, probe
from cloudmig.cloud.reading import BucketReader, DicomWebReader, StudyReader
from cloudmig.cloud.retrieval_samples import RetrievalSample
from cloudmig.errors import ConfigError

__all__ = ["StoreProbe", "probe_stores", "probed_destinations"]


@dataclass(frozen=True, slots=True)
class StoreProbe:
    """What a probe found at one destination."""

    destination: str
    result: ProbeResult
    changes: Sequence[AlarmChange]


def probed_destinations(parts: Parts) -> list[str]:
    """Return the destinations that are probed. Raises `ConfigError` where there is none."""
    config = parts.config
    named = config.sla.destinations or tuple(
        name for name, settings in config.destinations.items() if settings.scheme == "s3"
    )
    if not named:
        raise ConfigError(
            "no destination is an s3:// store: there is nothing to probe",
            hint="Retrieval is measured at S3 alone, by storage class.",
        )
    return list(named)


async def probe_stores(
    parts: Parts,
    *,
    samples: int | None = None,
    seed: str | None = None,
    on_drawn: Callable[[int], None] = lambda _: None,
    on_sample: Callable[[RetrievalSample], None] = lambda _: None,
) -> list[StoreProbe]:
    """Probe each destination in turn. The same seed draws the same studies again.

    Raises `ConfigError` where the configuration names no store or no credentials; a store that
    does not answer is no error but what the samples say.
    """
    book = AlarmBook(parts.config.agent.state_dir)
    found = []
    for position, destination in enumerate(probed_destinations(parts)):
        at = parts.now()
        result = await _probe_store(
            parts,
            destination,
            _readers(parts, destination, is_first=position == 0),
            at=at,
            samples=samples or parts.config.sla.samples,
            seed=at.isoformat() if seed is None else seed,
            on_drawn=on_drawn,
            on_sample=on_sample,
        )
        if result.samples:
            folder = samples_dir(parts.config.agent.state_dir)
            await asyncio.to_thread(keep_samples, folder, result.samples, at)
        changes = book.settle(destination, result.tiers, at)
        for change in changes:
            await _tell(parts, change, at)
        found.append(StoreProbe(destination, result, changes))
    return found


def _readers(parts: Parts, destination: str, *, is_first: bool) -> list[StudyReader]:
    """Return the bucket's reader, then the endpoint's where it serves this destination."""
    sla, settings = parts.config.sla, parts.config.destinations[destination]
    client = open_store_client(destination, settings, connections_max=sla.reads_at_once + 2)
    readers: list[StudyReader] = [BucketReader(client, settings.bucket, settings.key_prefix)]
    served = sla.dicomweb_of or (destination if is_first else None)
    if sla.dicomweb is not None and served == destination:
        secret = sla.dicomweb_authorization
        authorization = secret.get_secret_value() if secret is not None else ""
        readers.append(
            DicomWebReader(sla.dicomweb, authorization=authorization, timeout_s=settings.timeout_s)
        )
    return readers


async def _probe_store(
    parts: Parts,
    destination: str,
    readers: Sequence[StudyReader],
    *,
    at: dt.datetime,
    samples: int,
    seed: str,
    on_drawn: Callable[[int], None],
    on_sample: Callable[[RetrievalSample], None],
) -> ProbeResult:
    storage_class = parts.config.destinations[destination].storage_class or "STANDARD"
    sampler = CatalogSampler(seed, keep=samples, storage_class=storage_class)
    after = 0
    while page := await parts.catalog.call(Catalog.stored_copies, destination, after=after):
        await asyncio.to_thread(sampler.see, page)
        after = page[-1].copy_id
    bucket = readers[0]
    assert isinstance(bucket, BucketReader), "manifests lie in the bucket"
    stop = threading.Event()

    def run() -> ProbeResult:
        return probe(
            parts.config.sla.levels(), sampler, readers, manifests=bucket, at=at,
            name=parts.pseudonyms.of, store=destination, samples=samples,
            time_left_s=lambda: 0.0 if stop.is_set() else 1.0, on_drawn=on_drawn,
            on_sample=on_sample,
        )  # fmt: skip

    try:
        return await asyncio.to_thread(run)
    finally:
        stop.set()  # A probe that nobody waits for any more ends with the piece it is at.


async def _tell(parts: Parts, change: AlarmChange, at: dt.datetime) -> None:
    parts.reporter.event(
        "sla.breached" if change.breached else "sla.recovered",
        destination=change.destination, tier=change.tier, burnt=change.burnt,
    )  # fmt: skip
    await parts.catalog.call(
        Catalog.record_service_level, change.destination, change.tier,
        breached=change.breached, burnt=change.burnt, at=at,
    )  # fmt: skip
