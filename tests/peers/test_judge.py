"""The judge is judged: it names what was altered, lost, added or doubled, and nothing else."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mypy_boto3_s3 import S3Client

from tests.peers.compare import difference_in_child
from tests.peers.corpus import generated_archive
from tests.peers.judge import Finding, judge
from tests.peers.launch import MotoServer
from tests.peers.loading import Loaded, describe, read_truth, write_truth
from tests.peers.part10 import read_file_meta


@pytest.fixture(scope="module")
def store() -> Iterator[MotoServer]:
    with MotoServer() as running:
        yield running


@pytest.fixture(scope="module")
def truth() -> list[Loaded]:
    """Two small studies, as if a PACS had taken them."""
    archive = generated_archive(studies=3, mix="CT=1")
    records = [describe(path) for path in archive.files]
    return [dataclasses.replace(record, status=0) for record in records]


def _study_prefix(record: Loaded) -> str:
    spread = hashlib.sha256(record.study_instance_uid.encode()).hexdigest()[:2]
    return f"v1/main/{spread}/{record.study_instance_uid}/"


def _key(record: Loaded) -> str:
    return f"{_study_prefix(record)}{record.series_instance_uid}/{record.sop_instance_uid}.dcm"


def _fill(client: S3Client, bucket: str, truth: list[Loaded]) -> None:
    """Put every file and its manifest where a faultless migration would."""
    client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    studies: dict[str, list[Loaded]] = {}
    for record in truth:
        client.put_object(Bucket=bucket, Key=_key(record), Body=Path(record.path).read_bytes())
        studies.setdefault(_study_prefix(record), []).append(record)
    for prefix, records in studies.items():
        content = {
            "revision": 1,
            "previous_sha256": "",
            "instances": [_manifest_record(record) for record in records],
        }
        body = gzip.compress(json.dumps(content).encode())
        client.put_object(Bucket=bucket, Key=f"{prefix}manifest/1.json.gz", Body=body)


def _manifest_record(record: Loaded) -> dict[str, object]:
    content = Path(record.path).read_bytes()
    return {
        "location": {"key": _key(record)},
        "size_bytes": len(content),
        "file_sha256": hashlib.sha256(content).hexdigest(),
        "dataset_sha256": record.dataset_sha256,
        "transfer_syntax_uid": record.transfer_syntax_uid,
        "sop_class_uid": record.sop_class_uid,
    }


def test_a_faultless_bucket_is_clean(store: MotoServer, truth: list[Loaded]) -> None:
    client = store.client()
    _fill(client, "faultless", truth)

    verdict = judge(truth, client, "faultless")

    assert verdict.clean, verdict.table()
    assert verdict.counts[Finding.EQUAL_BYTES] == len(truth)
    assert verdict.studies_whole == verdict.studies_loaded == 3


def test_every_kind_of_fault_is_named(store: MotoServer, truth: list[Loaded]) -> None:
    client = store.client()
    _fill(client, "faulty", truth)
    altered, lost, doubled, moved, versioned = truth[:5]
    content = Path(altered.path).read_bytes()
    client.delete_object(Bucket="faulty", Key=_key(altered))
    client.put_object(Bucket="faulty", Key=_key(altered), Body=content[:-2] + b"\1\2")
    client.delete_object(Bucket="faulty", Key=_key(lost))
    twin = _key(doubled).replace(".dcm", "~0123456789abcdef.dcm")
    client.put_object(Bucket="faulty", Key=twin, Body=Path(doubled.path).read_bytes())
    client.put_object(Bucket="faulty", Key=_key(versioned), Body=Path(versioned.path).read_bytes())
    client.put_object(
        Bucket="faulty",
        Key=_key(moved).replace(moved.sop_instance_uid, "1.2.3"),
        Body=Path(moved.path).read_bytes(),
        Metadata={"who": "Walker^Somebody"},
    )
    client.create_multipart_upload(Bucket="faulty", Key="v1/main/open")

    verdict = judge(truth, client, "faulty")

    assert [each.file for each in verdict.named(Finding.DIFFERS)] == [altered.path]
    assert [each.file for each in verdict.named(Finding.MISSING)] == [lost.path]
    assert [each.key for each in verdict.named(Finding.TWICE)] == [twin]
    assert ["/1.2.3.dcm" in each.key for each in verdict.named(Finding.EXTRA)] == [True]
    assert verdict.counts[Finding.EQUAL_BYTES] == len(truth) - 2
    assert any("7FE0" in each.detail for each in verdict.named(Finding.DIFFERS))
    told = "\n".join(verdict.problems)
    for words in (
        "open multipart upload: v1/main/open",
        f"2 versions: {_key(versioned)}",
        f"names {_key(lost)}, which is not there",
        f"other digests or sizes than {_key(altered)}",
        f"no manifest names {twin}",
        "may hold patient data",
    ):
        assert words in told


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("no-gzip", lambda body: b"no gzip" + body),
        ("cut-short", lambda body: body[: len(body) // 2]),
        ("bit-flipped", lambda body: body[:40] + bytes([body[40] ^ 0xFF]) + body[41:]),
        ("no-json", lambda body: gzip.compress(b"<manifest/>")),
        ("a-list", lambda body: gzip.compress(b"[]")),
        ("no-instances", lambda body: gzip.compress(b'{"revision":1,"previous_sha256":""}')),
        (
            "no-digests",
            lambda body: gzip.compress(
                b'{"revision":1,"previous_sha256":"","instances":[{"location":{"key":"a"}}]}'
            ),
        ),
    ],
)
def test_a_damaged_manifest_fails_the_verdict_by_its_key(
    store: MotoServer, truth: list[Loaded], name: str, damage: Callable[[bytes], bytes]
) -> None:
    client = store.client()
    _fill(client, name, truth)
    key = f"{_study_prefix(truth[0])}manifest/1.json.gz"
    body = client.get_object(Bucket=name, Key=key)["Body"].read()
    client.delete_object(Bucket=name, Key=key)
    client.put_object(Bucket=name, Key=key, Body=damage(body))

    verdict = judge(truth, client, name)

    assert not verdict.clean
    told = [problem for problem in verdict.problems if problem.startswith("damaged manifest (")]
    assert [problem.endswith(f": {key}") for problem in told] == [True]
    assert f"no manifest names {_key(truth[0])}" in verdict.problems
    assert verdict.counts[Finding.EQUAL_BYTES] == len(truth)


def test_new_group_lengths_are_equal_elements(store: MotoServer, truth: list[Loaded]) -> None:
    client = store.client()
    _fill(client, "rewritten", truth)
    record = next(each for each in truth if each.transfer_syntax_uid == "1.2.840.10008.1.2.1")
    content = Path(record.path).read_bytes()
    start = read_file_meta(content).dataset_offset
    group_length = b"\x08\x00\x00\x00UL\x04\x00\x00\x01\x00\x00"
    client.put_object(
        Bucket="rewritten",
        Key=_key(record),
        Body=content[:start] + group_length + content[start:],
    )

    verdict = judge(truth, client, "rewritten")

    assert [each.file for each in verdict.differences] == [record.path]
    assert verdict.counts[Finding.EQUAL_ELEMENTS] == 1


def test_a_file_that_cannot_be_compared_ends_its_own_process_only(
    truth: list[Loaded], tmp_path: Path
) -> None:
    """Sequences nested deeper than pydicom can follow, in a comparison among others."""
    content = Path(truth[0].path).read_bytes()
    nested = tmp_path / "nested.dcm"
    opening = b"\x40\x00\x30\xa7SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    explicit = b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\0"
    nested.write_bytes(content[:132] + explicit + opening * 5000)

    assert "could not be compared" in difference_in_child(nested, nested)
    assert difference_in_child(Path(truth[0].path), Path(truth[0].path)) == ""


def test_a_truth_survives_its_file(truth: list[Loaded], tmp_path: Path) -> None:
    write_truth(truth, tmp_path / "truth.csv")

    assert read_truth(tmp_path / "truth.csv") == truth
