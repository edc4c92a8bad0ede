"""Messages through a queue of moto: what is sent comes out, and is gone once deleted."""

from __future__ import annotations

import boto3
import pytest

from cloudmig.cloud.verdict_queue import SqsQueue
from cloudmig.errors import DestinationRefused, DestinationUnavailable
from cloudmig.messages import StudyRequest, decode
from tests.contract.moto_bucket import moto_endpoint


def test_what_is_sent_comes_out_and_is_gone_once_deleted() -> None:
    with moto_endpoint() as endpoint:
        client = boto3.client(
            "sqs", endpoint_url=endpoint, region_name="us-east-1",
            aws_access_key_id="testing", aws_secret_access_key="testing",
        )  # fmt: skip
        queue = SqsQueue(client, client.create_queue(QueueName="verdicts")["QueueUrl"])
        requests = [
            StudyRequest(
                bucket="images", prefix="ü/", archive="main", study_instance_uid=f"1.2.{number}",
                why="asked", at="2026-11-22T09:00:00Z",
            )
            for number in range(23)
        ]  # fmt: skip

        queue.send(requests)
        queue.send([])

        received = []
        while messages := queue.receive(wait_s=0):
            received += messages
            queue.delete(messages)
        assert sorted(str(decode(each.body)) for each in received) == sorted(map(str, requests))
        assert len({each.message_id for each in received}) == len(requests)

        client.delete_queue(QueueUrl=queue._url)
        for call in (queue.receive, lambda: queue.send(requests)):
            with pytest.raises(DestinationRefused):
                call()
    with pytest.raises(DestinationUnavailable):
        queue.receive()
