"""Messages through SQS: from the functions to the agent, and between functions.

A body is `cloudmig.messages`' JSON and nothing else. Sending is repeated a few times for the
entries of a batch that were not taken; what is still left is an error, and the message that led
to it comes again. Nothing else retries, and botocore's errors do not leave this module.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from botocore import exceptions as theirs

from cloudmig.errors import DestinationRefused, DestinationUnavailable
from cloudmig.messages import Message, encode

__all__ = ["MemoryOutbox", "Outbox", "QueuedMessage", "SqsQueue"]

#: Limits of SendMessageBatch and ReceiveMessage.
_BATCH_ENTRIES_MAX = 10
_BATCH_BYTES_MAX = 256 * 1024
_SENDS_MAX = 4
_PAUSE_FIRST_S = 0.2
#: What another key, role or address would change, and time would not.
_REFUSALS = frozenset({
    "AccessDenied", "AccessDeniedException", "InvalidClientTokenId", "SignatureDoesNotMatch",
    "AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist", "InvalidAddress",
    "UnrecognizedClientException", "ExpiredToken", "KmsAccessDenied",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """One message as it was received. Its body may be anything."""

    body: str
    handle: str  #: Names this receipt of it, for `delete`.
    message_id: str


class Outbox(Protocol):
    """Takes messages for somebody else."""

    def send(self, messages: Iterable[Message]) -> None:
        """Return when all were taken; raises `DestinationUnavailable` or `DestinationRefused`.

        - Some may have been taken before an error: whoever reads them can be told twice.
        """
        ...


class MemoryOutbox:
    """Keeps what is sent, in order: for `verify --as-cloud`, and for tests."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    def send(self, messages: Iterable[Message]) -> None:
        self.sent += messages


class SqsQueue:
    """One SQS queue."""

    def __init__(
        self,
        client: Any,  # noqa: ANN401 - a boto3 client, which functions pass in
        url: str,
        *,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._url = url
        self._pause = pause

    def send(self, messages: Iterable[Message]) -> None:
        for batch in _batches(encode(message) for message in messages):
            self._send(batch)

    def receive(self, *, wait_s: float = 0) -> Sequence[QueuedMessage]:
        """Return up to ten messages, waiting for the first at most `wait_s` (20 in SQS)."""
        answer = self._call(
            "receive_message",
            MaxNumberOfMessages=_BATCH_ENTRIES_MAX,
            WaitTimeSeconds=int(wait_s),
        )
        return [
            QueuedMessage(each["Body"], each["ReceiptHandle"], each["MessageId"])
            for each in answer.get("Messages", ())
        ]

    def delete(self, messages: Sequence[QueuedMessage]) -> None:
        """Delete messages that are done with. One that cannot be deleted comes again."""
        for first in range(0, len(messages), _BATCH_ENTRIES_MAX):
            batch = messages[first : first + _BATCH_ENTRIES_MAX]
            self._call(
                "delete_message_batch",
                Entries=[
                    {"Id": str(number), "ReceiptHandle": message.handle}
                    for number, message in enumerate(batch)
                ],
            )

    def _send(self, bodies: Sequence[str]) -> None:
        left = {str(number): body for number, body in enumerate(bodies)}
        for sends in range(_SENDS_MAX):
            if sends:
                self._pause(_PAUSE_FIRST_S * 2 ** (sends - 1))
            answer = self._call(
                "send_message_batch",
                Entries=[{"Id": name, "MessageBody": body} for name, body in left.items()],
            )
            failed = answer.get("Failed", [])
            if any(each.get("SenderFault") for each in failed):
                raise DestinationRefused(f"queue: {len(failed)} messages were refused")
            left = {each["Id"]: left[each["Id"]] for each in failed}
            if not left:
                return
        raise DestinationUnavailable(f"queue: {len(left)} messages were not taken")

    def _call(self, operation: str, **arguments: object) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self._client, operation)(
                QueueUrl=self._url, **arguments
            )
        except theirs.ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _REFUSALS:
                raise DestinationRefused(
                    f"queue: {code}", hint="check the queue's address, and who may use it"
                ) from error
            raise DestinationUnavailable(f"queue: {code}") from error
        except (theirs.NoCredentialsError, theirs.PartialCredentialsError) as error:
            raise DestinationRefused(
                f"queue: {type(error).__name__}", hint="check access keys, profile or role"
            ) from error
        except (theirs.BotoCoreError, OSError) as error:
            raise DestinationUnavailable(f"queue: {type(error).__name__}") from error
        return answer


def _batches(bodies: Iterable[str]) -> Iterator[list[str]]:
    """Group bodies as SQS takes them: ten at most, and 256 KiB together."""
    batch: list[str] = []
    size = 0
    for body in bodies:
        if batch and (len(batch) == _BATCH_ENTRIES_MAX or size + len(body) > _BATCH_BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append(body)
        size += len(body)
    if batch:
        yield batch
