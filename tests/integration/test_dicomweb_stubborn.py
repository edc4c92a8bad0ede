"""What a store never takes is named in the end, and holds nothing else back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from aiohttp import web

from cloudmig.dicomweb import HttpLimits
from cloudmig.errors import DestinationRefused, DestinationUnavailable
from cloudmig.model.outcome import Refused, Stored
from tests.contract.destination_contract import bytes_of
from tests.contract.stow_server import Answer, Reset, ScriptedStow
from tests.integration.dicomweb_world import a_study_of, open_web, outcomes_of

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.mark.parametrize("profile", ["plain", "orthanc", "dcm4chee"])
async def test_the_same_uid_in_another_series_is_another_object(profile: str) -> None:
    """Some modalities give one SOP Instance UID to objects in two series of a study."""
    [item] = a_study_of(1)
    assert item.instance is not None
    key = item.instance.study_instance_uid, item.instance.sop_instance_uid
    async with open_web(profile=profile) as both:
        both.server.in_another_series[key] = "1.2.9"

        [outcome] = outcomes_of(await both.store_all([item]))

        assert both.held(item) == bytes_of(item)
        assert len(both.server.sent) == 1
    assert isinstance(outcome, Stored)


@pytest.mark.parametrize("profile", ["plain", "dcm4chee"])
async def test_where_a_store_keeps_one_of_two_series_the_other_is_refused(profile: str) -> None:
    """It names the second as stored, too, lists the first, and gives out none under our path."""
    bad, *others = a_study_of(6)
    assert bad.instance is not None
    key = bad.instance.study_instance_uid, bad.instance.sop_instance_uid
    results = []
    async with open_web(profile=profile) as both:
        both.server.in_another_series[key] = "1.2.9"
        for other in others:
            both.server.script = [Answer(200, keeps=0, says_stored=True)]
            results += await both.store_all([bad])
            outcomes_of(await both.store_all([other]))

    assert [type(each) for each in results] == [DestinationUnavailable] * 4 + [Refused]


@pytest.mark.parametrize("status", [500, 502, 504, 0], ids=["500", "502", "504", "reset"])
async def test_an_instance_that_breaks_the_store_whenever_it_comes_is_refused(status: int) -> None:
    """As a file that a parser fails at, or one too large for a server that hangs up on it."""
    bad, *others = a_study_of(12)
    fault = Answer(status, keeps=0, body=b"") if status else Reset()
    results = []
    async with open_web() as both:
        for other in others:
            both.server.script = [fault]
            results += await both.store_all([bad])
            outcomes_of(await both.store_all([other]))

    assert [type(each) for each in results[:9]] == [DestinationUnavailable] * 9
    assert isinstance(results[9], Refused)
    assert "took others" in results[9].reason


@pytest.mark.parametrize("fault", [Answer(500, keeps=0), Reset()], ids=["500", "reset"])
async def test_a_store_that_breaks_at_everything_for_a_long_time_refuses_nothing(
    fault: Answer | Reset,
) -> None:
    first, second = a_study_of(2)
    clock = [0.0]
    async with open_web(patience_s=3600, now=lambda: clock[0]) as both:
        for _ in range(20):
            both.server.script = [fault]
            results = await both.store_all([first])
            both.server.script = [fault]
            results += await both.store_all([second])
            assert [type(each) for each in results] == [DestinationUnavailable] * 2
            clock[0] += 400


async def test_the_last_instance_that_breaks_the_store_is_given_up_after_a_long_time() -> None:
    good, bad = a_study_of(2)
    clock = [0.0]
    results = []
    async with open_web(patience_s=3600, now=lambda: clock[0]) as both:
        outcomes_of(await both.store_all([good]))
        for _ in range(3):
            both.server.script = [Answer(500, keeps=0)]
            results += await both.store_all([bad])
            clock[0] += 1801

    assert [type(each) for each in results] == [DestinationUnavailable] * 2 + [Refused]


async def test_a_store_that_is_busy_blames_nobody() -> None:
    bad, *others = a_study_of(12)
    async with open_web() as both:
        for other in others:
            both.server.script = [Answer(503, keeps=0)]
            [result] = await both.store_all([bad])
            assert isinstance(result, DestinationUnavailable)
            outcomes_of(await both.store_all([other]))


async def test_a_list_longer_than_any_we_take_is_asked_for_in_pages() -> None:
    """A study of 30,000 instances is one: without a limit, a server gives all rows at once."""
    items = a_study_of(30)
    limits = HttpLimits(answer_bytes_max=2000)
    async with open_web(ScriptedStow(rows_max=5), profile="plain", limits=limits) as both:
        both.server.rows_without_limit = 30
        outcomes_of(await both.store_all(items))
        both.server.queries.clear()

        again = outcomes_of(await both.store_all(items))

        assert all("limit=" in each for each in both.server.queries)
        assert len(both.server.held) == sum(
            len(each.sop_instance_uids) for each in both.server.sent
        )
    assert all(isinstance(each, Stored) for each in again)


async def test_a_store_that_sends_nothing_as_it_is_stored_is_told_what_it_lacks() -> None:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if "transfer-syntax=*" in request.headers.get("Accept", ""):
            return web.Response(status=406)
        return await handler(request)

    async with open_web(ScriptedStow(guards=[guard]), profile="dcm4chee") as both:
        [error] = await both.store_all(a_study_of(1))

    assert isinstance(error, DestinationRefused)
    assert str(error) == "retrieve: HTTP 406"
    assert "transfer-syntax" in error.hint


async def test_a_form_that_a_store_does_not_take_is_refused_alone() -> None:
    """415 may be about one transfer syntax among others."""
    *good, bad = a_study_of(4)
    bad = replace(bad, transfer_syntax_uid="1.2.840.10008.1.2.4.112")
    assert bad.instance is not None
    async with open_web() as both:
        both.server.takes_not = {bad.instance.sop_instance_uid}
        outcomes = outcomes_of(await both.store_all([*good, bad]))

        assert all(both.held(each) for each in good)
    assert [type(each) for each in outcomes] == [Stored] * 3 + [Refused]
    assert outcomes[-1] == Refused("store: HTTP 415; this store takes others, but none in its form")


async def test_a_form_that_a_store_has_taken_before_is_not_refused_while_it_takes_none() -> None:
    """A proxy before it may be set up wrongly for a while, and answer so to whatever comes."""
    first, *items = a_study_of(4)
    async with open_web() as both:
        outcomes_of(await both.store_all([first]))
        both.server.script = [Answer(415, keeps=0, body=b"")] * 4
        results = await both.store_all(items)
        assert [type(each) for each in results] == [DestinationUnavailable] * 3

        outcomes = outcomes_of(await both.store_all(items))

    assert [type(each) for each in outcomes] == [Stored] * 3


async def test_a_store_that_takes_no_form_at_all_needs_a_person() -> None:
    items = a_study_of(3)
    async with open_web() as both:
        both.server.script = [Answer(415, keeps=0, body=b"")] * 4
        results = await both.store_all(items)

        assert len(both.server.sent) == 4
    assert [type(each) for each in results] == [DestinationRefused] * 3


@pytest.mark.parametrize("profile", ["plain", "dcm4chee"])
async def test_what_was_stored_and_not_seen_is_looked_for_before_it_is_sent_again(
    profile: str,
) -> None:
    """The look, or the reading, that has to confirm a success may fail by itself."""
    failures = 1

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal failures
        if request.method == "GET" and both.server.sent and failures:
            failures -= 1
            return web.Response(status=500)
        return await handler(request)

    [item] = a_study_of(1)
    async with open_web(ScriptedStow(guards=[guard]), profile=profile) as both:
        [error] = await both.store_all([item])
        [outcome] = outcomes_of(await both.store_all([item]))

        assert len(both.server.sent) == 1
    assert isinstance(error, DestinationUnavailable)
    assert isinstance(outcome, Stored)
