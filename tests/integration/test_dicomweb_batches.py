"""Concurrent stores become few requests, of bounded size, and nobody waits for nobody."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from cloudmig.errors import DestinationUnavailable, SpoolFull
from cloudmig.model.instance import StagedInstance
from cloudmig.model.outcome import Stored
from cloudmig.model.references import InstanceRef
from tests.contract.destination_contract import bytes_of, staged
from tests.contract.stow_server import ScriptedStow
from tests.integration.dicomweb_world import a_study_of, open_web, outcomes_of


async def test_a_study_goes_in_requests_of_a_hundred_with_a_known_length() -> None:
    items = a_study_of(250)
    async with open_web() as web:
        outcomes = outcomes_of(await web.store_all(items))

        assert [len(each.sop_instance_uids) for each in web.server.sent] == [100, 100, 50]
        assert all(each.content_length == each.size_bytes for each in web.server.sent)
        assert all(web.held(each) == bytes_of(each) for each in items)
        assert len(web.server.queries) == 1, "one look at a study nobody knows"
    assert all(isinstance(each, Stored) and each.fresh for each in outcomes)


async def test_a_request_holds_no_more_than_its_bytes_allow() -> None:
    items = a_study_of(10, size_bytes=100_000)
    overrides = {"batch_bytes_max": 350_000}
    async with open_web(overrides=overrides) as web:
        outcomes_of(await web.store_all(items))

        assert [len(each.sop_instance_uids) for each in web.server.sent] == [3, 3, 3, 1]


async def test_studies_never_share_a_request() -> None:
    studies = [a_study_of(3) for _ in range(4)]
    async with open_web() as web:
        outcomes_of(await web.store_all([item for study in studies for item in study]))

        assert len(web.server.sent) == 4
        for each in web.server.sent:
            prefixes = {uid.rsplit(".", 3)[0] for uid in each.sop_instance_uids}
            assert prefixes == {each.study_instance_uid}


async def test_while_all_requests_run_the_next_one_goes_on_gathering() -> None:
    server = ScriptedStow(hold=asyncio.Event())
    assert server.hold is not None
    async with open_web(server, overrides={"requests_max": 1}, gather_s=0.001) as web:
        running = [asyncio.create_task(web.destination.store(each)) for each in a_study_of(1)]
        while web.server.at_once < 1:
            await asyncio.sleep(0)
        late = a_study_of(7)
        for item in late:
            running.append(asyncio.create_task(web.destination.store(item)))
            await asyncio.sleep(0.005)  # Longer than the gathering time.
        server.hold.set()
        await asyncio.gather(*running)

        assert [len(each.sop_instance_uids) for each in web.server.sent] == [1, 7]
        assert web.server.at_once_max == 1


async def test_requests_at_once_are_bounded() -> None:
    async with open_web(overrides={"requests_max": 3}) as web:
        items = [item for _ in range(12) for item in a_study_of(2)]
        outcomes_of(await web.store_all(items))

        assert web.server.at_once_max <= 3


async def test_who_gives_up_takes_nobody_along() -> None:
    server = ScriptedStow(hold=asyncio.Event())
    assert server.hold is not None
    items = a_study_of(3)
    async with open_web(server) as web:
        tasks = [asyncio.create_task(web.destination.store(each)) for each in items]
        while web.server.at_once < 1:
            await asyncio.sleep(0)
        tasks[0].cancel()
        server.hold.set()

        results = await asyncio.gather(*tasks, return_exceptions=True)

    assert isinstance(results[0], asyncio.CancelledError)
    assert all(isinstance(each, Stored) for each in results[1:])


async def test_closing_leaves_nobody_waiting() -> None:
    server = ScriptedStow(hold=asyncio.Event())
    async with open_web(server) as web:
        tasks = [asyncio.create_task(web.destination.store(each)) for each in a_study_of(3)]
        while web.server.at_once < 1:
            await asyncio.sleep(0)

        await web.destination.close()
        results = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(each) for each in results] == [DestinationUnavailable] * 3


async def test_two_contents_of_one_instance_never_travel_at_once() -> None:
    [first] = a_study_of(1)
    assert first.instance is not None
    second = staged(first.instance, b"second content")
    async with open_web() as web:
        outcomes = outcomes_of(await web.store_all([first, second]))

        assert len(web.server.sent) == 1
        assert web.held(first) == bytes_of(first)
    assert [type(each).__name__ for each in outcomes] == ["Stored", "Taken"]


async def test_a_spool_that_lost_bytes_costs_its_own_instance_only(tmp_path: Path) -> None:
    good, bad = a_study_of(2)
    path = tmp_path / "spooled"
    path.write_bytes(bytes_of(bad)[:-1] + b"?")
    async with open_web() as web:
        results = await web.store_all([good, dataclasses.replace(bad, body=None, path=path)])

        assert web.held(bad) is None
    assert isinstance(results[0], Stored)
    assert isinstance(results[1], SpoolFull)


@pytest.mark.parametrize("takes_uid_lists", [True, False])
async def test_a_query_in_pages_is_read_to_its_end(takes_uid_lists: bool) -> None:
    items = a_study_of(25)
    server = ScriptedStow(rows_max=10, takes_uid_lists=takes_uid_lists)
    async with open_web(server, profile="plain") as web:
        outcomes = outcomes_of(await web.store_all(items))
        web.destination._sender.forget(items[0].instance.study)  # type: ignore[union-attr]
        again = outcomes_of(await web.store_all(items))

        assert len(web.server.sent) == 1
    assert all(isinstance(each, Stored) for each in [*outcomes, *again])


@pytest.mark.parametrize("confirm", ["answer", "look", "read"])
@pytest.mark.parametrize("takes_uid_lists", [True, False])
async def test_a_store_that_lists_by_series_only_and_hands_out_bare_objects(
    confirm: str, takes_uid_lists: bool
) -> None:
    items = a_study_of(12)
    for number, item in enumerate(items):
        assert item.instance is not None
        series = f"{item.instance.series_instance_uid}.{number % 3}"
        items[number] = dataclasses.replace(
            item, instance=dataclasses.replace(item.instance, series_instance_uid=series)
        )
    named = {each.sop_instance_uid: each.series_instance_uid for each in map(_instance, items)}
    server = ScriptedStow(series=named, takes_uid_lists=takes_uid_lists)
    overrides = {"confirm": confirm, "uid_lists": takes_uid_lists}
    async with open_web(server, profile="healthimaging", overrides=overrides) as web:
        fresh = outcomes_of(await web.store_all(items))
        web.destination._sender.forget(_instance(items[0]).study)
        again = outcomes_of(await web.store_all(items))

        assert len(server.sent) == 1, "what it holds is not sent again"
        assert [each.fresh for each in [*fresh, *again] if isinstance(each, Stored)] == [
            *[True] * 12,
            *[False] * 12,
        ]
        for outcome in again:
            assert isinstance(outcome, Stored)
            assert await web.destination.find(outcome.receipt.location) == outcome.receipt


def _instance(item: StagedInstance) -> InstanceRef:
    assert item.instance is not None
    return item.instance
