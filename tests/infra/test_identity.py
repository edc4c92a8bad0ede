"""What the agent may do with the role that Terraform made for it, judged by moto's IAM."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.infra.deployment import Deployment
from tests.infra.enforcement import enforced, is_allowed

STUDY = "v1/main/3f/1.2.826.0.1.3680043.8.498.1"
OBJECT = f"{STUDY}/1.2.826.0.1.3680043.8.498.2/1.2.826.0.1.3680043.8.498.3.dcm"


@dataclass(frozen=True)
class Agent:
    """Clients with the agent's own session, and what it may reach."""

    s3: Any
    sqs: Any
    iam: Any
    bucket: str
    prefix: str
    verdict_queue_url: str
    others: Mapping[str, str]  #: Queues that are not the agent's, by name.

    @property
    def key(self) -> str:
        return self.prefix + OBJECT


@pytest.fixture(scope="module")
def agent(applied_hybrid: Deployment) -> Iterator[Agent]:
    """Take on the agent's role as the agent does: with an access key of its user."""
    told = applied_hybrid.outputs()
    iam = applied_hybrid.client("iam")
    user = told["agent"]["user_name"]
    bucket, prefix = told["image_bucket"]["bucket_name"], told["image_bucket"]["prefix"]
    root = applied_hybrid.client("s3")
    for key in (prefix + OBJECT, "cardiology/" + OBJECT):
        root.put_object(Bucket=bucket, Key=key, Body=b"an image")
    access_key = iam.create_access_key(UserName=user)["AccessKey"]
    try:
        with enforced(applied_hybrid.endpoint):
            sts = applied_hybrid.client("sts", keys=access_key)
            role_arn = told["agent"]["role_arn"]
            answer = sts.assume_role(RoleArn=role_arn, RoleSessionName="edge-1")

            def client(service: str) -> Any:  # noqa: ANN401 - boto3's clients have no names
                return applied_hybrid.client(service, keys=answer["Credentials"])

            yield Agent(
                client("s3"), client("sqs"), client("iam"), bucket, prefix,
                told["verification"]["verdict_queue_url"],
                {"studies": told["verification"]["study_queue_url"]},
            )  # fmt: skip
    finally:
        iam.delete_access_key(UserName=user, AccessKeyId=access_key["AccessKeyId"])
        for key in (prefix + OBJECT, "cardiology/" + OBJECT):
            for version in root.list_object_versions(Bucket=bucket, Prefix=key)["Versions"]:
                root.delete_object(Bucket=bucket, Key=key, VersionId=version["VersionId"])


MAY: Mapping[str, Callable[[Agent], object]] = {
    "put": lambda a: a.s3.put_object(Bucket=a.bucket, Key=a.key, Body=b"the image"),
    "read": lambda a: a.s3.get_object(Bucket=a.bucket, Key=a.key),
    "look": lambda a: a.s3.head_object(Bucket=a.bucket, Key=a.key),
    "list": lambda a: a.s3.list_objects_v2(Bucket=a.bucket, Prefix=f"{a.prefix}v1/"),
    "list uploads": lambda a: a.s3.list_multipart_uploads(Bucket=a.bucket),
    "see versioning": lambda a: a.s3.get_bucket_versioning(Bucket=a.bucket),
    "begin and abort an upload": lambda a: a.s3.abort_multipart_upload(
        Bucket=a.bucket, Key=a.key,
        UploadId=a.s3.create_multipart_upload(Bucket=a.bucket, Key=a.key)["UploadId"],
    ),
    "hear verdicts": lambda a: a.sqs.receive_message(
        QueueUrl=a.verdict_queue_url, WaitTimeSeconds=0
    ),
    "count verdicts": lambda a: a.sqs.get_queue_attributes(
        QueueUrl=a.verdict_queue_url, AttributeNames=["All"]
    ),
    "answer verdicts": lambda a: a.sqs.delete_message(
        QueueUrl=a.verdict_queue_url, ReceiptHandle="none"
    ),
    "answer verdicts together": lambda a: a.sqs.delete_message_batch(
        QueueUrl=a.verdict_queue_url, Entries=[{"Id": "0", "ReceiptHandle": "none"}]
    ),
}  # fmt: skip

MAY_NOT: Mapping[str, Callable[[Agent], object]] = {
    "delete": lambda a: a.s3.delete_object(Bucket=a.bucket, Key=a.key),
    "delete a version": lambda a: a.s3.delete_object(
        Bucket=a.bucket, Key=a.key, VersionId="11111111-1111-1111-1111-111111111111"
    ),
    "read another prefix": lambda a: a.s3.get_object(Bucket=a.bucket, Key="cardiology/" + OBJECT),
    "look into another prefix": lambda a: a.s3.head_object(
        Bucket=a.bucket, Key="cardiology/" + OBJECT
    ),
    "put into another prefix": lambda a: a.s3.put_object(
        Bucket=a.bucket, Key="cardiology/" + OBJECT, Body=b"an image"
    ),
    "put beside v1": lambda a: a.s3.put_object(
        Bucket=a.bucket, Key=f"{a.prefix}notes.txt", Body=b"a note"
    ),
    "read the records": lambda a: a.s3.list_objects_v2(Bucket=f"{a.bucket}-records"),
    "write into the records": lambda a: a.s3.put_object(
        Bucket=f"{a.bucket}-records", Key="results/1", Body=b"all is well"
    ),
    "list all buckets": lambda a: a.s3.list_buckets(),
    "read the policy": lambda a: a.s3.get_bucket_policy(Bucket=a.bucket),
    "change the policy": lambda a: a.s3.put_bucket_policy(Bucket=a.bucket, Policy="{}"),
    "remove the policy": lambda a: a.s3.delete_bucket_policy(Bucket=a.bucket),
    "suspend versioning": lambda a: a.s3.put_bucket_versioning(
        Bucket=a.bucket, VersioningConfiguration={"Status": "Suspended"}
    ),
    "change the lifecycle": lambda a: a.s3.put_bucket_lifecycle_configuration(
        Bucket=a.bucket,
        LifecycleConfiguration={
            "Rules": [
                {
                    "ID": "all", "Status": "Enabled", "Filter": {"Prefix": ""},
                    "Expiration": {"Days": 1},
                }
            ]
        },
    ),
    "open the bucket": lambda a: a.s3.delete_public_access_block(Bucket=a.bucket),
    "remove the bucket": lambda a: a.s3.delete_bucket(Bucket=a.bucket),
    "speak as the cloud": lambda a: a.sqs.send_message(
        QueueUrl=a.verdict_queue_url, MessageBody="{}"
    ),
    "empty the queue": lambda a: a.sqs.purge_queue(QueueUrl=a.verdict_queue_url),
    "hear another queue": lambda a: a.sqs.receive_message(QueueUrl=a.others["studies"]),
    "change its own policy": lambda a: a.iam.put_role_policy(
        RoleName="cloudmig-hybrid-agent", PolicyName="more", PolicyDocument="{}"
    ),
    "make itself a key": lambda a: a.iam.create_access_key(UserName="cloudmig-hybrid-agent"),
}  # fmt: skip


@pytest.mark.parametrize("what", MAY)
def test_the_agent_may(agent: Agent, what: str) -> None:
    assert is_allowed(lambda: MAY[what](agent))


@pytest.mark.parametrize("what", MAY_NOT)
def test_the_agent_may_not(agent: Agent, what: str) -> None:
    assert not is_allowed(lambda: MAY_NOT[what](agent))


def test_what_the_agent_may_not_has_changed_nothing(
    agent: Agent, applied_hybrid: Deployment
) -> None:
    """The refusals above were refusals, and not merely errors."""
    assert agent.s3.get_object(Bucket=agent.bucket, Key=agent.key)["Body"].read() == b"the image"
    assert agent.s3.get_bucket_versioning(Bucket=agent.bucket)["Status"] == "Enabled"
