"""Restores take hours and no emulator shows that: the times here are the events' own."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from cloudmig.cloud.events import EventUnreadable
from cloudmig.cloud.restore_promises import PROMISES_S, RestorePromises, RestorePromisesWrong
from cloudmig.cloud.restore_table import MemoryRestores, Restores
from cloudmig.cloud.retrieval_samples import decode_samples
from cloudmig.cloud.watch_restore import RestoreSettings, keep_sample, watch_restore
from cloudmig.messages import RestoreReport, decode, encode
from cloudmig.model.references import InstanceRef
from cloudmig.objects import instance_key

INSTANCE = InstanceRef("1.2.3", "1.2.3.4", "1.2.3.4.5")
KEY = instance_key("main", INSTANCE)
SETTINGS = RestoreSettings(
    bucket="images", prefix="hospital/", samples_bucket="records", samples_prefix="restores/"
)
NAMES = {
    "Initiated": "ObjectRestore:Post", "Completed": "ObjectRestore:Completed",
    "Expired": "ObjectRestore:Delete",
}  # fmt: skip


class Store:
    """Takes samples; knows no object."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, **more: object) -> None:  # noqa: N803
        self.objects[f"{Bucket}/{Key}"] = Body


def bridged(kind: str, time: str, *, source: str = "GLACIER", key: str = KEY) -> dict[str, Any]:
    """An event as EventBridge brings it (S3 User Guide, "EventBridge event message structure")."""
    return {
        "version": "0", "id": f"{kind}-{time}", "source": "aws.s3", "time": time,
        "detail-type": f"Object Restore {kind}", "region": "eu-central-1",
        "detail": {
            "version": "0", "bucket": {"name": "images"}, "source-storage-class": source,
            "object": {"key": f"hospital/{key}", "size": 5, "etag": "e", "version-id": "v1"},
        },
    }  # fmt: skip


def notified(kind: str, time: str, *, source: str = "GLACIER") -> dict[str, Any]:
    """The same as a record of an S3 notification."""
    return {
        "eventVersion": "2.2", "eventSource": "aws:s3", "eventTime": time,
        "eventName": NAMES[kind],
        "s3": {
            "bucket": {"name": "images"},
            "object": {"key": f"hospital/{KEY}", "size": 5, "eTag": "e", "versionId": "v1"},
        },
        "glacierEventData": {"restoreEventData": {"lifecycleRestoreStorageClass": source}},
    }  # fmt: skip


def watch(
    event: dict[str, Any], restores: Restores, settings: RestoreSettings = SETTINGS
) -> RestoreReport | None:
    return watch_restore(event, restores=restores, s3=Store(), settings=settings)


ASKED = bridged("Initiated", "2026-03-01T08:00:00Z")
COMPLETED = bridged("Completed", "2026-03-01T12:30:00Z")
EXPIRED = bridged("Expired", "2026-03-04T12:30:00Z")


@pytest.mark.parametrize("form", [bridged, notified])
def test_a_restore_is_reported_when_asked_and_when_completed(
    form: Callable[..., dict[str, Any]],
) -> None:
    restores = MemoryRestores()

    asked = watch(form("Initiated", "2026-03-01T08:00:00.000Z"), restores)
    completed = watch(form("Completed", "2026-03-01T12:30:00.000Z"), restores)

    assert asked
    assert completed
    assert (asked.completed_at, asked.took_s, asked.promised_s) == ("", None, 5 * 3600)
    assert completed.took_s == 4.5 * 3600
    assert (completed.storage_class, completed.tier) == ("GLACIER", "Standard")
    assert (completed.key, completed.prefix, completed.version_id) == (KEY, "hospital/", "v1")
    assert decode(encode(completed)) == completed


@pytest.mark.parametrize("order", list(itertools.permutations([ASKED, COMPLETED, EXPIRED])))
def test_order_and_duplicates_change_nothing(order: tuple[dict[str, Any], ...]) -> None:
    restores = MemoryRestores()

    reports = [watch(event, restores) for event in (*order, *order)]

    [last] = {each for each in reports if each is not None and each.completed_at}
    assert last.took_s == 4.5 * 3600
    assert watch(ASKED, restores) == watch(COMPLETED, restores) == last
    assert watch(EXPIRED, restores) is None


def test_a_completion_of_which_nobody_saw_the_asking_waits_for_it() -> None:
    restores = MemoryRestores()

    assert watch(COMPLETED, restores) is None
    found = watch(ASKED, restores)

    assert found
    assert found.took_s == 4.5 * 3600


def test_asking_again_while_it_is_under_way_does_not_make_it_shorter() -> None:
    restores = MemoryRestores()
    for event in (ASKED, bridged("Initiated", "2026-03-01T11:00:00Z")):
        watch(event, restores)

    found = watch(COMPLETED, restores)

    assert found
    assert found.took_s == 4.5 * 3600


def test_keeping_a_restored_copy_longer_is_no_restore() -> None:
    restores = MemoryRestores()
    for event in (ASKED, COMPLETED):
        watch(event, restores)

    assert watch(bridged("Initiated", "2026-03-02T09:00:00Z"), restores) is None


def test_a_second_restore_is_told_from_the_first() -> None:
    restores = MemoryRestores()
    longer = bridged("Initiated", "2026-03-02T09:00:00Z")
    for event in (ASKED, COMPLETED, longer, EXPIRED):
        watch(event, restores)

    asked = watch(bridged("Initiated", "2026-03-10T08:00:00Z"), restores)
    completed = watch(bridged("Completed", "2026-03-10T10:00:00Z"), restores)

    assert asked
    assert not asked.completed_at
    assert completed
    assert completed.took_s == 2 * 3600
    first = watch(COMPLETED, restores)
    assert first
    assert first.took_s == 4.5 * 3600


@pytest.mark.parametrize(
    "event",
    [
        bridged("Completed", "2026-03-01T12:30:00Z", key="../v1/x"),
        bridged("Completed", "2026-03-01T12:30:00Z") | {"detail-type": "Object Created"},
    ],
)
def test_what_is_not_ours_or_no_restore_is_let_pass(event: dict[str, Any]) -> None:
    if "x" in event["detail"]["object"]["key"]:
        event["detail"]["object"]["key"] = "elsewhere/v1/x"

    assert watch(event, MemoryRestores()) is None


def test_another_bucket_is_not_ours() -> None:
    event = bridged("Initiated", "2026-03-01T08:00:00Z")
    event["detail"]["bucket"]["name"] = "other"

    assert watch(event, MemoryRestores()) is None


def test_what_is_no_event_is_refused() -> None:
    with pytest.raises(EventUnreadable):
        watch({"source": "aws.s3"}, MemoryRestores())


def test_a_finished_restore_becomes_a_raw_sample_once() -> None:
    restores, store = MemoryRestores(), Store()
    reports = [watch(event, restores) for event in (ASKED, COMPLETED, COMPLETED)]

    keys = [
        keep_sample(each, s3=store, settings=SETTINGS, name=lambda study: f"st-{len(study)}")
        for each in reports
        if each is not None
    ]

    assert keys[0] is None
    assert keys[1] == keys[2]
    [(address, body)] = store.objects.items()
    assert address == f"records/{keys[1]}"
    [sample] = decode_samples(body)
    assert (sample.restore_s, sample.promised_s) == (4.5 * 3600, 5 * 3600)
    assert (sample.how, sample.tier, sample.study) == ("restore", "GLACIER", "st-5")


def test_without_a_home_no_sample_is_kept() -> None:
    restores = MemoryRestores()
    watch(ASKED, restores)
    report = watch(COMPLETED, restores)

    assert report
    settings = RestoreSettings(bucket="images", prefix="hospital/")
    assert keep_sample(report, s3=Store(), settings=settings) is None


def test_the_promises_of_every_class_are_the_published_ones_unless_configured() -> None:
    settings = RestoreSettings.from_environment(
        {
            "BUCKET": "images",
            "RESTORE_PROMISES": json.dumps({"GLACIER/Bulk": 7200}),
            "RESTORE_TIERS": json.dumps({"GLACIER": "Bulk"}),
        }
    )

    assert settings.promises.tier_of("GLACIER") == "Bulk"
    assert settings.promises.promised_s("GLACIER", "Bulk") == 7200
    assert settings.promises.promised_s("DEEP_ARCHIVE", "Standard") == 12 * 3600
    assert settings.promises.promised_s("STANDARD_IA", "Standard") is None
    assert PROMISES_S["GLACIER/Expedited"] == 300


@pytest.mark.parametrize(
    ("promises", "tiers", "named"),
    [
        ('{"GLACIER": 5}', "", "GLACIER must look like"),
        ('{"GLACIER/Bulk": 0}', "", "GLACIER/Bulk must"),
        ('{"GLACIER/Bulk": true}', "", "GLACIER/Bulk must"),
        ("[]", "", "no JSON object"),
        ("{", "", "RESTORE_PROMISES is no JSON"),
        ("", '{"DEEP_ARCHIVE": "Expedited"}', "nothing is promised for DEEP_ARCHIVE/Expedited"),
    ],
)
def test_a_wrong_promise_is_named(promises: str, tiers: str, named: str) -> None:
    with pytest.raises(RestorePromisesWrong, match=named):
        RestorePromises.from_json(promises, tiers)
