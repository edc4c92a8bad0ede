"""What each function's role may do with buckets and queues, judged by moto's IAM.

A matrix: every call is tried with every role. test_functions_in_place.py says what the functions
really call; here is what they could call if somebody changed their code.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.infra.deployment import FUNCTIONS, Deployment
from tests.infra.enforcement import enforced, is_allowed

IMAGE = "v1/main/3f/1.2.3/1.2.3.4/1.2.3.4.5.dcm"
MANIFEST = "v1/main/3f/1.2.3/manifest/1.json.gz"


@dataclass(frozen=True)
class Place:
    """Where everything is."""

    images: str
    records: str
    prefix: str
    queues: Mapping[str, str]


@dataclass(frozen=True)
class Role:
    """Clients with a function's credentials."""

    s3: Any
    sqs: Any

    def get(self, bucket: str, key: str) -> object:
        return self.s3.get_object(Bucket=bucket, Key=key)

    def put(self, bucket: str, key: str) -> object:
        return self.s3.put_object(Bucket=bucket, Key=key, Body=b"")

    def send(self, queue_url: str) -> object:
        """Send a message that nobody could take for one of ours, where it is allowed."""
        entries = [{"Id": "0", "MessageBody": "not ours"}]
        return self.sqs.send_message_batch(QueueUrl=queue_url, Entries=entries)

    def receive(self, queue_url: str) -> object:
        return self.sqs.receive_message(QueueUrl=queue_url, WaitTimeSeconds=0, VisibilityTimeout=0)


Call = Callable[[Role, Place], object]
_VERIFYING = {"verify_object", "verify_study", "find_orphans"}
_NOBODY: set[str] = set()

#: What is tried, and who may.
MATRIX: Mapping[str, tuple[Call, set[str]]] = {
    "read an image": (
        lambda role, at: role.get(at.images, at.prefix + IMAGE),
        _VERIFYING | {"probe_retrieval", "watch_restore"},
    ),
    "read a manifest": (
        lambda role, at: role.get(at.images, at.prefix + MANIFEST),
        set(FUNCTIONS),
    ),
    "read another prefix": (lambda role, at: role.get(at.images, "cardiology/" + IMAGE), _NOBODY),
    "put an image": (lambda role, at: role.put(at.images, at.prefix + IMAGE), _NOBODY),
    "delete an image": (
        lambda role, at: role.s3.delete_object(Bucket=at.images, Key=at.prefix + IMAGE),
        _NOBODY,
    ),
    "list images": (
        lambda role, at: role.s3.list_objects_v2(Bucket=at.images, Prefix=at.prefix),
        _VERIFYING | {"reconcile_inventory"},
    ),
    "change the policy": (
        lambda role, at: role.s3.delete_bucket_policy(Bucket=at.images),
        _NOBODY,
    ),
    "suspend versioning": (
        lambda role, at: role.s3.put_bucket_versioning(
            Bucket=at.images, VersioningConfiguration={"Status": "Suspended"}
        ),
        _NOBODY,
    ),
    "keep a sample": (lambda role, at: role.put(at.records, "samples/1"), {"probe_retrieval"}),
    "keep a restore": (lambda role, at: role.put(at.records, "restores/1"), {"watch_restore"}),
    "write a result": (lambda role, at: role.put(at.records, "results/1"), {"reconcile_inventory"}),
    "read a result": (lambda role, at: role.get(at.records, "results/1"), {"reconcile_inventory"}),
    "read an inventory": (
        lambda role, at: role.get(at.records, "inventory/1"),
        {"reconcile_inventory"},
    ),
    "forge an inventory": (lambda role, at: role.put(at.records, "inventory/1"), _NOBODY),
    "delete a result": (
        lambda role, at: role.s3.delete_object(Bucket=at.records, Key="results/1"),
        _NOBODY,
    ),
    "tell the agent": (
        lambda role, at: role.send(at.queues["verdicts"]),
        _VERIFYING | {"watch_restore"},
    ),
    "ask for a study": (
        lambda role, at: role.send(at.queues["studies"]),
        {"verify_object", "find_orphans", "reconcile_inventory"},
    ),
    "forge an event": (lambda role, at: role.send(at.queues["objects"]), _NOBODY),
    "take objects": (lambda role, at: role.receive(at.queues["objects"]), {"verify_object"}),
    "take studies": (lambda role, at: role.receive(at.queues["studies"]), {"verify_study"}),
    "take restores": (lambda role, at: role.receive(at.queues["restores"]), {"watch_restore"}),
    "take the agent's verdicts": (lambda role, at: role.receive(at.queues["verdicts"]), _NOBODY),
    "empty a queue": (
        lambda role, at: role.sqs.purge_queue(QueueUrl=at.queues["verdicts"]),
        _NOBODY,
    ),
}


@pytest.fixture(scope="module")
def place(applied_hybrid: Deployment) -> Iterator[Place]:
    outputs = applied_hybrid.outputs()
    verification = outputs["verification"]
    place = Place(
        outputs["image_bucket"]["bucket_name"],
        outputs["image_bucket"]["records_bucket_name"],
        outputs["image_bucket"]["prefix"],
        {
            "verdicts": verification["verdict_queue_url"],
            "studies": verification["study_queue_url"],
            "objects": verification["object_queue_url"],
            "restores": outputs["cold_recall"]["restore_queue_url"],
        },
    )
    yield place
    s3, sqs = applied_hybrid.client("s3"), applied_hybrid.client("sqs")
    for version in s3.list_object_versions(Bucket=place.records).get("Versions", []):
        s3.delete_object(Bucket=place.records, Key=version["Key"], VersionId=version["VersionId"])
    for url in place.queues.values():
        while told := sqs.receive_message(QueueUrl=url, WaitTimeSeconds=0).get("Messages"):
            for message in told:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_role_may_do_what_its_function_needs_and_nothing_else(
    applied_hybrid: Deployment, place: Place, function: str
) -> None:
    told = applied_hybrid.outputs()
    [role_name] = [
        told[module]["function_role_names"][function]
        for module in ("verification", "retrieval_sla", "cold_recall", "reconciliation")
        if function in told[module]["function_role_names"]
    ]
    arn = applied_hybrid.client("iam").get_role(RoleName=role_name)["Role"]["Arn"]
    keys = applied_hybrid.client("sts").assume_role(RoleArn=arn, RoleSessionName="matrix")[
        "Credentials"
    ]
    role = Role(*(applied_hybrid.client(service, keys=keys) for service in ("s3", "sqs")))

    with enforced(applied_hybrid.endpoint):
        may = {
            what
            for what, (call, _) in MATRIX.items()
            if is_allowed(functools.partial(call, role, place))
        }

    assert may == {what for what, (_, allowed) in MATRIX.items() if function in allowed}
