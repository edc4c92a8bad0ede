"""Reconciliation at size in worker processes, and its steps against buckets and a queue."""

from __future__ import annotations

import gzip
import json
import os
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import boto3
import pytest

from bench.reconcile import found_in, measure, reconcile_world
from bench.reconcile_world import KINDS
from bench.reconcile_writing import write_world
from cloudmig.cloud.reconcile_inventory import S3Shelf, Settings, run_step
from cloudmig.cloud.reconcile_shelf import Address
from cloudmig.messages import StudyRequest, decode
from cloudmig.objects import manifest_key
from tests.cloud_inventory import BUCKET, INVENTORIES, PREFIX, RESULTS, STUDY, Listing, a_record

pytest_plugins = ["tests.contract.store_fixtures"]

ACCEPTANCE = os.environ.get("CLOUDMIG_ACCEPTANCE") == "1"
RECORDS = [a_record(number) for number in range(4)]


def test_a_thousand_differences_of_every_kind_are_found_and_nothing_else(tmp_path: Path) -> None:
    world = write_world(
        tmp_path / "world", objects=200_000, differences=1000, instances_per_study=40, files=6
    )

    summary = reconcile_world(tmp_path / "world", tmp_path / "results", rows_per_partition=50_000)

    found = found_in(tmp_path / "results")
    assert len(world.expected) == 1000
    assert set(found) == world.expected
    assert len(found) == 1000
    assert summary["findings"] == dict(sorted(Counter(name for name, _ in found).items()))
    assert len({name for name, _ in found}) == len(KINDS) - 4  # Some are named alike.
    assert summary["rows"] == world.objects
    for innocent in ("superseded", "younger", "overtaken", "noncurrent", "quarantined"):
        assert summary[innocent] > 0, innocent
    assert not list((tmp_path / "results").rglob("*.spill"))


@pytest.mark.skipif(not ACCEPTANCE, reason="CLOUDMIG_ACCEPTANCE=1 reconciles ten million objects")
def test_ten_million_objects_take_less_than_ten_minutes_and_1_gb() -> None:
    [row] = measure(10_000_000, 1000)

    assert row["objects"] >= 9_900_000
    assert (row["planted"], row["found"], row["false"], row["missed"]) == (1000, 1000, 0, 0)
    assert row["seconds"] < 600, row
    assert row["peak MB, all processes"] < 1000, row


def client(service: str, endpoint: str) -> Any:  # noqa: ANN401
    return boto3.client(
        service, endpoint_url=endpoint, region_name="us-east-1",
        aws_access_key_id="testing", aws_secret_access_key="testing",
    )  # fmt: skip


def test_the_steps_run_against_buckets_and_ask_again_by_the_queue(endpoint: str) -> None:
    s3, sqs = client("s3", endpoint), client("sqs", endpoint)
    for bucket in (BUCKET, INVENTORIES, RESULTS):
        s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    queue = sqs.create_queue(QueueName=f"studies-{uuid.uuid4().hex}")["QueueUrl"]
    shelf = S3Shelf(s3)
    settings = Settings(
        bucket=BUCKET, prefix=PREFIX, results=Address(RESULTS, "r/"), study_queue_url=queue
    )
    listing = Listing()
    listing.add_manifest(RECORDS)
    for record in RECORDS[1:]:
        listing.add_record(record)
    listing.add_record(RECORDS[0], ETag="other")
    # The manifest was altered after the inventory: the version that is listed still counts.
    key = PREFIX + manifest_key("main", STUDY, 1)
    listed = s3.put_object(Bucket=BUCKET, Key=key, Body=next(iter(listing.bodies.values())))
    listing.rows[0]["VersionId"] = listed["VersionId"]
    listing.bodies = {manifest_key("main", STUDY, 1): b"altered"}

    inventory = listing.write(shelf)
    planned = run_step({"step": "plan", "inventory": inventory.document()}, shelf, settings)
    for step, name in (("split", "split"), ("reconcile", "join")):
        for unit in json.loads(shelf.get(Address.of(planned[f"{name}_units"])) or b""):
            answers = [run_step({"step": step, **unit}, shelf, settings, sqs=sqs) for _ in range(2)]
            assert answers[0] == answers[1]  # A unit may run twice.
    summary = run_step({"step": "summarise", "plan": planned["plan"]}, shelf, settings)

    assert summary["findings"] == {"altered": 1}
    body = shelf.get(Address.of(summary["findings_files"][0])) or b""
    [finding] = [json.loads(line) for line in gzip.decompress(body).splitlines()]
    assert (finding["finding"], finding["detail"]) == ("altered", "etag")
    messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    asked = {decode(message["Body"]) for message in messages}
    [request] = asked
    assert isinstance(request, StudyRequest)
    assert request.study_instance_uid == STUDY.study_instance_uid
    assert json.dumps(planned)
    assert len(json.dumps(summary)) < 10_000


def test_a_manifest_in_an_archive_class_is_a_finding_and_not_a_fault(endpoint: str) -> None:
    s3 = client("s3", endpoint)
    s3.create_bucket(Bucket=BUCKET)
    key = manifest_key("main", STUDY, 1)
    for storage_class in ("STANDARD", "GLACIER"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"x", StorageClass=storage_class)
        held = S3Shelf(s3).get(Address(BUCKET, key))

        assert held == (b"x" if storage_class == "STANDARD" else None)
    assert S3Shelf(s3).get(Address(BUCKET, f"{key}2")) is None
    with pytest.raises(s3.exceptions.ClientError):
        S3Shelf(s3).get(Address("nowhere", key), "version")
