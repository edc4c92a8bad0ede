"""Joins an S3 Inventory with the manifests: missing, extra, changed, wrongly kept. At any size.

    plan       read manifest.json, check it, decide how many partitions hold its rows
    split      one data file of the inventory: sort its rows into the partitions   (a unit each)
    reconcile  one partition: its rows against the manifests of its studies         (a unit each)
    summarise  add up what the units found

A unit needs no other unit of its step, takes minutes and a few hundred MB, and writes what it
found under names that depend on nothing but the inventory: it may run in a function, in a
process, and twice. Nothing here reads a clock: what is too young to be judged is decided by the
inventory's own time (`reconcile_judging.Horizon`).
"""

from __future__ import annotations

import gzip
import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cloudmig.cloud.instants import instant
from cloudmig.cloud.reconcile_listing import InventoryRefused, read_inventory, rows_of
from cloudmig.cloud.reconcile_partition import PartitionResult, reconcile_partition
from cloudmig.cloud.reconcile_plan import ReconcilePlan, Settings, make_plan, read_plan
from cloudmig.cloud.reconcile_shelf import Address, S3Shelf, Shelf
from cloudmig.cloud.reconcile_spill import SplitCounts, split_rows
from cloudmig.messages import StudyRequest, encode

__all__ = [
    "InventoryRefused", "ReconcilePlan", "S3Shelf", "Settings", "plan", "reconcile_unit",
    "run_step", "split_unit", "summarise",
]  # fmt: skip

SUMMARY_SCHEMA = "cloudmig/reconcile-summary/1"
#: What SQS takes in one call.
_BATCH = 10


def run_step(
    event: Mapping[str, Any],
    shelf: Shelf,
    settings: Settings,
    *,
    sqs: Any = None,  # noqa: ANN401 - boto3's client
) -> dict[str, Any]:
    """Run the step a state machine asks for: plan, split, reconcile or summarise."""
    if event["step"] == "plan":
        made = plan(Address.of(event["inventory"]), shelf, settings)
        return _units(made, shelf)
    made = read_plan(shelf, Address.of(event["plan"]))
    match event["step"]:
        case "split":
            counts = split_unit(made, event["unit"], shelf)
            return {"unit": event["unit"], "rows": counts.rows}
        case "reconcile":
            result = reconcile_unit(made, event["unit"], shelf)
            if sqs is not None and settings.study_queue_url:
                ask_again(made, result, sqs, settings.study_queue_url)
            return {
                "unit": event["unit"],
                "studies": result.studies,
                "objects": result.objects,
                "findings": sum(result.findings.values()),
            }
        case "summarise":
            return summarise(made, shelf)
        case unknown:
            raise InventoryRefused(f"there is no step {unknown}")


def plan(inventory: Address, shelf: Shelf, settings: Settings) -> ReconcilePlan:
    """Read and check manifest.json, and write the plan. Raises `InventoryRefused`."""
    made = make_plan(read_inventory(shelf, inventory), settings, inventory_bucket=inventory.bucket)
    shelf.put(made.address, made.encoded())
    return made


def _units(made: ReconcilePlan, shelf: Shelf) -> dict[str, Any]:
    """Write the lists of units that two Distributed Maps read; return where they are."""
    answer: dict[str, Any] = {"run": made.run, "plan": made.address.document()}
    for name, count in (("split", len(made.files)), ("join", made.partitions)):
        units = [{"plan": made.address.document(), "unit": number} for number in range(count)]
        address = made.address.beside(f"{name}-units.json")
        shelf.put(address, json.dumps(units).encode("ascii"))
        answer |= {f"{name}_units": address.document(), f"{name}_count": count}
    return answer


def split_unit(
    made: ReconcilePlan, unit: int, shelf: Shelf, *, scratch: Path | None = None
) -> SplitCounts:
    """Sort one data file's rows into the partitions. Raises `InventoryRefused`."""
    file = made.files[unit]
    rows = rows_of(shelf, file, Address(made.inventory_bucket, file.key), width=len(made.columns))
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        spill = Path(folder) / "spill"
        counts = split_rows(
            rows, made.columns, prefix=made.prefix, partitions=made.partitions, spill=spill
        )
        shelf.put(made.spill(unit), spill)
    shelf.put(made.counts(unit), json.dumps(asdict(counts)).encode("ascii"))
    return counts


def reconcile_unit(
    made: ReconcilePlan, unit: int, shelf: Shelf, *, fetches: int = 8
) -> PartitionResult:
    """Compare one partition, and write its findings and counts."""
    result = reconcile_partition(made, unit, shelf, fetches=fetches)
    if result.found:
        lines = "".join(json.dumps(each.document()) + "\n" for each in result.found)
        shelf.put(made.findings(unit), gzip.compress(lines.encode("ascii"), 6, mtime=0))
    shelf.put(made.result(unit), json.dumps(result.document()).encode("ascii"))
    return result


def ask_again(
    made: ReconcilePlan,
    result: PartitionResult,
    sqs: Any,  # noqa: ANN401 - boto3's client
    queue_url: str,
) -> None:
    """Ask for the studies that differ to be looked at, in batches; twice is harmless."""
    bodies = [
        encode(
            StudyRequest(
                bucket=made.bucket,
                prefix=made.prefix,
                archive=archive,
                study_instance_uid=study_instance_uid,
                why="inventory differs",
                # A verdict that is younger than the inventory has answered it already.
                at=instant(made.snapshot_at),
            )
        )
        for archive, study_instance_uid in result.asked_again
    ]
    for first in range(0, len(bodies), _BATCH):
        batch = bodies[first : first + _BATCH]
        entries = [{"Id": str(at), "MessageBody": body} for at, body in enumerate(batch)]
        answer = sqs.send_message_batch(QueueUrl=queue_url, Entries=entries)
        if answer.get("Failed"):
            raise OSError("the study queue did not take every request")  # The unit runs again.


def summarise(made: ReconcilePlan, shelf: Shelf) -> dict[str, Any]:
    """Add up all units, write the summary and return it. Raises `InventoryRefused`."""
    totals: Counter[str] = Counter()
    findings: Counter[str] = Counter()
    files = []
    for unit in range(made.partitions):
        counts = _read(shelf, made.result(unit))
        findings.update(counts.pop("findings"))
        if counts.pop("found"):
            files.append(made.findings(unit).document())
        totals.update(counts)
    rows: Counter[str] = Counter()
    for unit in range(len(made.files)):
        rows.update(_read(shelf, made.counts(unit)))
    if not rows["kept"]:
        raise InventoryRefused(
            "the inventory lists no object below this prefix: is it filtered to another one?"
        )
    summary = {
        "schema": SUMMARY_SCHEMA,
        "run": made.run,
        "bucket": made.bucket,
        "prefix": made.prefix,
        "snapshot_at": instant(made.snapshot_at),
        "agreed": not findings,
        "findings": dict(sorted(findings.items())),
        **totals,
        "rows": rows["rows"],
        "noncurrent": rows["noncurrent"],
        "outside": rows["outside"],
        "findings_files": files[:100],  # A step's answer is small; the folder has them all.
    }
    shelf.put(made.address.beside("summary.json"), json.dumps(summary, indent=1).encode("ascii"))
    return summary


def _read(shelf: Shelf, address: Address) -> dict[str, Any]:
    text = shelf.get(address)
    if text is None:
        raise InventoryRefused("a unit of this run has left no result: run it again")
    counts: dict[str, Any] = json.loads(text)
    return counts
