"""Messages between agent and functions: what is written is read, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cloudmig.messages import (
    FINDINGS_MAX,
    Message,
    MessageUnreadable,
    ObjectFinding,
    ObjectVerdict,
    RestoreReport,
    StudyRequest,
    StudyVerdict,
    decode,
    encode,
)

GOLDEN = Path(__file__).parents[1] / "golden/messages.jsonl"
AT = "2026-11-22T09:00:00Z"
FINDING = ObjectFinding(
    finding="altered", key="v1/main/0a/1.2.3/1.2.3.4/1.2.3.4.5.dcm", sop_instance_uid="1.2.3.4.5",
    version_id="v2", etag='"abc"',
)  # fmt: skip
MESSAGES: list[Message] = [
    ObjectVerdict(
        bucket="images", prefix="", key=FINDING.key, archive="main", study_instance_uid="1.2.3",
        series_instance_uid="1.2.3.4", sop_instance_uid="1.2.3.4.5", finding="altered",
        how="STREAMED", at=AT, version_id="v2", etag='"abc"', size_bytes=525_000,
        file_sha256="0" * 64, dataset_sha256="1" * 64, storage_class="STANDARD_IA",
    ),
    StudyVerdict(
        bucket="images", prefix="some/prefix/", archive="main", study_instance_uid="1.2.3",
        manifest_key="v1/main/0a/1.2.3/manifest/1.json.gz", manifest_sha256="2" * 64,
        manifest_revision=1, agreed=False, instances=200, differing=1, how="STORE_CHECKSUM",
        at=AT, findings=(FINDING,),
    ),
    StudyRequest(
        bucket="images", prefix="", archive="main", study_instance_uid="1.2.3",
        why="object changed", at=AT,
    ),
    RestoreReport(
        bucket="images", prefix="", key=FINDING.key, storage_class="DEEP_ARCHIVE", tier="Bulk",
        asked_at=AT, completed_at="2026-11-23T20:00:00Z", promised_s=172_800.0, took_s=126_000.0,
    ),
]  # fmt: skip


@pytest.mark.parametrize("message", MESSAGES, ids=lambda each: type(each).__name__)
def test_what_is_written_is_read(message: Message) -> None:
    assert decode(encode(message)) == message


def test_messages_are_those_of_version_one() -> None:
    assert [encode(each) for each in MESSAGES] == GOLDEN.read_text().splitlines()


@pytest.mark.parametrize("message", MESSAGES, ids=lambda each: type(each).__name__)
def test_a_message_of_another_version_is_not_guessed_at(message: Message) -> None:
    content = json.loads(encode(message))
    content["schema"] = content["schema"].removesuffix("1") + "2"
    with pytest.raises(MessageUnreadable, match="version"):
        decode(json.dumps(content))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{}", '{"schema": []}', "[" * 100_000, '{"schema": 1}', "x" * 300_000],
)
def test_what_is_no_message_is_refused(text: str) -> None:
    with pytest.raises(MessageUnreadable):
        decode(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [("agreed", 1), ("agreed", "yes"), ("instances", True), ("instances", "1"), ("bucket", None),
     ("findings", "abc"), ("findings", [{"finding": 1, "key": "k"}]), ("findings", None),
     ("surprise", 1)],
)  # fmt: skip
def test_a_value_of_another_type_is_refused(name: str, value: object) -> None:
    content = json.loads(encode(MESSAGES[1])) | {name: value}
    with pytest.raises(MessageUnreadable):
        decode(json.dumps(content))


def test_as_many_findings_as_one_message_names_fit_into_a_queue() -> None:
    uid = "2.25." + "9" * 59
    longest = ObjectFinding(
        finding="f" * 32, key=f"v1/{'a' * 63}/ff/{uid}/{uid}/{uid}~{'f' * 16}.dcm~r2",
        sop_instance_uid=uid, version_id="v" * 64, etag='"' + "e" * 40 + '"',
    )  # fmt: skip
    content = json.loads(encode(MESSAGES[1]))
    del content["schema"]
    message = StudyVerdict(**content | {"findings": (longest,) * FINDINGS_MAX})
    assert len(encode(message)) < 256 * 1024
