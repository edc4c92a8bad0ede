"""A canary patient goes through every command at the loudest log level and leaves no trace.

The catalog and the bytes of the images hold it; nothing else may (design section 8).
"""

from __future__ import annotations

import gzip
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from cloudmig.demo.oddities import conflicting, garbage, renamed, two_patients
from cloudmig.demo.pacs import Fault, Script
from cloudmig.demo.studies import Patient, Study
from cloudmig.messages import ObjectVerdict, encode
from tests.contract.moto_bucket import moto_endpoint
from tests.integration.migration_world import World, a_study, free_port
from tests.peers.launch.moto import s3_client

#: Whatever of these shows up was patient data: name, ID, birth date, accession number, description.
CANARIES = ("CANARY", "NAME^OTHER", "19010203", "QQACCESSION")
_PATTERN = re.compile("|".join(map(re.escape, CANARIES)).encode(), re.IGNORECASE)
_PATIENT = Patient("CANARY^NAME", "CANARYID1", "19010203", "O")


def _of_the_canary(study: Study) -> Study:
    return replace(
        study, patient=_PATIENT, accession_number="QQACCESSION1", description="CANARY DESCRIPTION",
        study_id="CANARYSID",
    )  # fmt: skip


def _words() -> list[str]:
    """What a stranger with a pen could put into the verdict queue, or into the bucket."""
    stranger = ObjectVerdict(
        bucket="images", prefix="", key="v1/main/CANARY^NAME/19010203.dcm", archive="main",
        study_instance_uid="", series_instance_uid="", sop_instance_uid="", finding="stranger",
        how="STREAMED", at="2026-03-01T00:00:00Z", etag="CANARY",
    )  # fmt: skip
    return [
        "CANARY^NAME", encode(stranger), encode(replace(stranger, bucket="CANARY")),
        encode(replace(stranger, archive="CANARY", finding="CANARY^NAME")),
        encode(replace(stranger, study_instance_uid="CANARY")),
        encode(replace(stranger, at="CANARY^NAME")),
    ]  # fmt: skip


_WORDS = _words()


def _archive() -> list[Study]:
    made = [_of_the_canary(a_study(number)) for number in range(1, 8)]
    return [
        made[0],
        conflicting(made[1]),
        garbage(made[2]),
        renamed(made[3], sop_instance_uid="../CANARY/NAME"),
        *two_patients(made[4]),
        replace(made[5], study_date="CANARYDT"),
        made[6],
    ]


@dataclass
class Traces:
    """Everything the commands wrote."""

    world: World
    said: list[tuple[str, bytes]] = field(default_factory=list)

    def run(self, *words: str, config: Path | None = None) -> int:
        done = subprocess.run(
            [sys.executable, "-m", "cloudmig", "--config", str(config or self.world.config),
             *words],
            capture_output=True, timeout=100, check=False, cwd=self.world.folder,
            env={**os.environ, "COLUMNS": "200"},
        )  # fmt: skip
        self.said.append((" ".join(words), done.stdout + done.stderr))
        return done.returncode

    def both(self, *words: str) -> None:
        for more in ((), ("--json",)):
            code = self.run(*words, "--log-level", "debug", *more)
            assert code in {0, 1, 3}, self.said[-1]


@pytest.fixture
def bucket() -> Iterator[dict[str, Any]]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with moto_endpoint() as endpoint:
        s3_client(endpoint, "testing", "testing").create_bucket(Bucket="images")
        sqs: Any = boto3.client(
            "sqs", endpoint_url=endpoint, region_name="us-east-1",
            aws_access_key_id="testing", aws_secret_access_key="testing",
        )  # fmt: skip
        queue = sqs.create_queue(QueueName="verdicts")["QueueUrl"]
        for body in _WORDS:
            sqs.send_message(QueueUrl=queue, MessageBody=body)
        yield {
            "url": "s3://images", "endpoint": endpoint, "profile": "moto",
            "access_key_id": "testing", "secret_access_key": "testing",
            "verdict_queue": queue, "verdict_endpoint": endpoint,
        }  # fmt: skip


@pytest.mark.timeout(300)
def test_no_command_leaves_a_trace_of_a_patient(bucket: dict[str, Any], tmp_path: Path) -> None:
    studies = _archive()
    lost = studies[0].instances()[1].sop_instance_uid
    script = Script(
        missing=frozenset({lost}),
        fault=Fault.ABORT,
        fault_at_store=2,
        fault_studies=frozenset({studies[-1].study_instance_uid}),
    )
    world = World(
        tmp_path, studies, script, "auto", {"destinations.store": {"attempts_max": 1}},
        destinations={"store": bucket},
    )  # fmt: skip
    traces = Traces(world)
    with world.serving():
        traces.both("inventory")
        traces.both("plan")
        traces.both("plan", "--explain", studies[1].study_instance_uid)
        traces.both("run")
        traces.both("verify")
        traces.both("verdicts")
        traces.both("verify", "--as-cloud", "--again")
        traces.both("sla", "probe", "--samples", "2")
        traces.both("sla", "report")
        traces.both("doctor")
        traces.both("status")
        traces.both("quarantine", "list")
        for study in studies[:4]:
            traces.run("quarantine", "show", study.study_instance_uid, "--log-level", "debug")
        traces.both("close")
        _provoke(traces)

    quarantined = world.quarantined()
    assert len(quarantined) >= 4, "the errors were provoked"
    for words, said in traces.said:
        assert not _PATTERN.search(said), f"{words}: {_PATTERN.search(said)}"
    _look_into_files(tmp_path)
    _look_into_the_bucket(bucket)


def _provoke(traces: Traces) -> None:
    """Run into a dead PACS, a dead store, a missing bucket, a bad configuration."""
    text = traces.world.config.read_text()
    dead_pacs = (f"port = {traces.world.pacs.port}", f"port = {free_port()}")
    changes: Sequence[tuple[tuple[str, str], Sequence[str]]] = (
        (('url = "s3://images"', 'url = "s3://no-such-bucket"'), ("verify", "--again")),
        (('url = "s3://images"', 'url = "s3://no-such-bucket"'), ("run",)),
        (dead_pacs, ("inventory",)),
        (dead_pacs, ("doctor",)),
        (("[listen]", "[lisen]"), ("plan",)),
    )
    for (old, new), words in changes:
        assert old in text
        config = traces.world.folder / "bad.toml"
        config.write_text(text.replace(old, new, 1))
        assert traces.run(*words, "--log-level", "debug", config=config) != 0 or words == ("run",)
        config.unlink()


def _look_into_files(folder: Path) -> None:
    """Names of all files; contents of all but the catalog."""
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder)).encode()
        assert not _PATTERN.search(name), name
        if path.is_file() and not path.name.startswith("catalog.db"):
            assert not _PATTERN.search(path.read_bytes()), path


def _look_into_the_bucket(bucket: dict[str, Any]) -> None:
    client = s3_client(bucket["endpoint"], "testing", "testing")
    keys = [each["Key"] for each in client.list_objects_v2(Bucket="images").get("Contents", [])]
    assert keys
    found_in_images = 0
    for key in keys:
        answer = client.get_object(Bucket="images", Key=key)
        headers = json.dumps([answer["Metadata"], answer["ResponseMetadata"]["HTTPHeaders"]])
        assert not _PATTERN.search(key.encode()), key
        assert not _PATTERN.search(headers.encode()), key
        body = answer["Body"].read()
        if ".dcm" in key:
            found_in_images += bool(_PATTERN.search(body))
        else:
            assert not _PATTERN.search(gzip.decompress(body)), key
    assert found_in_images, "the canary sings where it may"
