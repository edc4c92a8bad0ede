"""Reconcile a made-up inventory and check every finding: `python -m bench.reconcile [OBJECTS]`.

Measures time, CPU and memory of all processes together, with the manifests in a folder and, where
nginx is installed, behind HTTP and boto3 as in a bucket. `--keep` writes the figures to
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
import shutil
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from bench import render
from bench.meter import Meter
from bench.peers import nginx_sink
from bench.reconcile_world import BUCKET, DECOYS, KINDS, PREFIX
from bench.reconcile_writing import CONFIG, World, write_world
from cloudmig.cloud.reconcile_judging import ReconcileRules
from cloudmig.cloud.reconcile_on_site import reconcile_on_site
from cloudmig.cloud.reconcile_plan import Settings
from cloudmig.cloud.reconcile_shelf import Address, FolderShelf, S3Shelf, Shelf

__all__ = ["RULES", "found_in", "reconcile_world"]

RULES = ReconcileRules(later_classes=("GLACIER_IR",), kms=True, lock_mode="GOVERNANCE")
RESULTS = Path(__file__).with_name("results-reconcile.json")
_SECONDS_MAX, _RSS_MB_MAX = 600.0, 1000.0
_FETCHES = 8


def _shelves(folder: Path, endpoint: str = "") -> dict[str, Shelf]:
    """Open the two folders of a world as the buckets they stand for."""
    images: Shelf = FolderShelf(folder / "bucket")
    if endpoint:
        images = S3Shelf(
            boto3.client(
                "s3", endpoint_url=endpoint, region_name="us-east-1",
                aws_access_key_id="bench", aws_secret_access_key="bench",
                config=Config(max_pool_connections=_FETCHES, s3={"addressing_style": "path"}),
            )
        )  # fmt: skip
    return {BUCKET: images, "inventories": FolderShelf(folder / "inventory")}


def reconcile_world(
    folder: Path,
    results: Path,
    *,
    endpoint: str = "",
    workers: int = 2,
    rows_per_partition: int | None = None,
) -> dict[str, Any]:
    """Reconcile the world in a folder and return the summary; manifests by HTTP where asked."""
    [manifest] = (folder / "inventory" / CONFIG).glob("*/manifest.json")
    settings = Settings(bucket=BUCKET, prefix=PREFIX, results=Address("", ""), rules=RULES)
    if rows_per_partition is not None:
        settings = dataclasses.replace(settings, rows_per_partition=rows_per_partition)
    return reconcile_on_site(
        Address("inventories", manifest.relative_to(folder / "inventory").as_posix()),
        settings,
        partial(_shelves, folder, endpoint),
        folder=results,
        workers=workers,
        fetches=_FETCHES if endpoint else 0,
    )


def found_in(folder: Path) -> list[tuple[str, str]]:
    """Return every finding and key in the findings files below a folder, sorted."""
    return sorted(
        (line["finding"], line["key"])
        for path in folder.rglob("*.jsonl.gz")
        for line in map(json.loads, gzip.decompress(path.read_bytes()).splitlines())
    )


def measure(objects: int, differences: int, *, by_http: bool = False) -> list[dict[str, Any]]:
    """Write a world, reconcile it in processes of their own, and compare: once for each way."""
    with tempfile.TemporaryDirectory(prefix="cloudmig-reconcile-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's workers run as another user when root starts it.
        world = write_world(folder / "world", objects=objects, differences=differences)
        print(f"{world.objects:,} rows written", flush=True)
        rows = [_measured(folder, world, "folder")]
        if by_http:
            with nginx_sink(folder / "nginx") as sink:
                (sink.root / BUCKET).symlink_to(folder / "world" / "bucket")
                rows.append(_measured(folder, world, f"http://127.0.0.1:{sink.port}"))
        return rows


def _measured(folder: Path, world: World, manifests: str) -> dict[str, Any]:
    is_http = manifests.startswith("http")
    results = folder / ("http" if is_http else "folder")
    command = [sys.executable, "-m", "bench.reconcile", "--run", str(folder / "world")]
    command += ["--results", str(results), *(["--endpoint", manifests] if is_http else [])]
    load = os.getloadavg()[0]
    with Meter(folder / "log") as meter:
        seconds = meter.run(command)
    found = found_in(results)
    spread = Counter(finding for finding, _ in found)
    return {
        "manifests": "HTTP, boto3" if is_http else "folder",
        "objects": world.objects,
        "seconds": round(seconds, 1),
        "CPU seconds": round(meter.cpu_s, 1),
        "CPU us per object": round(1e6 * meter.cpu_s / world.objects, 1),
        "peak MB, all processes": round(meter.peak_rss_bytes / 1e6),
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


def _keep(rows: list[dict[str, Any]]) -> None:
    text = (
        f"`python -m bench.reconcile` on {dt.datetime.now(dt.UTC):%Y-%m-%d}, two worker processes,"
        " the inventory in a folder: 100 instances a study, rows of a study scattered over 20 data"
        f" files. Differences of {len(KINDS)} kinds are planted at even distances, and beside them"
        f" studies with {len(DECOYS)} kinds of what is no difference. The clock runs from the start"
        " of Python to the end of the last process; CPU is that of all our processes (`wait4`),"
        " memory the largest sum of their high-water marks. By HTTP every study costs a GET through"
        f" boto3, {_FETCHES} at once in each process, from nginx on the same two cores: no"
        " network's time is in it. Asked: under 600 s, 1,000 MB, all differences and no other."
    )
    shown = [{key: value for key, value in row.items() if key != "findings"} for row in rows]
    content = {"title": "Reconciling an inventory", "text": text, "rows": shown}
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")
    render.main()


def _holds(row: dict[str, Any]) -> bool:
    return (
        row["seconds"] < _SECONDS_MAX
        and row["peak MB, all processes"] < _RSS_MB_MAX
        and row["found"] == row["planted"]
        and not row["false"]
        and not row["missed"]
    )


def main() -> int:
    """Measure, say what came of it, and compare with the floors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("objects", nargs="?", type=int, default=10_000_000)
    parser.add_argument("--differences", type=int, default=1000)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--run", type=Path)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--endpoint", default="")
    wanted = parser.parse_args()
    if wanted.run:
        reconcile_world(wanted.run, wanted.results, endpoint=wanted.endpoint)
        return 0
    by_http = shutil.which("nginx") is not None or Path("/usr/sbin/nginx").exists()
    rows = measure(wanted.objects, wanted.differences, by_http=by_http)
    for row in rows:
        for name, value in row.items():
            print(f"{name:24} {value}")
        print("holds" if _holds(row) else "FALLS SHORT", flush=True)
    if wanted.keep:
        _keep(rows)
    return 0 if all(map(_holds, rows)) else 1


if __name__ == "__main__":
    sys.exit(main())
