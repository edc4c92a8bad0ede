"""The cloud side without a cloud: a bucket and a queue in moto, and the functions' own code."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import boto3

from cloudmig.cloud.expectations import Expectations
from cloudmig.cloud.verdict_queue import MemoryOutbox, SqsQueue
from cloudmig.cloud.verdict_table import MemoryTable
from cloudmig.cloud.verify_object import Desk
from cloudmig.cloud.verify_study import verify_study
from cloudmig.messages import Message, StudyRequest, StudyVerdict, encode
from cloudmig.model.references import StudyRef
from cloudmig.objects import study_prefix

__all__ = ["CloudSide"]

_KEYS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}


class CloudSide:
    """One bucket with its verdict queue, judged when a test says so."""

    def __init__(
        self, endpoint: str, *, versioned: bool = True, prefix: str = "", encrypted: bool = False
    ) -> None:
        self.name = f"cloud-{uuid.uuid4().hex[:12]}"
        self.endpoint = endpoint
        self.prefix = prefix
        self.s3: Any = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **_KEYS)
        self.sqs: Any = boto3.client("sqs", endpoint_url=endpoint, region_name="us-east-1", **_KEYS)
        self.s3.create_bucket(Bucket=self.name)
        if versioned:
            self.s3.put_bucket_versioning(
                Bucket=self.name, VersioningConfiguration={"Status": "Enabled"}
            )
        self.kms_key_arn: str | None = None
        if encrypted:
            kms: Any = boto3.client("kms", endpoint_url=endpoint, region_name="us-east-1", **_KEYS)
            self.kms_key_arn = kms.create_key()["KeyMetadata"]["Arn"]
        dead = self.sqs.create_queue(QueueName=f"{self.name}-dead")["QueueUrl"]
        self.dead_url = dead
        arn = self.sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
        redrive = (
            f'{{"deadLetterTargetArn":"{arn["Attributes"]["QueueArn"]}","maxReceiveCount":"2"}}'
        )
        self.url = self.sqs.create_queue(
            QueueName=self.name,
            Attributes={"VisibilityTimeout": "2", "RedrivePolicy": redrive},
        )["QueueUrl"]
        self.desk = Desk(
            s3=self.s3,
            table=MemoryTable(),
            verdicts=SqsQueue(self.sqs, self.url),
            studies=MemoryOutbox(),
            expected=Expectations(prefix=prefix, kms_key_arn=self.kms_key_arn),
            now=lambda: dt.datetime.now(dt.UTC),
            threads=2,
        )

    @property
    def settings(self) -> dict[str, Any]:
        """What stands in `[destinations.<name>]`."""
        encryption = {"kms_key_id": self.kms_key_arn} if self.kms_key_arn else {}
        return encryption | {
            "url": f"s3://{self.name}/{self.prefix}".rstrip("/"), "endpoint": self.endpoint,
            "profile": "moto", "verdict_queue": self.url, "verdict_endpoint": self.endpoint,
            "access_key_id": "testing", "secret_access_key": "testing",
        }  # fmt: skip

    def judge(self, *studies: str) -> list[StudyVerdict]:
        """Judge studies as `verify_study` does, and send the verdicts."""
        verdicts = [
            verify_study(
                self.desk,
                StudyRequest(
                    bucket=self.name, prefix=self.prefix, archive="main",
                    study_instance_uid=study, why="asked", at="2999-01-01T00:00:00Z",
                ),
            )
            for study in studies
        ]  # fmt: skip
        return [each for each in verdicts if each is not None]

    def send(self, *messages: Message | str) -> None:
        for message in messages:
            body = message if isinstance(message, str) else encode(message)
            self.sqs.send_message(QueueUrl=self.url, MessageBody=body)

    def waiting(self, url: str = "") -> int:
        """Return how many messages are in a queue, hidden ones included."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        told = self.sqs.get_queue_attributes(QueueUrl=url or self.url, AttributeNames=names)
        return sum(int(told["Attributes"][name]) for name in names)

    def images(self, study: str = "") -> list[str]:
        """Return full keys of images, of one study if asked."""
        prefix = f"{self.prefix}{study_prefix('main', StudyRef(study))}" if study else ""
        found = self.s3.list_objects_v2(Bucket=self.name, Prefix=prefix).get("Contents", [])
        return [each["Key"] for each in found if ".dcm" in each["Key"]]

    def body(self, key: str) -> bytes:
        body: bytes = self.s3.get_object(Bucket=self.name, Key=key)["Body"].read()
        return body

    def overwrite(self, key: str, change: Callable[[bytes], bytes], **more: str) -> None:
        """Put other bytes under a key, behind everybody's back, with the metadata it had."""
        held = self.s3.head_object(Bucket=self.name, Key=key)
        self.s3.put_object(
            Bucket=self.name, Key=key, Body=change(self.body(key)), Metadata=held["Metadata"],
            **more,
        )  # fmt: skip

    def class_of(self, key: str) -> str:
        storage_class: str = self.s3.head_object(Bucket=self.name, Key=key).get(
            "StorageClass", "STANDARD"
        )
        return storage_class


def later(verdict: StudyVerdict, seconds: float) -> StudyVerdict:
    """Return the same verdict from a look some time later."""
    at = dt.datetime.fromisoformat(verdict.at) + dt.timedelta(seconds=seconds)
    return replace(verdict, at=at.isoformat())


def names_of(verdicts: Sequence[StudyVerdict]) -> list[str]:
    return sorted(each.finding for verdict in verdicts for each in verdict.findings)
