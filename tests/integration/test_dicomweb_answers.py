"""Every answer to a store is read instance by instance; what it leaves open is looked up."""

from __future__ import annotations

import asyncio
import json

import pytest

from cloudmig.destinations.retrying import RetryingDestination, RetryPolicy
from cloudmig.errors import DestinationRefused, DestinationUnavailable
from cloudmig.model.outcome import Refused, Stored, Taken
from tests.contract.destination_contract import bytes_of, staged
from tests.contract.stow_server import CANARY, Answer, Reset, ScriptedStow
from tests.integration.dicomweb_world import a_study_of, open_web, outcomes_of


@pytest.mark.parametrize("speaks_xml", [False, True], ids=["json", "xml"])
@pytest.mark.parametrize("status", [200, 202, 400, 409])
async def test_a_partial_batch_is_told_apart_whatever_the_status(
    status: int, speaks_xml: bool
) -> None:
    items = a_study_of(5)
    async with open_web(ScriptedStow(speaks_xml=speaks_xml)) as web:
        web.server.script = [Answer(status, keeps=3, reason=0xC000)]

        outcomes = outcomes_of(await web.store_all(items))

    assert [type(each) for each in outcomes] == [Stored, Stored, Stored, Refused, Refused]
    assert "C000H" in outcomes[4].reason  # type: ignore[union-attr]


@pytest.mark.parametrize("status", [200, 202, 204])
async def test_an_empty_success_is_no_success_until_it_is_seen(status: int) -> None:
    items = a_study_of(4)
    async with open_web() as web:
        web.server.script = [Answer(status, keeps=2, body=b"")]

        results = await web.store_all(items)

        assert all(web.held(each) for each in items[:2])
    assert [type(each) for each in results] == [
        Stored, Stored, DestinationUnavailable, DestinationUnavailable
    ]  # fmt: skip


@pytest.mark.parametrize("profile", ["plain", "dcm4chee"])
async def test_a_success_that_kept_nothing_is_found_out(profile: str) -> None:
    items = a_study_of(3)
    async with open_web(profile=profile) as web:
        web.server.script = [Answer(200, keeps=1, says_stored=True)]

        results = await web.store_all(items)

    assert [type(each) for each in results] == [
        Stored, DestinationUnavailable, DestinationUnavailable
    ]  # fmt: skip


@pytest.mark.parametrize("keeps", [3, 1], ids=["named as stored", "named as failed"])
async def test_what_a_list_does_not_show_yet_is_read_before_it_is_missed(keeps: int) -> None:
    items = a_study_of(3)
    async with open_web(ScriptedStow(lists_late=True), profile="plain") as web:
        web.server.script = [Answer(200), Answer(409, keeps=keeps, reason=0x0110)]
        await web.store_all(items)

        outcomes = outcomes_of(await web.store_all(items))

    assert all(isinstance(each, Stored) for each in outcomes)


async def test_old_bytes_that_no_list_shows_yet_are_a_conflict() -> None:
    [old] = a_study_of(1)
    assert old.instance is not None
    async with open_web(ScriptedStow(lists_late=True), profile="plain") as web:
        await web.store_all([old])

        [changed] = outcomes_of(await web.store_all([staged(old.instance, b"another content")]))

    assert isinstance(changed, Taken)


async def test_old_bytes_that_are_reported_as_stored_are_a_conflict() -> None:
    old, new = a_study_of(1)[0], None
    assert old.instance is not None
    new = staged(old.instance, b"another content")
    async with open_web() as web:
        web.server.held[old.instance.study_instance_uid, old.instance.sop_instance_uid] = bytes_of(
            old
        )

        [again] = outcomes_of(await web.store_all([old]))
        [changed] = outcomes_of(await web.store_all([new]))

        assert web.held(old) == bytes_of(old)
        assert web.server.sent == []
    assert isinstance(again, Stored)
    assert not again.fresh
    assert isinstance(changed, Taken)
    assert changed.held.dataset_sha256 == old.dataset_sha256


async def test_a_server_that_alters_what_it_keeps_is_found_out_by_its_warning() -> None:
    [item] = a_study_of(1)
    async with open_web() as web:
        web.server.script = [Answer(200, warning=0xB000, alters=True)]

        [outcome] = outcomes_of(await web.store_all([item]))

    assert isinstance(outcome, Taken)
    assert outcome.held.dataset_sha256 != item.dataset_sha256


async def test_a_warning_about_bytes_that_are_ours_is_a_success() -> None:
    [item] = a_study_of(1)
    async with open_web() as web:
        web.server.script = [Answer(202, warning=0xB007)]

        [outcome] = outcomes_of(await web.store_all([item]))

    assert isinstance(outcome, Stored)
    assert outcome.fresh


@pytest.mark.parametrize("warning", [
    {"vr": "US", "Value": ["B000"]}, {"vr": "US", "Value": 45056}, 45056, {"InlineBinary": "ALA="},
    {"Value": [float("inf")]}, {"Value": [{}]},
], ids=["hex", "no list", "no attribute", "binary", "endless", "item"])  # fmt: skip
async def test_a_warning_in_a_form_of_its_own_is_still_a_warning(warning: object) -> None:
    [item] = a_study_of(1)
    named = {"00081155": {"vr": "UI", "Value": [item.instance.sop_instance_uid]}}  # type: ignore[union-attr]
    body = json.dumps({"00081199": {"vr": "SQ", "Value": [{**named, "00081196": warning}]}})
    async with open_web() as web:
        web.server.script = [Answer(202, alters=True, body=body.encode())]

        [outcome] = outcomes_of(await web.store_all([item]))

    assert isinstance(outcome, Taken)


@pytest.mark.parametrize("said", [{"vr": "US"}, {"Value": []}, {"Value": [None]}, {"Value": [""]}])
async def test_an_empty_warning_is_none(said: object) -> None:
    [item] = a_study_of(1)
    named = {"00081155": {"vr": "UI", "Value": [item.instance.sop_instance_uid]}}  # type: ignore[union-attr]
    body = json.dumps({"00081199": {"vr": "SQ", "Value": [{**named, "00081196": said}]}})
    async with open_web() as web:
        web.server.script = [Answer(200, body=body.encode())]

        outcomes_of(await web.store_all([item]))

        assert web.server.retrieved == []


@pytest.mark.parametrize("reason", [0x0110, 0xA700, 45070, 45071])
async def test_a_failure_that_may_pass_is_tried_again_and_sent_alone(reason: int) -> None:
    items = a_study_of(3)
    async with open_web() as web:
        web.server.script = [Answer(409, keeps=1, reason=reason)]
        destination = RetryingDestination(web.destination, RetryPolicy(wait_first_s=0.01))

        outcomes = await asyncio.gather(*(destination.store(each) for each in items))

        assert [len(each.sop_instance_uids) for each in web.server.sent] == [3, 1, 1]
    assert all(isinstance(each, Stored) for each in outcomes)


async def test_what_the_store_says_it_failed_to_keep_and_yet_keeps_is_stored() -> None:
    """Reason 45070 of Azure, 272 of Google: there already, perhaps by our own last request."""
    items = a_study_of(2)
    body = json.dumps(
        {"00081198": {"vr": "SQ", "Value": [
            {"00081155": {"vr": "UI", "Value": [each.instance.sop_instance_uid]},  # type: ignore[union-attr]
             "00081197": {"vr": "US", "Value": [45070]}} for each in items
        ]}}
    ).encode()  # fmt: skip
    async with open_web() as web:
        web.server.script = [Answer(409, body=body)]

        outcomes = outcomes_of(await web.store_all(items))

    assert all(isinstance(each, Stored) for each in outcomes)


async def test_a_failure_without_a_name_belongs_to_the_only_instance() -> None:
    [item] = a_study_of(1)
    async with open_web() as web:
        web.server.script = [Answer(409, keeps=0, reason=0xA900, names_failed=False)]

        [outcome] = outcomes_of(await web.store_all([item]))

    assert outcome == Refused("store: failure reason A900H")


async def test_one_bad_instance_holds_nothing_else_back() -> None:
    """The request is refused as a whole, without a word about which: each goes alone then."""
    items = a_study_of(4)
    bad = items[2]
    assert bad.instance is not None
    async with open_web() as web:
        web.server.rejects = {bad.instance.sop_instance_uid}

        first = await web.store_all(items)
        later = [(await web.store_all([bad]))[0] for _ in range(4)]

        assert all(web.held(each) == bytes_of(each) for each in items if each is not bad)
    assert [type(each) for each in first] == [Stored, Stored, DestinationUnavailable, Stored]
    assert [type(each) for each in later] == [DestinationUnavailable] * 3 + [Refused]
    assert "took others" in later[-1].reason


@pytest.mark.parametrize("answer", [
    Answer(202, keeps=0, reason=0x0110), Answer(200, keeps=0, body=b""),
    Answer(409, keeps=0, body=b""),
], ids=["0110H", "silence", "409"])  # fmt: skip
async def test_a_store_that_fails_at_random_refuses_nothing(answer: Answer) -> None:
    """The same instance three times over, while it takes others."""
    bad, *others = a_study_of(4)
    retry = RetryPolicy(wait_first_s=0.01, wait_max_s=0.02)
    async with open_web() as web:
        destination = RetryingDestination(web.destination, retry)
        for other in others:
            web.server.script = [answer]
            [failed] = await web.store_all([bad])
            assert isinstance(failed, DestinationUnavailable)
            assert isinstance(await destination.store(other), Stored)

        assert isinstance(await destination.store(bad), Stored)


async def test_a_store_that_takes_nothing_at_all_quarantines_nothing() -> None:
    items = a_study_of(3)
    async with open_web() as web:
        for _ in range(4):
            web.server.script = [Answer(200, keeps=0, reason=0x0110)] * 4
            results = await web.store_all(items)
            assert [type(each) for each in results] == [DestinationUnavailable] * 3


async def test_after_a_long_time_a_single_instance_is_given_up() -> None:
    [item] = a_study_of(1)
    clock = [0.0]
    async with open_web(patience_s=3600, now=lambda: clock[0]) as web:
        web.server.script = [Answer(200, keeps=0)] * 3
        early = [(await web.store_all([item]))[0] for _ in range(2)]
        clock[0] = 3601.0
        late = (await web.store_all([item]))[0]

    assert [type(each) for each in early] == [DestinationUnavailable] * 2
    assert isinstance(late, Refused)


async def test_a_request_too_large_is_halved_and_the_next_one_is_smaller() -> None:
    items = a_study_of(8, size_bytes=300_000)
    overrides = {"batch_instances_max": 8}
    async with open_web(ScriptedStow(body_bytes_max=1_500_000), overrides=overrides) as web:
        first = outcomes_of(await web.store_all(items))
        refused_before = len(web.server.sent)
        second = outcomes_of(await web.store_all(a_study_of(8, size_bytes=300_000)))

        assert all(isinstance(each, Stored) for each in [*first, *second])
        assert all(each.size_bytes < 1_500_000 for each in web.server.sent[refused_before:])


async def test_an_instance_too_large_for_the_store_is_refused() -> None:
    items = [*a_study_of(1, size_bytes=3_000_000)]
    async with open_web(ScriptedStow(body_bytes_max=1_000_000)) as web:
        [outcome] = outcomes_of(await web.store_all(items))

    assert isinstance(outcome, Refused)
    assert "too large" in outcome.reason


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_a_busy_or_broken_server_is_looked_at_before_it_gets_the_same_again(
    status: int,
) -> None:
    items = a_study_of(4)
    async with open_web() as web:
        web.server.script = [Answer(status, keeps=2, body=CANARY.encode())]
        destination = RetryingDestination(web.destination, RetryPolicy(wait_first_s=0.01))

        outcomes = await asyncio.gather(*(destination.store(each) for each in items))

        sent_again = [uid for each in web.server.sent[1:] for uid in each.sop_instance_uids]
    assert all(isinstance(each, Stored) for each in outcomes)
    assert sorted(sent_again) == [each.instance.sop_instance_uid for each in items[2:]]  # type: ignore[union-attr]


async def test_retry_after_is_waited_for() -> None:
    [item] = a_study_of(1)
    async with open_web() as web:
        web.server.script = [Answer(503, keeps=0, headers=(("Retry-After", "1"),))]
        loop = asyncio.get_running_loop()
        begun_s = loop.time()

        await web.store_all([item])
        [outcome] = outcomes_of(await web.store_all([item]))

    assert isinstance(outcome, Stored)
    assert loop.time() - begun_s >= 1.0


@pytest.mark.parametrize("keeps", [0, 3], ids=["in mid-body", "after all of it"])
async def test_a_reset_stores_nothing_twice(keeps: int) -> None:
    items = a_study_of(5, size_bytes=200_000)
    async with open_web() as web:
        web.server.script = [Reset(after_bytes=100_000, keeps=keeps)]
        destination = RetryingDestination(web.destination, RetryPolicy(wait_first_s=0.01))

        outcomes = await asyncio.gather(*(destination.store(each) for each in items))

        assert all(isinstance(each, Stored) for each in outcomes)
        assert all(web.held(each) == bytes_of(each) for each in items)
        whole = [uid for each in web.server.sent for uid in each.sop_instance_uids]
        assert len(whole) == 5 + (2 if keeps else 0)


@pytest.mark.parametrize("status", [301, 307, 401, 403, 404, 405, 415, 501])
async def test_what_no_try_can_change_needs_a_person(status: int) -> None:
    [item] = a_study_of(1)
    async with open_web() as web:
        where = (("Location", f"{web.server.url}/studies/1"),)
        web.server.script = [Answer(status, keeps=0, body=CANARY.encode(), headers=where)]

        [error] = await web.store_all([item])

        assert len(web.server.sent) == 1, "no redirect is followed"
    assert isinstance(error, DestinationRefused)
    assert error.hint
    assert CANARY not in f"{error!r} {error.hint} {error.__cause__!r}"


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b'{"00081199": 7}', b"[" * 100_000,
    b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', b"<x>", b"\xff\xfe\x00"])  # fmt: skip
async def test_an_answer_nobody_can_read_says_nothing(body: bytes) -> None:
    items = a_study_of(2)
    async with open_web() as web:
        web.server.script = [Answer(200, keeps=1, body=body)]

        results = await web.store_all(items)

    assert [type(each) for each in results] == [Stored, DestinationUnavailable]


async def test_an_answer_without_end_is_not_read_to_it() -> None:
    [item] = a_study_of(1)
    async with open_web() as web:
        web.server.script = [Answer(200, body=b" " * (40 << 20))]

        [outcome] = outcomes_of(await web.store_all([item]))

    assert isinstance(outcome, Stored)


@pytest.mark.parametrize(("rows_max", "says_more"), [(0, True), (50, True), (50, False)])
async def test_a_list_in_parts_is_read_to_its_end(rows_max: int, says_more: bool) -> None:
    """Older dcm4chee archives answer 206 while there is more, other servers cap in silence."""
    items = a_study_of(7)
    server = ScriptedStow(rows_max=3, says_more=says_more)
    async with open_web(server, overrides={"rows_max": rows_max}) as web:
        outcomes_of(await web.store_all(items))
        web.destination._sender.forget(items[0].instance.study)  # type: ignore[union-attr]

        outcomes = outcomes_of(await web.store_all(items))

        assert len(web.server.sent) == 1
    assert all(isinstance(each, Stored) and not each.fresh for each in outcomes)


@pytest.mark.parametrize("server", [
    ScriptedStow(says_more=True), ScriptedStow(too_broad=400), ScriptedStow(too_broad=413),
], ids=["206", "400", "413"])  # fmt: skip
async def test_a_store_that_does_not_list_all_its_studies_answers_us(server: ScriptedStow) -> None:
    async with open_web(server) as web:
        await web.destination.ping()


async def test_a_query_that_fails_leaves_everything_for_later() -> None:
    [item] = a_study_of(1)
    async with open_web(ScriptedStow(query_status=500)) as web:
        [error] = await web.store_all([item])

        assert web.server.sent == []
    assert isinstance(error, DestinationUnavailable)
    assert CANARY not in str(error)
