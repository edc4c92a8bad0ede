"""The probe as a function runs it: drawn from DynamoDB, read from S3, samples kept in S3."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import Counter
from typing import Any

import boto3
import pytest

from cloudmig import manifest
from cloudmig.cloud.dynamo_table import table_arguments
from cloudmig.cloud.probe_retrieval import ProbeResult, probe
from cloudmig.cloud.reading import BucketReader
from cloudmig.cloud.retrieval_samples import decode_samples, put_samples
from cloudmig.cloud.sampling import TableSampler, choose, place_of, stratum_of, tier_of_stratum
from cloudmig.manifest import InstanceRecord, Manifest
from cloudmig.model.instance import Location
from cloudmig.model.references import StudyRef
from cloudmig.model.service_levels import ServiceLevels, TierLevel
from cloudmig.objects import manifest_key, study_prefix

pytest_plugins = ["tests.contract.store_fixtures"]

PREFIX = "some/prefix/"
#: Of our own: all servers of a process share what moto holds.
BUCKET, TABLE = "images-of-the-probe", "verdicts-of-the-probe"
#: What no busy machine misses.
PATIENT = TierLevel(first_byte_s=30, first_instance_s=30, study_s=60)
LEVELS = ServiceLevels(tiers={"STANDARD": PATIENT, "STANDARD_IA": PATIENT})
AT = dt.datetime(2026, 11, 22, 9, 30, tzinfo=dt.UTC)
TIERS = ("STANDARD", "STANDARD_IA", "DEEP_ARCHIVE")


class Cloud:
    """A bucket and the table that `verify_study` keeps of it."""

    def __init__(self, endpoint: str) -> None:
        told = {
            "endpoint_url": endpoint, "region_name": "us-east-1",
            "aws_access_key_id": "testing", "aws_secret_access_key": "testing",
        }  # fmt: skip
        self.s3: Any = boto3.client("s3", **told)  # type: ignore[call-overload]
        self.dynamodb: Any = boto3.client("dynamodb", **told)  # type: ignore[call-overload]
        self.s3.create_bucket(Bucket=BUCKET)
        self.dynamodb.create_table(**table_arguments(TABLE))

    def put_study(self, number: int, tier: str, *, prefix: str = PREFIX) -> str:
        """Put a study of two objects, its manifest and its item; return its UID."""
        study = StudyRef(f"1.2.840.77.{number}")
        uid = study.study_instance_uid
        records = [self._put_image(study, image, tier, prefix) for image in range(2)]
        key = manifest_key("main", study, 1)
        body, digest = manifest.encode(
            Manifest(
                archive="main", study_instance_uid=uid, revision=1, previous_sha256="", source={},
                destination="cloud", created_at="", completeness="SET", instances=records,
            )
        )  # fmt: skip
        self.s3.put_object(Bucket=BUCKET, Key=prefix + key, Body=body)
        stratum = stratum_of(tier, str(2015 + number % 3), "CT", 2000)
        item = {
            "pk": f"{BUCKET}/{prefix}{study_prefix('main', study)}", "sk": "study",
            "stratum": stratum, "sample": place_of(uid), "manifest_key": key,
            "manifest_sha256": digest, "at": "2026-11-22T09:00:00Z",
        }  # fmt: skip
        for each in (item, {"pk": "strata", "sk": stratum}):
            self.dynamodb.put_item(
                TableName=TABLE, Item={name: {"S": text} for name, text in each.items()}
            )
        return uid

    def _put_image(self, study: StudyRef, image: int, tier: str, prefix: str) -> InstanceRecord:
        body = f"{study.study_instance_uid}/{image}".encode() * 40
        key = f"{study_prefix('main', study)}1.2/1.2.{image + 1}.dcm"
        self.s3.put_object(Bucket=BUCKET, Key=prefix + key, Body=body, StorageClass=tier)
        return InstanceRecord(
            series_instance_uid="1.2", sop_instance_uid=f"1.2.{image + 1}", sop_class_uid="1.2",
            transfer_syntax_uid="1.2", size_bytes=len(body),
            file_sha256=hashlib.sha256(body).hexdigest(), dataset_sha256="",
            location=Location(key), storage_class=tier,
        )  # fmt: skip

    def sampler(self, seed: str = "a", prefix: str = PREFIX) -> TableSampler:
        return TableSampler(self.dynamodb, TABLE, bucket=BUCKET, prefix=prefix, seed=seed)

    def probe(self, samples: int, seed: str = "a") -> ProbeResult:
        bucket = BucketReader(self.s3, BUCKET, PREFIX)
        return probe(
            LEVELS, self.sampler(seed), [bucket], manifests=bucket, at=AT,
            name=lambda uid: f"st-{place_of(uid)[:12]}", samples=samples,
        )  # fmt: skip


@pytest.fixture(scope="module")
def cloud(endpoint: str) -> Cloud:
    made = Cloud(endpoint)
    for number in range(1, 46):
        made.put_study(number, TIERS[number % 3])
    made.put_study(900, "STANDARD", prefix="another/")
    return made


def test_every_study_of_the_table_can_be_drawn_and_none_of_another_prefix(cloud: Cloud) -> None:
    drawn = choose(cloud.sampler(), 1000)

    assert {each.study_instance_uid for each in drawn} == {
        f"1.2.840.77.{number}" for number in range(1, 46)
    }
    [other] = choose(cloud.sampler(prefix="another/"), 1000)
    assert other.study_instance_uid == "1.2.840.77.900"


def test_a_draw_has_as_many_of_each_tier_and_the_same_again_under_its_seed(cloud: Cloud) -> None:
    drawn = choose(cloud.sampler("one"), 4)

    assert Counter(tier_of_stratum(each.stratum) for each in drawn) == dict.fromkeys(TIERS, 4)
    assert drawn == choose(cloud.sampler("one"), 4)
    assert set(drawn) != set(choose(cloud.sampler("two"), 4))


def test_a_small_draw_is_the_beginning_of_a_large_one(cloud: Cloud) -> None:
    """The circle is gone around once, past the end of the index to its beginning."""
    stratum = next(each for each in cloud.sampler().strata() if each.startswith("STANDARD|"))
    for seed in "abcdef":
        whole = cloud.sampler(seed).pick(stratum, 99)

        assert len(whole) == len(set(whole)) > 3
        assert cloud.sampler(seed).pick(stratum, 2) == whole[:2]


def test_three_tiers_are_probed_and_the_samples_come_back_from_the_bucket(cloud: Cloud) -> None:
    result = cloud.probe(15)
    key = put_samples(cloud.s3, BUCKET, "sla/", result.samples, at=AT)

    kept = decode_samples(cloud.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    assert kept == list(result.samples)
    assert key.startswith("sla/2026/11/22/093000-probe-")
    assert Counter((each.tier, each.outcome) for each in kept) == {
        ("STANDARD", "read"): 15, ("STANDARD_IA", "read"): 15, ("DEEP_ARCHIVE", "cold"): 15,
    }  # fmt: skip
    assert not result.breached


def test_a_restored_study_is_read_and_of_its_archive_tier(cloud: Cloud) -> None:
    uid = cloud.put_study(999, "DEEP_ARCHIVE")
    prefix = PREFIX + study_prefix("main", StudyRef(uid))
    listed = cloud.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]
    for each in listed:
        if each["Key"].endswith(".dcm"):
            cloud.s3.restore_object(
                Bucket=BUCKET, Key=each["Key"],
                RestoreRequest={"Days": 1, "GlacierJobParameters": {"Tier": "Standard"}},
            )  # fmt: skip

    samples = cloud.probe(1000).samples

    [ours] = [each for each in samples if each.study == f"st-{place_of(uid)[:12]}"]
    assert (ours.tier, ours.outcome, ours.promised_s) == ("DEEP_ARCHIVE", "read", None)
