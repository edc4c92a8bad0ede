"""What may write to a queue may write anything: nothing of it reaches the catalog unchecked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloudmig.agent.verdict_reading import Addresses, read_word
from cloudmig.config import parse
from cloudmig.messages import (
    Message,
    MessageUnreadable,
    ObjectFinding,
    ObjectVerdict,
    RestoreReport,
    StudyRequest,
    StudyVerdict,
    encode,
)

FINDING = ObjectFinding(finding="altered", key="v1/a", sop_instance_uid="1.2.3", etag="e")
STUDY = StudyVerdict(
    bucket="images", prefix="", archive="main", study_instance_uid="1.2", manifest_key="v1/m",
    manifest_sha256="a" * 64, manifest_revision=1, agreed=True, instances=2, differing=0,
    how="STREAMED", at="2026-03-01T00:00:00.000001Z",
)  # fmt: skip
BAD = replace(STUDY, agreed=False, differing=1, findings=(FINDING,))
OBJECT = ObjectVerdict(
    bucket="images", prefix="", key="v1/a", archive="main", study_instance_uid="1.2",
    series_instance_uid="1.2.1", sop_instance_uid="1.2.3", finding="altered", how="STREAMED",
    at="2026-03-01T00:00:00Z",
)  # fmt: skip
RESTORE = RestoreReport(
    bucket="images", prefix="", key="v1/a", storage_class="GLACIER", tier="Bulk",
    asked_at="2026-03-01T00:00:00Z", completed_at="", promised_s=1.0,
)  # fmt: skip


@pytest.mark.parametrize("word", [STUDY, BAD, OBJECT, RESTORE], ids=lambda each: each.SCHEMA)
def test_what_a_function_writes_is_read(word: Message) -> None:
    assert type(read_word(encode(word))) is type(word)


def test_a_strangers_key_may_hold_anything_and_its_verdict_counts() -> None:
    said = replace(BAD, findings=(replace(FINDING, key="v1/\x1b[2J\u202e\n\x7f"),))

    assert isinstance(read_word(encode(said)), StudyVerdict)


def test_what_could_not_be_decided_is_no_contradiction() -> None:
    undecided = replace(STUDY, agreed=False, how="UNDECIDED")

    assert read_word(encode(undecided)) == undecided


@pytest.mark.parametrize("version_id", [None, "", "null"])
@pytest.mark.parametrize("etag", ["e", '"e"'])
def test_versions_and_etags_are_as_a_store_writes_them(version_id: str | None, etag: str) -> None:
    said = replace(BAD, findings=(replace(FINDING, version_id=version_id, etag=etag),))

    read = read_word(encode(said))

    assert isinstance(read, StudyVerdict)
    assert (read.findings[0].version_id, read.findings[0].etag) == (None, '"e"')


@pytest.mark.parametrize(
    "word",
    [
        replace(STUDY, differing=1),
        replace(BAD, agreed=True),
        replace(BAD, differing=0),
        replace(BAD, findings=()),
        replace(BAD, findings=(FINDING, FINDING)),
        replace(BAD, findings=(replace(FINDING, finding=""),)),
        replace(BAD, findings=(replace(FINDING, key="k" * 1025),)),
        replace(BAD, findings=(replace(FINDING, key="k\x00"),)),
        replace(BAD, findings=(replace(FINDING, key="\U0001f480" * 257),)),
        replace(BAD, findings=(replace(FINDING, key="\ud800"),)),
        replace(BAD, findings=(replace(FINDING, etag="e\n"),)),
        replace(BAD, findings=(replace(FINDING, sop_instance_uid="../x"),)),
        replace(STUDY, study_instance_uid=""),
        replace(STUDY, study_instance_uid="1.2.CANARY"),
        replace(STUDY, manifest_sha256="A" * 64),
        replace(STUDY, manifest_revision=0),
        replace(STUDY, manifest_revision=1 << 40),
        replace(STUDY, at="2026-03-01T00:00:00"),
        replace(STUDY, at="now"),
        replace(OBJECT, etag="e" * 300),
        replace(OBJECT, at=""),
        replace(RESTORE, completed_at="soon"),
        StudyRequest(
            bucket="b", prefix="", archive="main", study_instance_uid="1.2", why="asked",
            at="2026-03-01T00:00:00Z",
        ),
    ],
)  # fmt: skip
def test_what_no_catalog_could_hold_is_left_for_the_dead_letters(word: Message) -> None:
    with pytest.raises(MessageUnreadable) as caught:
        read_word(encode(word))

    assert "CANARY" not in str(caught.value)


def test_a_store_is_known_by_bucket_and_prefix() -> None:
    queue = "https://sqs.eu-central-1.amazonaws.com/1/q"
    source = {"archive": "main-1", "host": "h", "port": 104, "aet": "PACS"}
    config = parse({
        "sources": {"main": source},
        "destinations": {
            "archive": {"url": "s3://images/some/prefix", "verdict_queue": queue},
            "second": {"url": "s3://images", "verdict_queue": queue},
            "silent": {"url": "s3://others"},
        },
        "rules": [{"name": "all", "copy_to": ["archive"]}],
    })  # fmt: skip
    addresses = Addresses.of(config, ("archive", "second"))

    assert addresses.destination(replace(STUDY, prefix="some/prefix/")) == "archive"
    assert addresses.destination(STUDY) == "second"
    assert addresses.destination(replace(STUDY, prefix="some/")) == ""
    assert addresses.destination(replace(STUDY, bucket="others")) == ""
    assert (addresses.source("main-1"), addresses.source("main")) == ("main", "")
