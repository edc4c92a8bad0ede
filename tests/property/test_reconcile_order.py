"""However S3 orders an inventory and however it is cut into units, the findings are the same."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from cloudmig.cloud.reconcile_inventory import (
    Settings,
    plan,
    reconcile_unit,
    split_unit,
    summarise,
)
from cloudmig.cloud.reconcile_shelf import Address, FolderShelf, Shelf, Shelves
from cloudmig.model.references import StudyRef
from cloudmig.objects import study_prefix
from tests.cloud_inventory import BUCKET, INVENTORIES, PREFIX, RESULTS, Listing, a_record

RECORDS = [a_record(number) for number in range(6)]


def a_listing() -> Listing:
    """One study with a difference of most kinds, and twelve orphans."""
    listing = Listing()
    first = listing.add_manifest([*RECORDS, a_record(9)])
    listing.add_manifest(RECORDS, revision=2, previous_sha256=first)
    listing.add_record(a_record(9))
    changes: list[dict[str, str]] = [
        {"Size": "1"}, {"ETag": "other"}, {"StorageClass": "GLACIER"},
        {"EncryptionStatus": "NOT-SSE"}, {"IsDeleteMarker": "true", "Size": ""},
    ]  # fmt: skip
    for record, columns in zip(RECORDS, changes, strict=False):
        listing.add_record(record, **columns)
    for number in range(12):
        study = study_prefix("main", StudyRef(f"1.2.{number + 10}"))
        listing.add(f"{study}1/1.dcm")
        listing.add(f"{study}1/1.dcm", IsLatest="false", VersionId="earlier")
    listing.add("v1/main/readme.txt")
    return listing


def findings(listing: Listing, files: int, rows_per_partition: int) -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory() as name:
        shelf: Shelf = Shelves(
            {each: FolderShelf(Path(name) / each) for each in (BUCKET, INVENTORIES, RESULTS)}
        )
        made = plan(
            listing.write(shelf, files=files),
            shelf,
            Settings(
                bucket=BUCKET, prefix=PREFIX, results=Address(RESULTS, ""),
                rows_per_partition=rows_per_partition,
            ),
        )  # fmt: skip
        for unit in range(len(made.files)):
            split_unit(made, unit, shelf)
        for unit in range(made.partitions):
            reconcile_unit(made, unit, shelf, fetches=0)
        summarise(made, shelf)
        found = [
            json.loads(line)
            for path in Path(name).rglob("*.jsonl.gz")
            for line in gzip.decompress(path.read_bytes()).splitlines()
        ]
        return sorted(found, key=lambda each: (each["key"], each["finding"]))


EXPECTED = findings(a_listing(), 1, 1_000_000)


@settings(max_examples=25, deadline=None)
@given(
    order=st.permutations(range(len(a_listing().rows))),
    files=st.integers(1, 6),
    rows_per_partition=st.sampled_from([1, 3, 10, 1_000_000]),
)
def test_order_files_and_partitions_change_no_finding(
    order: list[int], files: int, rows_per_partition: int
) -> None:
    listing = a_listing()
    listing.rows = [listing.rows[at] for at in order]

    assert findings(listing, files, rows_per_partition) == EXPECTED


def test_what_is_compared_here_has_findings() -> None:
    assert sorted({str(each["finding"]) for each in EXPECTED}) == [
        "altered", "missing", "not encrypted", "orphan", "stranger", "truncated", "wrong class",
    ]  # fmt: skip
