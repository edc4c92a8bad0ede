"""What becomes of messages when a function runs out of time or memory: they come again."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from tests.lambdas.cloud import Cloud
from tests.lambdas.emulator import FunctionFailed
from tests.lambdas.test_story import assert_all_agree, migrated

RECORD = {
    "messageId": "1", "receiptHandle": "r", "body": "{}", "attributes": {}, "md5OfBody": "",
    "messageAttributes": {}, "eventSource": "aws:sqs", "awsRegion": "us-east-1",
    "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:q",
}  # fmt: skip


def test_a_function_out_of_time_loses_no_message(cloud: Cloud, tmp_path: Path) -> None:
    with migrated(cloud, tmp_path, studies=1), socket.create_server(("127.0.0.1", 0)) as silent:
        stuck = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        before = cloud.sources["verify_object"].left()
        with cloud.function("verify_object", 9, timeout_s=2, environment=stuck) as function:
            began = time.monotonic()
            taken = cloud.sources["verify_object"].poll(function)
            assert 2 <= time.monotonic() - began < 30
        assert cloud.sources["verify_object"].failures == taken > 0
        assert cloud.sources["verify_object"].left() == before

        cloud.settle()
        assert_all_agree(cloud, studies=1)
    assert not cloud.take("objects-dead")


def test_a_function_that_cannot_start_for_want_of_memory_fails(cloud: Cloud) -> None:
    """Memory is bounded by the kernel here, and the bound is felt."""
    with (
        cloud.function("verify_object", memory_bytes=16 << 20) as function,
        pytest.raises(FunctionFailed),
    ):
        function.invoke({"Records": [RECORD]})


def test_a_batch_is_answered_message_by_message(cloud: Cloud) -> None:
    fine = {**RECORD, "messageId": "2", "body": '{"Service":"Amazon S3","Event":"s3:TestEvent"}'}
    with cloud.function("verify_object") as function:
        answer = function.invoke({"Records": [RECORD, fine]})
    assert answer == {"batchItemFailures": [{"itemIdentifier": "1"}]}
