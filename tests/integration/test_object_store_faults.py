"""What a store and the way to it can do to a request, and that nothing is lost or doubled by it."""

from __future__ import annotations

import dataclasses

import pytest

from cloudmig.destinations.object_store import ObjectStoreDestination
from cloudmig.destinations.opening import open_object_store
from cloudmig.destinations.retrying import RetryingDestination, RetryPolicy
from cloudmig.errors import DestinationRefused, DestinationUnavailable
from cloudmig.model.instance import Location
from cloudmig.model.outcome import Refused, Stored
from tests.contract.destination_contract import ARCHIVE, an_instance, key_of, read_all, staged
from tests.contract.faulty_proxy import Fault, FaultyProxy
from tests.contract.moto_bucket import Bucket
from tests.contract.relay import Canned

pytest_plugins = ["tests.contract.store_fixtures"]

QUICK = RetryPolicy(attempts_max=3, elapsed_max_s=20, wait_first_s=0.01, wait_max_s=0.02)

PASSING = [
    Canned(500, "InternalError"),
    Canned(503, "SlowDown"),
    Canned(429, "TooManyRequests"),
    Canned(409, "ConditionalRequestConflict"),
    Canned(412, "PreconditionFailed"),
    Canned(400, "RequestTimeout"),
    Canned(400, "BadDigest"),
    Canned(400, "XAmzContentSHA256Mismatch"),
    Canned(200),
    Fault.CUT_BEFORE_COMMIT,
    Fault.CUT_AFTER_COMMIT,
    Fault.HANG_BEFORE_COMMIT,
    Fault.HANG_AFTER_COMMIT,
    Fault.RESET_IN_BODY,
]


@pytest.fixture(params=["one PUT", "in parts"])
def store(request: pytest.FixtureRequest, bucket: Bucket, proxy: FaultyProxy) -> object:
    settings = dataclasses.replace(bucket.settings, endpoint=proxy.endpoint, timeout_s=1.0)
    return open_object_store(
        "s3",
        settings,
        archive=ARCHIVE,
        large_bytes_min=1 if request.param == "in parts" else 1 << 30,
    )


@pytest.mark.parametrize("fault", PASSING, ids=str)
async def test_a_passing_fault_is_retried_into_one_version(
    store: ObjectStoreDestination, proxy: FaultyProxy, bucket: Bucket, fault: Fault | Canned
) -> None:
    item = staged(an_instance(), b"z" * 300_000)
    proxy.script, proxy.only = [fault], "PUT"

    outcome = await RetryingDestination(store, QUICK).store(item)

    assert proxy.script == [], "the fault has struck"
    assert isinstance(outcome, Stored)
    assert bucket.versions_of(key_of(item)) == 1
    assert bucket.open_uploads() == 0
    assert await read_all(store, outcome.receipt.location) == item.body
    assert {seen.body_bytes for seen in proxy.seen if seen.method == "PUT"} == {item.size_bytes}


@pytest.mark.parametrize("fault", [f for f in PASSING if f is not Fault.RESET_IN_BODY], ids=str)
async def test_a_fault_on_completing_an_upload_leaves_one_version_and_no_upload(
    bucket: Bucket, proxy: FaultyProxy, fault: Fault | Canned
) -> None:
    settings = dataclasses.replace(bucket.settings, endpoint=proxy.endpoint, timeout_s=1.0)
    store = open_object_store("s3", settings, archive=ARCHIVE, large_bytes_min=1)
    item = staged(an_instance(), b"z" * 300_000)
    proxy.script, proxy.only = [Fault.PASS, fault], "POST"  # The second POST completes.

    outcome = await RetryingDestination(store, QUICK).store(item)

    assert isinstance(outcome, Stored)
    assert bucket.versions_of(key_of(item)) == 1
    assert bucket.open_uploads() == 0


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (Canned(403, "AccessDenied"), "policy"),
        (Canned(403, "RequestTimeTooSkewed"), "clock"),
        (Canned(401), "credentials"),
        (Canned(404, "NoSuchBucket"), "bucket"),
        (Canned(501, "NotImplemented"), "profile"),
        (Canned(400, "InvalidStorageClass"), "storage class"),
    ],
    ids=str,
)
async def test_a_refusal_is_not_retried_and_says_what_to_do(
    store: ObjectStoreDestination, proxy: FaultyProxy, answer: Canned, hint: str
) -> None:
    item = staged(an_instance())
    proxy.script, proxy.only = [answer], "PUT"

    with pytest.raises(DestinationRefused) as caught:
        await RetryingDestination(store, QUICK).store(item)

    assert hint in caught.value.hint
    assert item.instance is not None
    assert item.instance.study_instance_uid not in str(caught.value)
    assert len([seen for seen in proxy.seen if seen.method == "PUT"]) == 1


async def test_a_bucket_in_another_region_is_a_refusal(bucket: Bucket, proxy: FaultyProxy) -> None:
    settings = dataclasses.replace(bucket.settings, endpoint=proxy.endpoint)
    store = open_object_store("s3", settings, archive=ARCHIVE)
    proxy.script = [Canned(301, "PermanentRedirect")]

    with pytest.raises(DestinationRefused) as caught:
        await store.store(staged(an_instance()))

    assert "region" in caught.value.hint


async def test_an_object_that_is_too_large_is_a_value(
    store: ObjectStoreDestination, proxy: FaultyProxy
) -> None:
    proxy.script, proxy.only = [Canned(400, "EntityTooLarge")], "PUT"

    outcome = await RetryingDestination(store, QUICK).store(staged(an_instance()))

    assert isinstance(outcome, Refused)


async def test_a_store_that_stays_broken_is_given_up_after_the_attempts_allowed(
    store: ObjectStoreDestination, proxy: FaultyProxy
) -> None:
    proxy.script, proxy.only = [Canned(503, "SlowDown")] * 10, "PUT"

    with pytest.raises(DestinationUnavailable, match="SlowDown"):
        await RetryingDestination(store, QUICK).store(staged(an_instance()))

    assert len(proxy.script) == 10 - QUICK.attempts_max, "nothing below retries, too"


async def test_a_truncated_download_is_an_error_and_a_corrupted_one_is_other_bytes(
    store: ObjectStoreDestination, proxy: FaultyProxy
) -> None:
    item = staged(an_instance(), b"z" * 300_000)
    await store.store(item)
    location = Location(key_of(item))

    proxy.script = [Fault.TRUNCATED_ANSWER]
    with pytest.raises(DestinationUnavailable):
        await read_all(store, location)
    proxy.script = [Fault.CORRUPTED_ANSWER]
    assert await read_all(store, location) != item.body
    assert await read_all(store, location) == item.body
