"""What Terraform made of the image buckets, as the store itself tells it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest

from tests.infra.conftest import Applied
from tests.infra.deployment import Deployment


@pytest.fixture
def deployment(applied: Applied, example: str) -> Deployment:
    return applied(example)


def buckets_of(deployment: Deployment) -> list[dict[str, Any]]:
    """Return the attributes of every bucket in the state."""
    return [each["values"] for each in deployment.resources() if each["type"] == "aws_s3_bucket"]


def clients_by_bucket(deployment: Deployment) -> Mapping[str, Any]:
    """Return a client for each bucket: of its region, and of its account."""
    return {
        bucket["bucket"]: deployment.client("s3", region=bucket["region"])
        for bucket in buckets_of(deployment)
    }


def test_every_bucket_is_versioned_and_gives_nothing_to_the_public(deployment: Deployment) -> None:
    clients = clients_by_bucket(deployment)

    assert len(clients) >= 2
    for name, s3 in clients.items():
        assert s3.get_bucket_versioning(Bucket=name)["Status"] == "Enabled", name
        block = s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"]
        assert block == {
            "BlockPublicAcls": True, "IgnorePublicAcls": True,
            "BlockPublicPolicy": True, "RestrictPublicBuckets": True,
        }  # fmt: skip
        [rule] = s3.get_bucket_ownership_controls(Bucket=name)["OwnershipControls"]["Rules"]
        assert rule["ObjectOwnership"] == "BucketOwnerEnforced"


def test_every_bucket_encrypts_with_a_key_of_ours_that_is_rotated(deployment: Deployment) -> None:
    for name, s3 in clients_by_bucket(deployment).items():
        answer = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]
        [rule] = answer["Rules"]
        default = rule["ApplyServerSideEncryptionByDefault"]
        key_arn = default["KMSMasterKeyID"]
        kms = deployment.client("kms", region=s3.meta.region_name)

        assert default["SSEAlgorithm"] == "aws:kms"
        assert rule["BucketKeyEnabled"] is True
        assert kms.get_key_rotation_status(KeyId=key_arn)["KeyRotationEnabled"] is True
        assert kms.describe_key(KeyId=key_arn)["KeyMetadata"]["KeyManager"] == "CUSTOMER"


def test_every_bucket_refuses_what_does_not_come_by_tls(deployment: Deployment) -> None:
    for name, s3 in clients_by_bucket(deployment).items():
        policy = json.loads(s3.get_bucket_policy(Bucket=name)["Policy"])
        [denied] = [each for each in policy["Statement"] if each["Sid"] == "TlsOnly"]

        assert denied["Effect"] == "Deny"
        assert denied["Principal"] in ("*", {"AWS": "*"})
        assert denied["Action"] == "s3:*"
        assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        assert set(denied["Resource"]) == {f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"}
        allowed = [each for each in policy["Statement"] if each["Effect"] == "Allow"]
        assert all(each["Principal"] == {"Service": "s3.amazonaws.com"} for each in allowed)


def test_no_rule_removes_a_current_image(deployment: Deployment) -> None:
    for name, s3 in clients_by_bucket(deployment).items():
        rules = s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
        [abandoned] = [rule for rule in rules if rule["ID"] == "abandoned-uploads"]

        assert abandoned["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 7
        if not name.endswith("-records"):
            for rule in rules:
                assert "Expiration" not in rule, rule
                assert "NoncurrentVersionExpiration" not in rule, rule


def test_every_image_bucket_is_listed_into_its_records(deployment: Deployment) -> None:
    for name, s3 in clients_by_bucket(deployment).items():
        if name.endswith("-records"):
            continue
        [inventory] = s3.list_bucket_inventory_configurations(Bucket=name)[
            "InventoryConfigurationList"
        ]
        target = inventory["Destination"]["S3BucketDestination"]
        assert inventory["IsEnabled"] is True
        assert inventory["IncludedObjectVersions"] == "All"
        assert target["Bucket"] == f"arn:aws:s3:::{name}-records"
        assert target["Format"] == "CSV"
        assert target["Prefix"] == "inventory"


def test_only_the_copies_that_ask_for_it_are_locked(deployment: Deployment) -> None:
    """Object Lock cannot be taken back: the hybrid example has none."""
    wanted = {
        "hybrid": {},
        "dr_copy": {"images-of-the-first-copy-dr": "GOVERNANCE"},
        "third_copy": {"images-of-the-third-copy": "GOVERNANCE"},
    }
    locked = {}
    for name, s3 in clients_by_bucket(deployment).items():
        with suppress(s3.exceptions.ClientError):  # Having none is an error here, as at AWS.
            found = s3.get_object_lock_configuration(Bucket=name)["ObjectLockConfiguration"]
            locked[name] = found["Rule"]["DefaultRetention"]["Mode"]

    assert locked == wanted[deployment.name]
