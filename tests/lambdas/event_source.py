"""Stands in for Lambda's event source mapping: brings what is in a queue to a function.

As the mapping does it: batches of ten at most, one `Records` event each; what the answer names in
`batchItemFailures` stays in the queue, and everything does when the function fails or answers in a
form that means so; what was received too often goes to the dead letters by the queue's own redrive.
The wait for the visibility timeout is left out: a failed message is made visible at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.lambdas.emulator import Emulator, FunctionFailed

__all__ = ["EventSource"]

_ATTRIBUTES = ("ApproximateReceiveCount", "SentTimestamp", "SenderId",
               "ApproximateFirstReceiveTimestamp")  # fmt: skip


class EventSource:
    """One queue before one function, which may have several sandboxes."""

    def __init__(
        self,
        sqs: Any,  # noqa: ANN401 - of boto3
        queue_url: str,
        *,
        batch_max: int = 10,
    ) -> None:
        self.queue_url = queue_url
        self._sqs = sqs
        self._batch_max = batch_max
        self.failures = 0  #: Messages that came back so far.
        self.bodies: list[str] = []  #: Everything that was brought so far.

    def poll(self, function: Emulator) -> int:
        """Bring one batch to the function; return how many messages there were."""
        answer = self._sqs.receive_message(
            QueueUrl=self.queue_url,
            MaxNumberOfMessages=self._batch_max,
            MessageSystemAttributeNames=list(_ATTRIBUTES),
        )
        messages = answer.get("Messages", [])
        if messages:
            self.bodies += [each["Body"] for each in messages]
            self._bring(messages, function)
        return len(messages)

    def left(self) -> int:
        """Return how many messages are in the queue, those in flight included."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        told = self._sqs.get_queue_attributes(QueueUrl=self.queue_url, AttributeNames=names)
        return sum(int(told["Attributes"][name]) for name in names)

    def _bring(self, messages: Sequence[Mapping[str, Any]], function: Emulator) -> None:
        try:
            answer = function.invoke({"Records": [self._record(each) for each in messages]})
            failed = {each["itemIdentifier"] for each in answer.get("batchItemFailures") or ()}
        except (FunctionFailed, KeyError, TypeError):
            failed = {each["MessageId"] for each in messages}
        if not failed <= {each["MessageId"] for each in messages}:
            failed = {each["MessageId"] for each in messages}  # An unknown name fails the batch.
        done = [each for each in messages if each["MessageId"] not in failed]
        again = [each for each in messages if each["MessageId"] in failed]
        self.failures += len(again)
        if done:
            self._sqs.delete_message_batch(QueueUrl=self.queue_url, Entries=_entries(done))
        if again:
            self._sqs.change_message_visibility_batch(
                QueueUrl=self.queue_url,
                Entries=[{**each, "VisibilityTimeout": 0} for each in _entries(again)],
            )

    def _record(self, message: Mapping[str, Any]) -> dict[str, Any]:
        name = self.queue_url.rpartition("/")[2]
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message.get("Attributes", {}),
            "messageAttributes": {},
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": f"arn:aws:sqs:us-east-1:123456789012:{name}",
            "awsRegion": "us-east-1",
        }


def _entries(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"Id": str(number), "ReceiptHandle": each["ReceiptHandle"]}
        for number, each in enumerate(messages)
    ]
