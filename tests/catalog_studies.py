"""Studies for catalog tests, and short ways to carry them from step to step."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Sequence

from cloudmig.catalog import Catalog
from cloudmig.catalog.records import CopyToVerify, ReceiptRow
from cloudmig.catalog.replay import as_replayed, rebuild
from cloudmig.model.instance import Location, Receipt, Slot
from cloudmig.model.references import InstanceRef, StudyRef
from cloudmig.model.states import TransferState
from cloudmig.model.study import Answer, StudySummary
from cloudmig.model.transfer import CopyPlan, Decision, TransferJob

NOW = dt.datetime(2026, 3, 14, 9, 26, tzinfo=dt.UTC)

#: Gives a fresh, empty, migrated catalog's address each time it is called.
UrlFactory = Callable[[], str]


def a_study(number: int = 1) -> StudyRef:
    return StudyRef(f"1.2.840.99.{number}")


def an_instance(study: StudyRef, number: int = 1) -> InstanceRef:
    uid = study.study_instance_uid
    return InstanceRef(uid, f"{uid}.1", f"{uid}.1.{number}")


def take_inventory(
    catalog: Catalog,
    studies: Sequence[StudyRef],
    *,
    source: str = "main",
    dates: Sequence[str] = (),
    instances: int | None = 2,
) -> None:
    """Sweep these studies into the catalog; without dates they are all dateless."""
    sweep = catalog.begin_sweep(source, NOW)
    summaries = [
        StudySummary(
            study, dates[n] if dates else "", "", ("CT",), instances, "p", {"Told": str(n)}
        )
        for n, study in enumerate(studies)
    ]
    catalog.record_answer(sweep, Answer("universal", len(studies), "complete"), summaries, NOW)
    catalog.finish_sweep(sweep, NOW, {})


def plan(
    catalog: Catalog,
    studies: Sequence[StudyRef],
    *destinations: str,
    source: str = "main",
    rule: str = "the archive",
    priority: int = 0,
) -> None:
    copies = tuple(CopyPlan(name, "STANDARD") for name in destinations)
    catalog.record_plan([Decision(source, one, rule, copies, priority) for one in studies], NOW)


def claim(catalog: Catalog, owner: str = "worker", *, lease_s: float = 60.0) -> TransferJob:
    job = catalog.claim_next(owner, lease_s=lease_s, sources=["main"])
    assert job is not None
    return job


def a_receipt(job: TransferJob, number: int = 1, destination: str = "archive") -> ReceiptRow:
    instance = an_instance(job.study, number)
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    receipt = Receipt(Location(f"k/{number}.dcm", "v1"), 100 + number, digest, digest, "etag")
    return ReceiptRow(destination, instance, "1.2.3", "1.2.4", Slot.PRIMARY, receipt)


def store_copy(
    catalog: Catalog,
    job: TransferJob,
    destination: str = "archive",
    *,
    revision: int = 1,
    instances: int = 2,
    completeness: str = "SET",
) -> None:
    catalog.record_copy(
        job,
        destination,
        manifest_key=f"manifest/{revision}.json.gz",
        manifest_sha256=f"{revision:064x}",
        revision=revision,
        instances=instances,
        bytes=instances * 100,
        completeness=completeness,
    )


def store(catalog: Catalog, job: TransferJob, *, revision: int = 1, instances: int = 2) -> None:
    """Carry a claimed study to STORED."""
    for copy in job.copies:
        store_copy(catalog, job, copy.destination, revision=revision, instances=instances)
    catalog.finish(job, TransferState.STORED, cause="", instances_inventory=instances)


def agree(catalog: Catalog, copy: CopyToVerify, how: str = "READ_BACK") -> TransferState | None:
    return catalog.record_verdict(copy, agreed=True, how=how, findings=(), at=NOW)


def state_of(catalog: Catalog, study: StudyRef, source: str = "main") -> TransferState:
    row = catalog.transfer(source, study)
    assert row is not None
    return row.state


def check_ledger(catalog: Catalog) -> None:
    """The ledger tells the same of every transfer as the tables."""
    tables = {
        (row.source, row.study.study_instance_uid): as_replayed(row)
        for row in catalog.transfers(limit=10_000)
    }
    assert rebuild(catalog.ledger(limit=100_000)) == tables
