"""Sending through SQS: batches that fit, and a bounded patience with entries not taken.

The client is a fake: a real queue takes what it is given, and these are the days when it does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from cloudmig.cloud.verdict_queue import QueuedMessage, SqsQueue
from cloudmig.errors import DestinationRefused, DestinationUnavailable
from cloudmig.messages import ObjectFinding, StudyRequest, StudyVerdict, encode


def request(number: int) -> StudyRequest:
    return StudyRequest(
        bucket="images", prefix="", archive="main", study_instance_uid=f"1.2.{number}",
        why="asked", at="2026-11-22T09:00:00Z",
    )  # fmt: skip


@dataclass
class FailingSqs:
    """Does not take some entries of the first batches; may refuse them for good."""

    failures: list[set[str]] = field(default_factory=list)
    sender_fault: bool = False
    error: Exception | None = None
    batches: list[list[str]] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)

    def send_message_batch(self, *, QueueUrl: str, Entries: Sequence[Any]) -> dict[str, Any]:  # noqa: N803
        if self.error is not None:
            raise self.error
        failing = self.failures.pop(0) if self.failures else set()
        self.batches.append([each["Id"] for each in Entries])
        self.taken += [each["MessageBody"] for each in Entries if each["Id"] not in failing]
        failed = [
            {"Id": each["Id"], "SenderFault": self.sender_fault, "Code": "x"}
            for each in Entries
            if each["Id"] in failing
        ]
        return {"Successful": [], "Failed": failed} if failed else {}

    def delete_message_batch(self, *, QueueUrl: str, Entries: Sequence[Any]) -> dict[str, Any]:  # noqa: N803
        assert len(Entries) <= 10
        self.deleted += [each["ReceiptHandle"] for each in Entries]
        return {"Failed": [{"Id": "0"}]}


def queue(client: FailingSqs, pauses: list[float] | None = None) -> SqsQueue:
    return SqsQueue(client, "http://queue", pause=(pauses if pauses is not None else []).append)


def test_messages_go_in_batches_of_ten() -> None:
    client = FailingSqs()

    queue(client).send(request(number) for number in range(23))

    assert [len(batch) for batch in client.batches] == [10, 10, 3]
    assert client.taken == [encode(request(number)) for number in range(23)]


def test_a_batch_never_grows_beyond_what_a_queue_takes() -> None:
    client = FailingSqs()
    big = StudyVerdict(
        bucket="images", prefix="", archive="main", study_instance_uid="1.2", manifest_key="k",
        manifest_sha256="", manifest_revision=1, agreed=False, instances=1, differing=1,
        how="STREAMED", at="2026-11-22T09:00:00Z",
        findings=tuple(ObjectFinding(finding="stranger", key="k" * 1000) for _ in range(100)),
    )  # fmt: skip

    queue(client).send([big] * 5)

    assert [len(batch) for batch in client.batches] == [2, 2, 1]


def test_only_what_was_not_taken_is_sent_again() -> None:
    client, pauses = FailingSqs(failures=[{"1", "3"}, {"3"}]), list[float]()

    queue(client, pauses).send(request(number) for number in range(4))

    assert client.batches == [["0", "1", "2", "3"], ["1", "3"], ["3"]]
    assert sorted(client.taken) == sorted(encode(request(number)) for number in range(4))
    assert pauses == [0.2, 0.4]


def test_patience_ends() -> None:
    client = FailingSqs(failures=[{"0"}] * 99)

    with pytest.raises(DestinationUnavailable, match="1 messages"):
        queue(client).send([request(0)])

    assert len(client.batches) == 4


def test_what_is_refused_for_good_is_not_tried_again() -> None:
    client = FailingSqs(failures=[{"0"}] * 99, sender_fault=True)

    with pytest.raises(DestinationRefused):
        queue(client).send([request(0)])

    assert len(client.batches) == 1


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (ClientError({"Error": {"Code": "AccessDenied", "Message": "CANARY"}}, "x"),
         DestinationRefused),
        (ClientError({"Error": {"Code": "AWS.SimpleQueueService.NonExistentQueue"}}, "x"),
         DestinationRefused),
        (NoCredentialsError(), DestinationRefused),
        (ClientError({"Error": {"Code": "ThrottlingException"}}, "x"), DestinationUnavailable),
        (EndpointConnectionError(endpoint_url="http://x"), DestinationUnavailable),
        (ConnectionResetError(), DestinationUnavailable),
    ],
)  # fmt: skip
def test_no_error_of_the_library_comes_out(theirs: Exception, ours: type[Exception]) -> None:
    with pytest.raises(ours) as caught:
        queue(FailingSqs(error=theirs)).send([request(0)])

    assert "CANARY" not in str(caught.value)


def test_a_message_that_cannot_be_deleted_is_no_error() -> None:
    client = FailingSqs()

    queue(client).delete([QueuedMessage("body", f"h{number}", "id") for number in range(12)])

    assert client.deleted == [f"h{number}" for number in range(12)]
