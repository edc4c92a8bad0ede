"""Nothing destroys data by default; what is empty goes away without a trace.

These tests take the examples apart, so they come last, in the order of this file.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.infra.conftest import Applied
from tests.infra.deployment import Deployment, restore_protection

IMAGE = "v1/main/3f/1.2.826.0.1.3680043.8.498.1/1.2.826.0.1.3680043.8.498.2/1.2.3.dcm"


@pytest.fixture
def deployment(applied: Applied, example: str) -> Deployment:
    return applied(example)


def protection_of(deployment: Deployment, bucket: str) -> dict[str, Any]:
    """Return everything that protects the images, as the store tells it."""
    s3 = deployment.client("s3")
    policy = s3.get_bucket_policy(Bucket=bucket)["Policy"]
    key = deployment.outputs()["image_bucket"]["kms_key_arn"]
    return {
        "versioning": s3.get_bucket_versioning(Bucket=bucket)["Status"],
        "policy": json.loads(policy),
        "public": s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"],
        "key": deployment.client("kms").describe_key(KeyId=key)["KeyMetadata"]["KeyState"],
    }


def test_destroy_as_shipped_is_refused_before_anything_is_touched(deployment: Deployment) -> None:
    bucket = deployment.outputs()["image_bucket"]["bucket_name"]
    before = protection_of(deployment, bucket)

    with restore_protection(deployment.infra):
        answer = deployment.destroy(may_fail=True)

    assert answer.returncode != 0
    assert "prevent_destroy" in answer.stderr
    assert protection_of(deployment, bucket) == before
    assert before["key"] == "Enabled"
    assert before["versioning"] == "Enabled"


def test_a_bucket_that_holds_an_image_refuses_and_keeps_its_key(deployment: Deployment) -> None:
    """Even with the protection lifted: the image, all its versions and the key are still there."""
    told = deployment.outputs()["image_bucket"]
    bucket, key = told["bucket_name"], told["prefix"] + IMAGE
    s3 = deployment.client("s3")
    for body in (b"first", b"second"):
        s3.put_object(Bucket=bucket, Key=key, Body=body)

    answer = deployment.destroy(may_fail=True)

    assert answer.returncode != 0
    assert "BucketNotEmpty" in answer.stderr
    versions = s3.list_object_versions(Bucket=bucket, Prefix=key)["Versions"]
    bodies = {
        s3.get_object(Bucket=bucket, Key=key, VersionId=each["VersionId"])["Body"].read()
        for each in versions
    }
    assert bodies == {b"first", b"second"}
    kms = deployment.client("kms")
    assert kms.describe_key(KeyId=told["kms_key_arn"])["KeyMetadata"]["KeyState"] == "Enabled"


def test_what_is_empty_is_destroyed_cleanly(deployment: Deployment) -> None:
    bucket = next(
        each["values"]["bucket"]
        for each in deployment.resources()
        if each["address"] == "module.image_bucket.aws_s3_bucket.images"
    )
    empty(deployment, bucket)

    deployment.destroy()

    assert deployment.resources() == []
    assert deployment.client("s3").list_buckets()["Buckets"] == []
    assert deployment.client("iam").list_users()["Users"] == []
    for region in ("eu-central-1", "eu-west-1", "eu-north-1"):
        assert deployment.client("sqs", region=region).list_queues().get("QueueUrls", []) == []
        alarms = deployment.client("cloudwatch", region=region).describe_alarms()
        assert alarms["MetricAlarms"] == []


def empty(deployment: Deployment, bucket: str) -> None:
    """Remove every version, as somebody with all rights would."""
    s3 = deployment.client("s3")
    for version in s3.list_object_versions(Bucket=bucket).get("Versions", []):
        s3.delete_object(
            Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"],
            BypassGovernanceRetention=True,
        )  # fmt: skip
