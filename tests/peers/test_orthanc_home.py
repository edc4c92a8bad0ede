"""The judge of an Orthanc is judged: what it lost, altered or was given too much is named."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.corpus import generated_archive
from tests.peers.judge import Finding, judge_home
from tests.peers.launch import MotoServer, OrthancStore
from tests.peers.loading import Loaded, describe
from tests.peers.orthanc_home import OrthancHome


@pytest.fixture
def truth() -> list[Loaded]:
    archive = generated_archive(studies=3, mix="CT=1")
    return [dataclasses.replace(describe(path), status=0) for path in archive.files[:6]]


@pytest.fixture
def home() -> Iterator[OrthancHome]:
    with MotoServer() as bucket, OrthancStore() as orthanc:
        bucket.client().create_bucket(Bucket="images")
        yield OrthancHome(
            orthanc=orthanc,
            archive="main",
            evidence_client=bucket.client(),
            evidence_bucket="images",
            evidence_prefix="evidence/viewer/",
        )


def test_what_is_lost_altered_and_too_much_is_named(home: OrthancHome, truth: list[Loaded]) -> None:
    for each in truth:
        home.orthanc.get("instances", Path(each.path).read_bytes())
    _write_manifests(home, truth)
    assert judge_home(truth, home).clean

    lost, altered, *_, stranger = truth
    content = Path(altered.path).read_bytes()
    for each in (lost, altered):
        [number] = home.instances(each.sop_instance_uid)
        home.orthanc.delete(f"instances/{number}")
    home.orthanc.get("instances", content[:-2] + b"\1\2")
    verdict = judge_home(truth[:-1], home)

    assert [each.file for each in verdict.named(Finding.MISSING)] == [lost.path]
    assert [each.file for each in verdict.named(Finding.DIFFERS)] == [altered.path]
    assert stranger.sop_instance_uid in verdict.named(Finding.EXTRA)[0].key
    assert verdict.counts[Finding.EQUAL_BYTES] == len(truth) - 3
    assert sum("which is not there" in each for each in verdict.problems) == 1
    assert sum("has other digests or sizes" in each for each in verdict.problems) == 1


def _write_manifests(home: OrthancHome, truth: list[Loaded]) -> None:
    studies: dict[str, list[dict[str, object]]] = {}
    for each in truth:
        spread = hashlib.sha256(each.study_instance_uid.encode()).hexdigest()[:2]
        prefix = f"v1/main/{spread}/{each.study_instance_uid}/"
        content = Path(each.path).read_bytes()
        key = f"{prefix}{each.series_instance_uid}/{each.sop_instance_uid}.dcm"
        record: dict[str, object] = {
            "location": {"key": key},
            "size_bytes": len(content),
            "file_sha256": hashlib.sha256(content).hexdigest(),
            "dataset_sha256": each.dataset_sha256,
            "transfer_syntax_uid": each.transfer_syntax_uid,
            "sop_class_uid": each.sop_class_uid,
        }
        studies.setdefault(prefix, []).append(record)
    for prefix, records in studies.items():
        body = json.dumps({"revision": 1, "previous_sha256": "", "instances": records})
        home.evidence_client.put_object(
            Bucket=home.evidence_bucket,
            Key=f"{home.evidence_prefix}{prefix}manifest/1.json.gz",
            Body=gzip.compress(body.encode()),
        )
