"""Many findings about one study, on both databases."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from cloudmig.catalog import Catalog
from cloudmig.model.quarantine import QuarantineReason
from tests.catalog_studies import a_study, an_instance, claim, plan, take_inventory

pytest_plugins = ["tests.catalog_fixtures"]


@pytest.mark.parametrize("reason", [QuarantineReason.MALFORMED, None])
def test_a_finding_is_looked_for_by_its_instance_and_not_through_its_study(
    reason: QuarantineReason | None, catalog: Catalog
) -> None:
    """The plan of the query, not its speed: 20,000 findings of one study took minutes."""
    take_inventory(catalog, [a_study()])
    plan(catalog, [a_study()], "archive")
    job = claim(catalog)
    asked: list[tuple[str, object]] = []

    @sa.event.listens_for(catalog._engine, "before_cursor_execute")
    def note(_c: object, _k: object, statement: str, values: object, *_: object) -> None:
        asked.append((statement, values))

    catalog.record_finding(job, "odd", reason, {"why": "x"}, an_instance(job.study))

    table = "quarantine_item" if reason else "ledger_event"
    [(statement, values)] = [one for one in asked if f"FROM {table}" in one[0]]
    explain = "EXPLAIN " if catalog.is_shared else "EXPLAIN QUERY PLAN "
    with catalog._reading() as connection:
        if catalog.is_shared:  # Of a table that is nearly empty it would read all.
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            connection.exec_driver_sql("SET LOCAL enable_bitmapscan = off")
        steps = connection.exec_driver_sql(explain + statement, values).all()

    # Each database's word for the columns that the index is searched by.
    searched_by = "Index Cond: " if catalog.is_shared else f"USING INDEX ix_{table}_study ("
    [step] = [str(step) for step in steps if searched_by in str(step)]
    assert "sop_instance_uid" in step
