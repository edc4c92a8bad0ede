"""Looking for copies to make in a large catalog."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
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


@pytest.mark.parametrize("rules", [None, ("r",)])
def test_a_page_of_studies_is_found_by_number_and_not_by_sorting_all(
    rules: tuple[str, ...] | None, tmp_path: Path
) -> None:
    """Three hundred thousand studies were sorted 600 times, which took nearly four minutes."""
    asked: list[tuple[str, object]] = []
    with Catalog.open(f"sqlite:///{tmp_path / 'catalog.db'}") as catalog:

        @sa.event.listens_for(catalog._engine, "before_cursor_execute")
        def note(_c: object, _k: object, statement: str, values: object, *_: object) -> None:
            asked.append((statement, values))

        catalog.copies_to_make(CopyOrder(("main",), "dr", rules=rules))
        [(statement, values)] = [one for one in asked if "FROM transfer" in one[0]]
        with catalog._reading() as connection:
            steps = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()

    plan = [str(step.detail) for step in steps]
    assert not [each for each in plan if "ORDER BY" in each], plan
