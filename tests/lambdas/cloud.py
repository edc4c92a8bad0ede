"""The cloud side on one machine: bucket, events, queues and table in moto, functions from zips.

    cloud = Cloud(moto, artifacts, folder)
    with cloud.functions():
        cloud.settle()                # every event was worked at, queues are empty
        cloud.waiting()               # what the agent will be told

What Terraform makes of it is tested in tests/infra; here are the same rule, queues and redrive,
small enough to read.
"""

from __future__ import annotations

import contextlib
import json
import time
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

from cloudmig.cloud.dynamo_table import table_arguments
from cloudmig.messages import Message, StudyVerdict, decode
from tests.lambdas.counting_moto import CountingMoto
from tests.lambdas.emulator import Emulator
from tests.lambdas.event_source import EventSource

__all__ = ["PREFIX", "Artifacts", "Cloud"]

PREFIX = "some/prefix/"
RECEIVES_MAX = 3
_SETTLE_MAX_S = 240.0
#: Longer than any batch takes here; what failed is made visible by the event source.
_VISIBILITY_S = 60
#: The queue before a function.
_BEFORE = {"verify_object": "objects", "verify_study": "studies", "watch_restore": "restores"}
#: What EventBridge brings into a queue.
_RULES = {
    "objects": ["Object Created", "Object Deleted", "Object Storage Class Changed",
                "Object Access Tier Changed"],
    "restores": ["Object Restore Initiated", "Object Restore Completed", "Object Restore Expired"],
}  # fmt: skip


@dataclass(frozen=True)
class Artifacts:
    """Where the unzipped functions are, the emulator and the runtime's own part."""

    folder: Path
    binary: Path
    runtime: Path

    @classmethod
    def unzipped(cls, zips: Path, folder: Path, binary: Path, runtime: Path) -> Artifacts:
        for path in zips.glob("*.zip"):
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder / path.stem)
        return cls(folder, binary, runtime)


@dataclass
class Cloud:
    """One bucket and what watches it."""

    moto: CountingMoto
    artifacts: Artifacts
    folder: Path  #: For logs.
    sandboxes: Mapping[str, int] = field(
        default_factory=lambda: {"verify_object": 2, "verify_study": 1}
    )
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.name = f"cloudmig-{uuid.uuid4().hex[:8]}"
        self.s3, self.sqs = self.client("s3"), self.client("sqs")
        self.dynamodb = self.client("dynamodb")
        self.queues = {name: self._queue(name) for name in (*_BEFORE.values(), "verdicts")}
        self.dynamodb.create_table(**table_arguments(self.name))
        self.kms_key_arn = self.client("kms").create_key()["KeyMetadata"]["Arn"]
        self._make_bucket()
        self.sources = {
            function: EventSource(self.sqs, self.queues[queue])
            for function, queue in _BEFORE.items()
        }
        self._running: dict[str, list[Emulator]] = {}

    def client(self, service: str, caller: str = "event-source") -> Any:  # noqa: ANN401 - of boto3
        config = boto3.session.Config(user_agent_appid=caller)
        return boto3.client(
            service, endpoint_url=self.moto.endpoint, region_name="us-east-1",
            aws_access_key_id="testing", aws_secret_access_key="testing", config=config,
        )  # fmt: skip

    def _queue(self, name: str) -> str:
        dead = self.sqs.create_queue(QueueName=f"{self.name}-{name}-dead")["QueueUrl"]
        # What waits for the agent is looked at here, too, and every look counts.
        receives_max = 1000 if name == "verdicts" else RECEIVES_MAX
        redrive = json.dumps(
            {"deadLetterTargetArn": self._arn(dead), "maxReceiveCount": str(receives_max)}
        )
        attributes = {"RedrivePolicy": redrive, "VisibilityTimeout": str(_VISIBILITY_S)}
        made = self.sqs.create_queue(QueueName=f"{self.name}-{name}", Attributes=attributes)
        url: str = made["QueueUrl"]
        return url

    def _arn(self, url: str) -> str:
        told = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        arn: str = told["Attributes"]["QueueArn"]
        return arn

    def _make_bucket(self) -> None:
        self.s3.create_bucket(Bucket=self.name)
        self.s3.put_bucket_versioning(
            Bucket=self.name, VersioningConfiguration={"Status": "Enabled"}
        )
        encrypted = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": self.kms_key_arn}
        self.s3.put_bucket_encryption(
            Bucket=self.name,
            ServerSideEncryptionConfiguration={
                "Rules": [
                    {"ApplyServerSideEncryptionByDefault": encrypted, "BucketKeyEnabled": True}
                ]
            },
        )
        self.s3.put_bucket_notification_configuration(
            Bucket=self.name, NotificationConfiguration={"EventBridgeConfiguration": {}}
        )
        events = self.client("events")
        for queue, kinds in _RULES.items():
            pattern = {
                "source": ["aws.s3"],
                "detail-type": kinds,
                "detail": {
                    "bucket": {"name": [self.name]},
                    "object": {"key": [{"prefix": f"{PREFIX}v1/"}]},
                },
            }
            rule = f"{self.name}-{queue}"
            events.put_rule(Name=rule, EventPattern=json.dumps(pattern))
            target = {"Id": queue, "Arn": self._arn(self.queues[queue])}
            events.put_targets(Rule=rule, Targets=[target])

    # ------------------------------------------------------------------------------ functions

    def function(
        self,
        function: str,
        number: int = 0,
        *,
        timeout_s: int = 60,
        memory_bytes: int = 512 << 20,
        environment: Mapping[str, str] | None = None,
    ) -> Emulator:
        """Return a sandbox of a function, to be entered."""
        told = {
            "AWS_ENDPOINT_URL": self.moto.endpoint,
            "POWERTOOLS_SERVICE_NAME": function,
            "POWERTOOLS_METRICS_NAMESPACE": "cloudmig",
            "PSEUDONYM_KEY": "ab" * 32,
            "BUCKET": self.name,
            "PREFIX": PREFIX,
            "TABLE_NAME": self.name,
            "VERDICT_QUEUE_URL": self.queues["verdicts"],
            "STUDY_QUEUE_URL": self.queues["studies"],
            "READ": "checksum",
            "KMS_KEY_ARN": self.kms_key_arn,
            "LOCK_MODE": "",
            "LATER_CLASSES": "",
            "ORPHAN_AFTER_H": "0",  # A day passes at once.
            "SERVICE_LEVELS": "{}",
            "SAMPLES_BUCKET": self.name,
            "SAMPLES_PREFIX": "samples/",
            "RESTORE_PROMISES": "{}",
            "RESULTS_BUCKET": self.name,
            "RESULTS_PREFIX": "results/",
            "SETTLE_S": "0",
            **self.environment,
            **(environment or {}),
        }
        return Emulator(
            self.artifacts.binary, self.artifacts.folder / function, self.artifacts.runtime,
            function, told, log=self.folder / f"{function}-{number}.log",
            timeout_s=timeout_s, memory_bytes=memory_bytes,
        )  # fmt: skip

    @contextlib.contextmanager
    def functions(self) -> Iterator[Cloud]:
        """Start the sandboxes of the functions behind queues."""
        with contextlib.ExitStack() as stack:
            for name, count in self.sandboxes.items():
                self._running[name] = [
                    stack.enter_context(self.function(name, number)) for number in range(count)
                ]
            yield self
        self._running.clear()

    def settle(self, *functions: str) -> None:
        """Bring every message to its function until no queue before one holds any.

        With functions named, before one of those.
        """
        deadline = time.monotonic() + _SETTLE_MAX_S
        names = functions or tuple(self._running)
        while any(self.sources[name].left() for name in names):
            assert time.monotonic() < deadline, self.logs()[-3000:]
            with ThreadPoolExecutor() as pool:
                pollers = [
                    pool.submit(self._empty, self.sources[name], sandbox, deadline)
                    for name in names
                    for sandbox in self._running[name]
                ]
            for each in pollers:
                each.result()

    def _empty(self, source: EventSource, sandbox: Emulator, deadline: float) -> None:
        while source.poll(sandbox) and time.monotonic() < deadline:
            pass

    def logs(self) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    # ------------------------------------------------------------------------- what it made

    def waiting(self) -> list[Message]:
        """Return what waits for the agent, and leave it there."""
        url, seen = self.queues["verdicts"], {}
        while messages := self.sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=60
        ).get("Messages"):
            seen |= {each["MessageId"]: each for each in messages}
        for each in seen.values():
            self.sqs.change_message_visibility(
                QueueUrl=url, ReceiptHandle=each["ReceiptHandle"], VisibilityTimeout=0
            )
        return [decode(each["Body"]) for each in seen.values()]

    def study_verdicts(self) -> dict[str, StudyVerdict]:
        """Return the latest word that waits on each study."""
        latest: dict[str, StudyVerdict] = {}
        for each in sorted(
            (each for each in self.waiting() if isinstance(each, StudyVerdict)),
            key=lambda verdict: verdict.at,
        ):
            latest[each.study_instance_uid] = each
        return latest

    def take(self, queue: str) -> list[str]:
        """Empty a queue and return the bodies."""
        url = self.queues.get(queue) or f"{self.queues[queue.removesuffix('-dead')]}-dead"
        bodies = []
        while messages := self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get(
            "Messages"
        ):
            for each in messages:
                bodies.append(each["Body"])
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])
        return bodies

    def send(self, queue: str, bodies: Sequence[str]) -> None:
        for body in bodies:
            self.sqs.send_message(QueueUrl=self.queues[queue], MessageBody=body)

    def items(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Return the whole table, by both keys."""
        found = {}
        for page in self.dynamodb.get_paginator("scan").paginate(TableName=self.name):
            for item in page["Items"]:
                plain = {name: next(iter(typed.values())) for name, typed in item.items()}
                found[plain["pk"], plain["sk"]] = plain
        return found

    def lies_there(self) -> list[str]:
        """Return every key that lies in the bucket now."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return [each["Key"] for page in pages for each in page.get("Contents", ())]


def findings_of(verdicts: Iterable[StudyVerdict]) -> dict[str, str]:
    """Return what was found, by key."""
    found = [each for verdict in verdicts for each in verdict.findings]
    named = {each.key: each.finding for each in found}
    assert len(named) == len(found), "nothing is named twice"
    return named
