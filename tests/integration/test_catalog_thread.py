"""The catalog on its own thread: order, commits in common, cancelled callers."""

from __future__ import annotations

import asyncio
import threading

import pytest
import sqlalchemy as sa

from cloudmig.catalog import Catalog, CatalogThread
from cloudmig.errors import CatalogError, LeaseLost
from cloudmig.model.states import TransferState
from tests.catalog_studies import NOW, a_receipt, a_study, claim, plan, take_inventory

pytest_plugins = ["tests.catalog_fixtures"]


async def test_a_call_runs_elsewhere_and_its_answer_comes_back(catalog: Catalog) -> None:
    async with CatalogThread(catalog) as thread:
        sweep = await thread.call(Catalog.begin_sweep, "main", NOW)
        names = await thread.call(lambda _: threading.current_thread().name)

    assert sweep.source == "main"
    assert names == "catalog"


async def test_an_error_comes_back_to_its_caller_and_the_thread_lives_on(
    catalog: Catalog,
) -> None:
    async with CatalogThread(catalog) as thread:
        with pytest.raises(CatalogError, match="not in quarantine"):
            await thread.call(Catalog.release, "main", a_study(), at=NOW, note="")

        assert await thread.call(Catalog.studies) == []


async def test_receipts_of_many_transfers_share_commits(catalog: Catalog) -> None:
    studies = [a_study(number) for number in range(1, 21)]
    take_inventory(catalog, studies)
    plan(catalog, studies, "archive")
    jobs = [claim(catalog) for _ in studies]
    commits = 0

    def count(_connection: sa.Connection) -> None:
        nonlocal commits
        commits += 1

    sa.event.listen(catalog._engine, "commit", count)
    async with CatalogThread(catalog) as thread:
        await asyncio.gather(
            *(thread.record_receipts(job, [a_receipt(job, n)]) for job in jobs for n in range(10))
        )
    sa.event.remove(catalog._engine, "commit", count)

    assert commits <= 20, "200 receipts came at once"
    assert all(len(catalog.open_work(job).receipts["archive"]) == 10 for job in jobs)


async def test_a_lost_lease_spoils_only_its_own_receipts(catalog: Catalog) -> None:
    studies = [a_study(1), a_study(2)]
    take_inventory(catalog, studies)
    plan(catalog, studies, "archive")
    stale = claim(catalog, lease_s=0)
    good = [claim(catalog), claim(catalog)]
    assert stale.study in {job.study for job in good}

    async with CatalogThread(catalog) as thread:
        results = await asyncio.gather(
            *(thread.record_receipts(job, [a_receipt(job)]) for job in (stale, *good)),
            return_exceptions=True,
        )

    assert [type(result) for result in results] == [LeaseLost, type(None), type(None)]


async def test_a_cancelled_caller_loses_the_answer_and_not_the_work(catalog: Catalog) -> None:
    take_inventory(catalog, [a_study()])
    plan(catalog, [a_study()], "archive")
    job = claim(catalog)
    gate = threading.Event()
    async with CatalogThread(catalog) as thread:
        block = asyncio.create_task(thread.call(lambda _: gate.wait(10)))
        ending = asyncio.create_task(
            thread.call(Catalog.finish, job, TransferState.PLANNED, cause="stop")
        )
        await asyncio.sleep(0)
        ending.cancel()
        gate.set()
        assert await block
        with pytest.raises(asyncio.CancelledError):
            await ending

    [row] = catalog.transfers()
    assert row.state is TransferState.PLANNED


async def test_only_so_many_calls_wait_at_once(catalog: Catalog) -> None:
    gate = threading.Event()
    async with CatalogThread(catalog, waiting_max=3) as thread:
        calls = [asyncio.create_task(thread.call(lambda _: gate.wait(10))) for _ in range(10)]
        await asyncio.sleep(0)
        assert thread.waiting == 3
        gate.set()
        assert all(await asyncio.gather(*calls))
