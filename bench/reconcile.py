"""Reconcile a made-up inventory and check every finding: `python -m bench.reconcile [OBJECTS]`.

Measures time, CPU and memory of all processes together. `--keep` writes the figures to
bench/results-reconcile.json, which joins docs/benchmarks.md. Exits with 1 when a floor of the issue
is missed: under 10 minutes and 1 GB on two cores, exact on 1,000 planted differences.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import gzip
import json
import os
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from bench.meter import Meter
from bench.reconcile_world import BUCKET, DECOYS, KINDS, PREFIX
from bench.reconcile_writing import CONFIG, write_world
from cloudmig.cloud.reconcile_judging import ReconcileRules
from cloudmig.cloud.reconcile_on_site import reconcile_on_site
from cloudmig.cloud.reconcile_plan import Settings
from cloudmig.cloud.reconcile_shelf import Address, FolderShelf, Shelf

__all__ = ["RULES", "found_in", "reconcile_world"]

RULES = ReconcileRules(later_classes=("GLACIER_IR",), kms=True, lock_mode="GOVERNANCE")
RESULTS = Path(__file__).with_name("results-reconcile.json")
_SECONDS_MAX, _RSS_MB_MAX = 600.0, 1000.0


def _shelves(folder: Path) -> dict[str, Shelf]:
    """Open the two folders of a world as the buckets they stand for."""
    return {
        BUCKET: FolderShelf(folder / "bucket"),
        "inventories": FolderShelf(folder / "inventory"),
    }


def reconcile_world(
    folder: Path, results: Path, *, workers: int = 2, rows_per_partition: int | None = None
) -> dict[str, Any]:
    """Reconcile the world in a folder and return the summary."""
    [manifest] = (folder / "inventory" / CONFIG).glob("*/manifest.json")
    settings = Settings(bucket=BUCKET, prefix=PREFIX, results=Address("", ""), rules=RULES)
    if rows_per_partition is not None:
        settings = dataclasses.replace(settings, rows_per_partition=rows_per_partition)
    return reconcile_on_site(
        Address("inventories", manifest.relative_to(folder / "inventory").as_posix()),
        settings,
        partial(_shelves, folder),
        folder=results,
        workers=workers,
        fetches=0,
    )


def found_in(folder: Path) -> list[tuple[str, str]]:
    """Return every finding and key in the findings files below a folder, sorted."""
    return sorted(
        (line["finding"], line["key"])
        for path in folder.rglob("*.jsonl.gz")
        for line in map(json.loads, gzip.decompress(path.read_bytes()).splitlines())
    )


def measure(objects: int, differences: int) -> dict[str, Any]:
    """Write a world, reconcile it in a process of its own, and compare."""
    with tempfile.TemporaryDirectory(prefix="cloudmig-reconcile-") as name:
        folder = Path(name)
        world = write_world(folder / "world", objects=objects, differences=differences)
        print(f"{world.objects:,} rows written")
        load = os.getloadavg()[0]
        command = [sys.executable, "-m", "bench.reconcile", "--run", name]
        with Meter(folder / "log") as meter:
            seconds = meter.run(command)
        found = found_in(folder / "results")
        spread = Counter(finding for finding, _ in found)
        return {
            "objects": world.objects,
            "seconds": round(seconds, 1),
            "CPU seconds": round(meter.cpu_s, 1),
            "CPU us per object": round(1e6 * meter.cpu_s / world.objects, 1),
            "peak RSS MB, all processes": round(meter.peak_rss_bytes / 1e6),
            "inventory MB": round(_bytes_of(folder / "world" / "inventory") / 1e6),
            "manifests MB": round(_bytes_of(folder / "world" / "bucket") / 1e6),
            "planted": len(world.expected),
            "found": len(found),
            "false": len(set(found) - world.expected) + len(found) - len(set(found)),
            "missed": len(world.expected - set(found)),
            "load before": round(load, 1),
            "findings": ", ".join(f"{count} {name}" for name, count in sorted(spread.items())),
        }


def _bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.gz"))


def _keep(row: dict[str, Any]) -> None:
    text = (
        f"`python -m bench.reconcile` on {dt.datetime.now(dt.UTC):%Y-%m-%d}, two worker processes,"
        " inventory and manifests in folders: 100 instances a study, rows of a study scattered"
        f" over 20 data files. Differences of {len(KINDS)} kinds are planted at even distances, and"
        f" studies with {len(DECOYS)} kinds of what is no difference beside them. The clock runs"
        " from the start of Python to the end of the last process; CPU is that of all processes"
        " (`wait4`), memory the largest sum of their high-water marks. Over the network every"
        " study costs one GET more, asked for eight at a time: that time is not in it."
    )
    shown = {key: value for key, value in row.items() if key != "findings"}
    RESULTS.write_text(
        json.dumps({"title": "Reconciling an inventory", "text": text, "rows": [shown]}, indent=1)
        + "\n"
    )


def main() -> int:
    """Measure, say what came of it, and compare with the floors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("objects", nargs="?", type=int, default=10_000_000)
    parser.add_argument("--differences", type=int, default=1000)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--run", type=Path)
    wanted = parser.parse_args()
    if wanted.run:
        reconcile_world(wanted.run / "world", wanted.run / "results")
        return 0
    row = measure(wanted.objects, wanted.differences)
    for name, value in row.items():
        print(f"{name:28} {value}")
    if wanted.keep:
        _keep(row)
    holds = (
        row["seconds"] < _SECONDS_MAX
        and row["peak RSS MB, all processes"] < _RSS_MB_MAX
        and row["found"] == row["planted"]
        and not row["false"]
        and not row["missed"]
    )
    print("holds" if holds else "FALLS SHORT")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
