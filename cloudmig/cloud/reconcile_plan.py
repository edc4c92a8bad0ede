"""What a reconciliation is going to do: read once from the inventory, then handed to every unit."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Self

from cloudmig.cloud.reconcile_judging import ReconcileRules
from cloudmig.cloud.reconcile_listing import DataFile, Inventory, InventoryRefused
from cloudmig.cloud.reconcile_shelf import Address, Shelf

__all__ = ["ReconcilePlan", "Settings", "make_plan", "read_plan"]

#: A row with keys of UIDs, a version and an ETag has about 60 gzipped bytes; rather more rows are
#: expected than fewer, because a partition's rows must fit into memory.
_BYTES_PER_ROW = 50
#: About 80 MB of Python strings.
_ROWS_PER_PARTITION = 300_000
#: One data file is one unit of work: what a function of 1 GB sorts in its 15 minutes.
_DATA_FILE_BYTES_MAX = 4 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is fixed for all runs of an installation."""

    bucket: str
    prefix: str  #: Of the destination in its bucket: what stands before `v1/`.
    results: Address  #: A bucket and what every result's key begins with.
    study_queue_url: str = ""  #: Empty: nobody is asked again.
    requests_max: int = 10_000  #: Study requests of one run.
    rules: ReconcileRules = field(default_factory=ReconcileRules)
    rows_per_partition: int = _ROWS_PER_PARTITION

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read a function's environment."""
        later = environment.get("LATER_CLASSES", "")
        return cls(
            bucket=environment["BUCKET"],
            prefix=environment.get("PREFIX", ""),
            results=Address(environment["RESULTS_BUCKET"], environment.get("RESULTS_PREFIX", "")),
            study_queue_url=environment.get("STUDY_QUEUE_URL", ""),
            requests_max=int(environment.get("REQUESTS_MAX") or 10_000),
            rules=ReconcileRules(
                later_classes=tuple(name.strip() for name in later.split(",") if name.strip()),
                kms=bool(environment.get("KMS_KEY_ARN")),
                lock_mode=environment.get("LOCK_MODE", ""),
                settle_s=float(environment.get("SETTLE_S") or 3600),
                orphan_after_s=float(environment.get("ORPHAN_AFTER_H") or 24) * 3600,
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcilePlan:
    """One run. `address` is where it lies; everything else the run writes lies beside it."""

    SCHEMA: ClassVar[str] = "cloudmig/reconcile-plan/1"

    run: str
    address: Address
    bucket: str
    prefix: str
    inventory_bucket: str
    snapshot_at: dt.datetime
    columns: tuple[str, ...]
    files: tuple[DataFile, ...]
    partitions: int
    requests_max: int
    rules: ReconcileRules

    def spill(self, unit: int) -> Address:
        """Return where a split unit writes its rows."""
        return self.address.beside(f"split/{unit}.spill")

    def counts(self, unit: int) -> Address:
        """Return where a split unit writes its counts."""
        return self.address.beside(f"split/{unit}.json")

    def result(self, unit: int) -> Address:
        """Return where a partition's counts are written."""
        return self.address.beside(f"results/{unit}.json")

    def findings(self, unit: int) -> Address:
        """Return where a partition's findings are written, if there are any."""
        return self.address.beside(f"findings/{unit}.jsonl.gz")

    def encoded(self) -> bytes:
        """Return the JSON of a plan, the same for equal plans."""
        content = {"schema": self.SCHEMA} | asdict(self)
        content["snapshot_at"] = self.snapshot_at.isoformat()
        return json.dumps(content, sort_keys=True).encode("ascii")


def make_plan(inventory: Inventory, settings: Settings, *, inventory_bucket: str) -> ReconcilePlan:
    """Return the plan for an inventory. Raises `InventoryRefused`."""
    if inventory.source_bucket != settings.bucket:
        raise InventoryRefused(
            f"the inventory is of the bucket {inventory.source_bucket}, not of {settings.bucket}"
        )
    if any(each.size_bytes > _DATA_FILE_BYTES_MAX for each in inventory.files):
        raise InventoryRefused("a data file is larger than 4 GiB: reconcile it on site, by command")
    listed_bytes = sum(each.size_bytes for each in inventory.files)
    rows = listed_bytes // _BYTES_PER_ROW
    run = f"{settings.bucket}-{inventory.snapshot_at:%Y-%m-%dT%H-%M-%SZ}-{inventory.md5[:8]}"
    return ReconcilePlan(
        run=run,
        address=Address(settings.results.bucket, f"{settings.results.key}{run}/plan.json"),
        bucket=settings.bucket,
        prefix=settings.prefix,
        inventory_bucket=inventory_bucket,
        snapshot_at=inventory.snapshot_at,
        columns=inventory.columns,
        files=inventory.files,
        partitions=rows // settings.rows_per_partition + 1,
        requests_max=settings.requests_max,
        rules=settings.rules,
    )


def read_plan(shelf: Shelf, address: Address) -> ReconcilePlan:
    """Return a plan that was written before."""
    text = shelf.get(address)
    if text is None:
        raise InventoryRefused("the plan of this run is gone: begin anew")
    content: dict[str, Any] = json.loads(text)
    if content.pop("schema") != ReconcilePlan.SCHEMA:
        raise InventoryRefused("the plan was written by another version: begin anew")
    content["snapshot_at"] = dt.datetime.fromisoformat(content["snapshot_at"])
    content["address"] = Address(**content["address"])
    content["columns"] = tuple(content["columns"])
    content["files"] = tuple(DataFile(**each) for each in content["files"])
    rules = content["rules"]
    content["rules"] = ReconcileRules(**rules | {"later_classes": tuple(rules["later_classes"])})
    return ReconcilePlan(**content)
