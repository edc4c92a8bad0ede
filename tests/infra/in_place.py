"""The functions' own handlers, run where Terraform put everything: its environment, its queues.

A handler is imported with the environment that its function has in AWS (here: in moto), and every
call it makes through boto3 is noted and held against the policy of its role. moto's own judgement
would not do: it is wrong about DynamoDB and knows no conditions.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import boto3
import pytest

from tests.infra.deployment import ROOT, Deployment

__all__ = ["Call", "InPlace", "Policy"]

ACCOUNT = "123456789012"
#: What a request of S3 is called in a policy, where that is another name.
_S3_ACTIONS = {"HeadObject": "GetObject", "ListObjectsV2": "ListBucket"}


@dataclass(frozen=True)
class Call:
    """One request that a function made."""

    action: str
    resource: str
    leading_key: str = ""  #: Partition key of a DynamoDB item.


@dataclass(frozen=True)
class Policy:
    """The one policy of a function's role, as IAM reads it, as far as we write any."""

    statements: tuple[Mapping[str, Any], ...]

    @property
    def granted(self) -> set[str]:
        return {action for each in self.statements for action in each["Action"]}

    def allows(self, call: Call) -> bool:
        return any(self._covers(each, call) for each in self.statements)

    def _covers(self, statement: Mapping[str, Any], call: Call) -> bool:
        conditions = dict(statement.get("Condition", {}))
        leading = conditions.pop("ForAllValues:StringLike", {}).get("dynamodb:LeadingKeys", ["*"])
        assert not conditions, "a condition that is not judged here"
        return (
            statement["Effect"] == "Allow"
            and call.action in statement["Action"]
            and any(fnmatchcase(call.resource, each) for each in statement["Resource"])
            and any(fnmatchcase(call.leading_key, each) for each in leading)
        )


@dataclass
class InPlace:
    """A deployment, and its functions as they would run there."""

    deployment: Deployment
    monkeypatch: pytest.MonkeyPatch
    calls: dict[str, list[Call]] = field(default_factory=dict)

    def full_name(self, function: str) -> str:
        outputs = self.deployment.outputs()
        for module in ("verification", "retrieval_sla", "cold_recall", "reconciliation"):
            names: dict[str, str] = outputs[module]["function_names"]
            if function in names:
                return names[function]
        raise AssertionError(f"no module has {function}")

    def environment(self, function: str) -> dict[str, str]:
        """Return what Terraform gave the function."""
        told = self.deployment.client("lambda").get_function_configuration(
            FunctionName=self.full_name(function)
        )
        variables: dict[str, str] = told["Environment"]["Variables"]
        return variables

    def policy(self, function: str) -> Policy:
        """Return the only policy of the function's role."""
        iam, name = self.deployment.client("iam"), self.full_name(function)
        told = self.deployment.client("lambda").get_function_configuration(FunctionName=name)
        role = told["Role"].rpartition("/")[2]
        [policy] = iam.list_role_policies(RoleName=role)["PolicyNames"]
        assert not iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
        document = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
        return Policy(tuple(document["Statement"]))

    @contextmanager
    def function(self, name: str, **changes: str) -> Iterator[Callable[[Any], Any]]:
        """Return the handler, started as AWS would start it."""
        with self.monkeypatch.context() as patch:
            for key, value in (
                self.environment(name) | dict(self.deployment.environment) | changes
            ).items():
                patch.setenv(key, value)
            patch.setenv("AWS_DEFAULT_REGION", self.deployment.region)
            session = boto3.Session()
            session.events.register("provide-client-params", self._noting(name))
            path = ROOT / "lambdas" / name / "handler.py"
            spec = importlib.util.spec_from_file_location(f"handler_of_{name}", path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            with patch.context() as starting:  # A handler makes its clients when it is imported.
                starting.setattr(boto3, "DEFAULT_SESSION", session)
                spec.loader.exec_module(module)
            yield lambda event: module.handle(event, _Context(name))

    def _noting(self, function: str) -> Callable[..., None]:
        def note(params: Mapping[str, Any], model: Any, **_: object) -> None:  # noqa: ANN401
            call = self._call(model.service_model.service_name, model.name, params)
            self.calls.setdefault(function, []).append(call)

        return note

    def _call(self, service: str, operation: str, params: Mapping[str, Any]) -> Call:
        place = f"{self.deployment.region}:{ACCOUNT}"
        match service:
            case "s3":
                action = _S3_ACTIONS.get(operation, operation)
                if action == "GetObject" and "VersionId" in params:
                    action = "GetObjectVersion"
                key = f"/{params['Key']}" if "Key" in params else ""
                return Call(f"s3:{action}", f"arn:aws:s3:::{params['Bucket']}{key}")
            case "dynamodb":
                index = f"/index/{params['IndexName']}" if "IndexName" in params else ""
                item = params.get("Key") or params.get("Item") or {}
                return Call(
                    f"dynamodb:{operation}",
                    f"arn:aws:dynamodb:{place}:table/{params['TableName']}{index}",
                    item.get("pk", {}).get("S", ""),
                )
            case "sqs":
                action = re.sub("Batch$", "", operation)
                queue = params["QueueUrl"].rpartition("/")[2]
                return Call(f"sqs:{action}", f"arn:aws:sqs:{place}:{queue}")
            case _:
                raise AssertionError(f"no function should speak to {service}")

    # What AWS does between the functions

    def receive(self, queue: str) -> list[dict[str, Any]]:
        """Take everything that waits in a queue, as the event source mapping would."""
        sqs = self.deployment.client("sqs")
        url = sqs.get_queue_url(QueueName=f"{self._prefix}-{queue}")["QueueUrl"]
        found = []
        while messages := sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0
        ).get("Messages"):
            for message in messages:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                found.append(_record(message["MessageId"], message["Body"]))
        return found

    def empty_buckets(self) -> None:
        """Remove every version of every object from both buckets."""
        environment, s3 = self.environment("reconcile_inventory"), self.deployment.client("s3")
        for bucket in (environment["BUCKET"], environment["RESULTS_BUCKET"]):
            told = s3.list_object_versions(Bucket=bucket)
            for each in told.get("Versions", []) + told.get("DeleteMarkers", []):
                s3.delete_object(Bucket=bucket, Key=each["Key"], VersionId=each["VersionId"])

    @property
    def _prefix(self) -> str:
        return self.full_name("verify_object").removesuffix("-verify-object")


def _record(message_id: str, body: str) -> dict[str, Any]:
    return {
        "messageId": message_id, "body": body, "receiptHandle": "r", "attributes": {},
        "messageAttributes": {}, "md5OfBody": "", "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:any", "awsRegion": "eu-central-1",
    }  # fmt: skip


def bodies(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what messages say."""
    return [json.loads(each["body"]) for each in records]


class _Context:
    """What AWS tells a function about its run."""

    memory_limit_in_mb = 512
    aws_request_id = "request"

    def __init__(self, name: str) -> None:
        self.function_name = name
        self.invoked_function_arn = f"arn:aws:lambda:eu-central-1:{ACCOUNT}:function:{name}"

    def get_remaining_time_in_millis(self) -> int:
        return 900_000
