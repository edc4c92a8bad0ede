"""Raw samples: what is written is read, equal ones make equal bytes, nothing else is believed."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from pathlib import Path

import pytest

from cloudmig.cloud.retrieval_samples import (
    SCHEMA,
    RetrievalSample,
    SamplesUnreadable,
    decode_samples,
    encode_samples,
    samples_key,
)
from cloudmig.messages import RestoreReport

GOLDEN = Path(__file__).parents[1] / "golden" / "retrieval-samples.jsonl"
AT = "2026-11-22T09:00:00.000Z"
SAMPLES = [
    RetrievalSample(
        at=AT, probe=AT, how="bucket", tier="STANDARD", outcome="read",
        stratum="STANDARD|2020|CT|M", study="st-0123456789ab", instances=3, size_bytes=1_500_000,
        first_byte_s=0.01, first_instance_s=0.0, study_s=1.25,
    ),
    RetrievalSample(at=AT, probe=AT, how="bucket", tier="GLACIER", outcome="cold", promised_s=18e3),
    RetrievalSample(
        at=AT, probe=AT, how="dicomweb", tier="DICOMWEB", outcome="failed", cause="HTTP503"
    ),
]  # fmt: skip


def test_what_is_written_is_read() -> None:
    assert decode_samples(encode_samples(SAMPLES)) == SAMPLES
    assert decode_samples(encode_samples([])) == []


def test_version_1_is_as_pinned() -> None:
    """Kept samples are read for years: a line of this file must always mean the same."""
    lines = GOLDEN.read_text(encoding="ascii")

    assert gzip.decompress(encode_samples(SAMPLES)).decode() == lines
    assert decode_samples(gzip.compress(lines.encode())) == SAMPLES


def test_equal_samples_make_equal_bytes_and_lie_under_one_key() -> None:
    body = encode_samples(SAMPLES)
    at = dt.datetime(2026, 11, 22, 9, 0, 5, tzinfo=dt.UTC)

    assert body == encode_samples(SAMPLES)
    assert samples_key("sla/", at, body).startswith("sla/2026/11/22/090005-probe-")
    assert samples_key("sla/", at, body) != samples_key("sla/", at, encode_samples(SAMPLES[:1]))


def test_every_line_names_its_schema() -> None:
    lines = gzip.decompress(encode_samples(SAMPLES)).decode().splitlines()

    assert [json.loads(line)["schema"] for line in lines] == [SCHEMA] * 3


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "cloudmig/retrieval-sample/2"},
        {"first_byte_s": "0.1"},
        {"first_byte_s": True},
        {"outcome": "splendid"},
        {"how": "guessed"},
        {"at": "yesterday"},
        {"at": "2026-11-22T09:00:00"},
        {"patient": "x"},
    ],
)
def test_a_line_that_is_no_sample_is_refused(change: dict[str, object]) -> None:
    line = json.loads(gzip.decompress(encode_samples(SAMPLES[:1])))
    body = gzip.compress((json.dumps(line | change) + "\n").encode())

    with pytest.raises(SamplesUnreadable):
        decode_samples(body)


@pytest.mark.parametrize(
    "body",
    [b"", b"x", gzip.compress(b"["), gzip.compress(b"[]")[:-3]],
    ids=["nothing", "no gzip", "no JSON", "torn"],
)
def test_bytes_that_hold_no_lines_are_refused(body: bytes) -> None:
    with pytest.raises(SamplesUnreadable):
        decode_samples(body)


def test_a_finished_restore_is_a_sample() -> None:
    report = RestoreReport(
        bucket="images", prefix="", key="v1/main/0a/1.2.3/4/5.dcm", storage_class="DEEP_ARCHIVE",
        tier="Bulk", asked_at="2026-11-22T01:00:00Z", completed_at=AT, promised_s=172800,
        took_s=28800,
    )  # fmt: skip

    sample = RetrievalSample.of_restore(report, study="st-1")

    assert (sample.tier, sample.outcome) == ("DEEP_ARCHIVE", "restored")
    assert (sample.restore_s, sample.promised_s) == (28800, 172800)
    assert decode_samples(encode_samples([sample])) == [sample]
