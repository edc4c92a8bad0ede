"""Where the cloud's word comes from: every mistake is named at once."""

from __future__ import annotations

from typing import Any

import pytest

from cloudmig.config import Configuration, parse
from cloudmig.errors import ConfigError

QUEUE = "https://sqs.eu-central-1.amazonaws.com/123456789012/verdicts"


def parsed(**destinations: dict[str, Any]) -> Configuration:
    source = {"archive": "main", "host": "h", "port": 104, "aet": "PACS"}
    return parse({
        "sources": {"main": source},
        "destinations": destinations,
        "rules": [{"name": "all", "copy_to": [next(iter(destinations))]}],
    })  # fmt: skip


def test_a_queue_and_the_classes_of_a_lifecycle_are_settings_of_a_bucket() -> None:
    archive = parsed(
        archive={
            "url": "s3://images", "verdict_queue": QUEUE, "verdict_endpoint": "http://h:1/",
            "later_classes": ["GLACIER_IR"],
        },
    ).destinations["archive"]  # fmt: skip

    assert archive.verdict_queue == QUEUE
    assert archive.verdict_endpoint == "http://h:1"
    assert archive.later_classes == ("GLACIER_IR",)


def test_every_mistake_about_verdicts_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(
            folder={"url": "file:///x", "verdict_queue": QUEUE, "later_classes": ["GLACIER"]},
            nameless={"url": "s3://a", "verdict_endpoint": "http://h:1"},
            name={"url": "s3://b", "verdict_queue": "verdicts"},
            klass={"url": "s3://c", "later_classes": ["cold"]},
            one={"url": "s3://d", "verdict_queue": QUEUE, "endpoint": "http://h:1"},
            other={"url": "s3://d", "verdict_queue": QUEUE},
        )

    message = str(caught.value)
    for words in (
        "destinations.folder.verdict_queue means something for s3:// only",
        "destinations.folder.later_classes means something for s3:// only",
        "destinations.nameless.verdict_endpoint is the address of a queue that is not named",
        "destinations.name.verdict_queue must be the URL of a queue",
        "destinations.klass.later_classes.0 must be the name of a storage class",
        "the destinations one, other have one verdict_queue",
    ):
        assert words in message


def test_a_queue_of_secrets_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(archive={"url": "s3://a", "verdict_queue": "https://me:hushhush@h/1/q"})

    assert "hushhush" not in str(caught.value)
