"""The retrieval report: what the kept samples say, as a page and as a document."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cloudmig.agent.sla.alarms import AlarmBook
from cloudmig.agent.sla.history import StoreHistory, WorstStudy, histories_of
from cloudmig.agent.sla.page import report_page
from cloudmig.agent.sla.samples_folder import kept_samples, samples_dir
from cloudmig.bootstrap import Parts
from cloudmig.catalog import Catalog
from cloudmig.catalog.records import RestoreRow
from cloudmig.cloud.probe_metrics import tier_document
from cloudmig.cloud.retrieval_samples import RetrievalSample
from cloudmig.model.service_levels import ServiceLevels
from cloudmig.pipeline.page import write_page
from cloudmig.telemetry import Pseudonyms

__all__ = ["RetrievalReport", "make_report"]


@dataclass(frozen=True, slots=True)
class RetrievalReport:
    """The report of some days."""

    since: dt.datetime
    until: dt.datetime
    levels: ServiceLevels
    histories: Sequence[StoreHistory]
    alarms: Mapping[str, Mapping[str, str]]  #: Destination -> tier -> since when.
    path: Path

    def document(self) -> dict[str, object]:
        """Return the JSON shape. Studies are pseudonyms."""
        return {
            "since": self.since.isoformat(timespec="seconds"),
            "until": self.until.isoformat(timespec="seconds"),
            "objective": self.levels.objective,
            "alarms": {store: dict(tiers) for store, tiers in self.alarms.items()},
            "stores": {each.store: _store_document(self.levels, each) for each in self.histories},
            "report": str(self.path),
        }


async def make_report(parts: Parts, *, days: int, more: Sequence[Path] = ()) -> RetrievalReport:
    """Write the page of the last days; `more` are folders of samples that functions took."""
    now = parts.now()
    since = now - dt.timedelta(days=days)
    state_dir = parts.config.agent.state_dir
    samples = await asyncio.to_thread(
        lambda: [
            sample
            for folder in (samples_dir(state_dir), *more)
            for sample in kept_samples(folder, since)
        ]
    )
    restores = await parts.catalog.call(Catalog.completed_restores, since)
    samples += [_restore_sample(each, parts.pseudonyms) for each in restores]
    levels = parts.config.sla.levels()
    histories = histories_of(levels, samples)
    alarms = AlarmBook(state_dir).raised()
    path = parts.config.agent.report_dir / f"sla-{now:%Y%m%dT%H%M%S}.html"
    page = report_page(levels, histories, alarms, since=since, now=now)
    await asyncio.to_thread(write_page, path, page)
    return RetrievalReport(since, now, levels, histories, alarms, path)


def _restore_sample(restore: RestoreRow, pseudonyms: Pseudonyms) -> RetrievalSample:
    assert restore.completed_at is not None, "asked for by that"
    at = restore.completed_at.isoformat(timespec="seconds")
    parts = restore.key.split("/")  # v1/<archive>/<hh>/<study>/<series>/<sop>.dcm
    return RetrievalSample(
        at=at, probe=at, how="restore", tier=restore.storage_class, outcome="restored",
        store=restore.destination, study=pseudonyms.of(parts[3]) if len(parts) == 6 else "",
        instances=1, restore_s=restore.took_s, promised_s=restore.promised_s,
    )  # fmt: skip


def _store_document(levels: ServiceLevels, history: StoreHistory) -> dict[str, object]:
    return {
        "tiers": {
            tier: tier_document(each)
            | {
                "level": asdict(levels.level_of(tier)),
                "over_time": [
                    {"at": moment.at.isoformat(timespec="seconds")}
                    | tier_document(moment.standing)
                    for moment in history.moments[tier]
                ],
            }
            for tier, each in history.tiers.items()
        },
        "worst": [_worst_document(each) for each in history.worst],
        "restores": [
            {
                "tier": each.tier, "completed_at": each.at, "took_s": each.restore_s,
                "promised_s": each.promised_s,
            }
            for each in history.restores
        ],
    }  # fmt: skip


def _worst_document(each: WorstStudy) -> dict[str, object]:
    sample = asdict(replace(each.sample, store=""))
    kept = ("tier", "at", "how", "outcome", "cause", "instances", "size_bytes", "first_byte_s",
            "first_instance_s", "study_s", "query_s")  # fmt: skip
    return {
        "study": each.study,
        "missed": list(each.missed),
        "times_its_limit": each.worst,
    } | {name: sample[name] for name in kept}
