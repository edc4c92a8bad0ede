"""Looking for copies to make in a large catalog."""

from __future__ import annotations

import time
from pathlib import Path

import sqlalchemy as sa

from cloudmig.catalog import Catalog, schema
from cloudmig.catalog.copying import CopyOrder

STUDIES = 20_000


def test_a_large_catalog_is_looked_through_once_and_not_once_for_every_study(
    tmp_path: Path,
) -> None:
    transfers = [
        {
            "transfer_id": number, "source": "main", "study_instance_uid": f"1.2.{number}",
            "state": "planned" if number % 2 else "closed", "rule": "r", "priority": 0,
            "newest_first": 0, "spread": number, "attempt": 0, "failures": 0, "not_before": 0.0,
            "strays": 0, "listing_notes": [], "series_found": 0,
        }
        for number in range(1, STUDIES + 1)
    ]  # fmt: skip
    copies = [
        {
            "transfer_id": number, "destination": "archive", "storage_class": "",
            "state": "planned" if number % 2 else "verified", "manifest_revision": 0,
            "completeness": "", "repairs": 0,
        }
        for number in range(1, STUDIES + 1)
    ]  # fmt: skip
    with Catalog.open(f"sqlite:///{tmp_path / 'catalog.db'}") as catalog:
        with catalog._writing() as connection:
            connection.execute(sa.insert(schema.transfer), transfers)
            connection.execute(sa.insert(schema.copy), copies)
        begun_s = time.process_time()

        assert catalog.copies_to_make(CopyOrder(("main",), None)) == []
        assert catalog.copies_without_origin(CopyOrder(("main",), None)) == STUDIES // 2
        assert catalog.copies_to_make(CopyOrder(("main",), "dr")) == []
        assert len(catalog.copies_to_make(CopyOrder(("main",), "dr", rules=None), limit=500)) == 500
        assert catalog.copies_without_origin(CopyOrder(("main",), "dr", rules=None)) == 0

        assert time.process_time() - begun_s < 2.0, "it took hours when it was searched by state"
