"""A multi-frame object far above every buffer: in parts, within the memory, killed, refused.

300 MB, and with CLOUDMIG_ACCEPTANCE=1 2 GB.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mypy_boto3_s3 import S3Client

from bench.archive import Area, Study, data_set_sha256, write_area
from tests.peers.launch import Dcmqrscp, MotoServer, free_ports
from tests.peers.migration import Equations, equations, lanes, run_cloudmig, write_configuration

ACCEPTANCE = os.environ.get("CLOUDMIG_ACCEPTANCE") == "1"
SAMPLE = os.environ.get("CLOUDMIG_SAMPLE") == "1" and not ACCEPTANCE
#: 2 MiB a frame.
FRAMES = 1024 if ACCEPTANCE else 150
TIME_MAX_S = 900.0 if ACCEPTANCE else 240.0
RSS_MAX_MB = 400
SMALL_STUDIES = 3


@dataclass(frozen=True)
class Archive:
    """A PACS with one large object, some small studies, and a store."""

    pacs: Dcmqrscp
    store: MotoServer
    large: Study

    def client(self) -> S3Client:
        return self.store.client()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    folder = tmp_path_factory.mktemp("pacs")
    port = free_ports(1)[0]
    area = Area("LARGE", 1, 1, rows=1024, columns=1024, frames=FRAMES)
    [large] = write_area(area, folder / "db")
    with Dcmqrscp(lanes(["CLOUDMIG"], port), profile="nodelay", folder=folder) as pacs:
        small = folder / "small"
        studies = write_area(Area("SMALL", SMALL_STUDIES, 2, rows=64, columns=64), small)
        assert len(studies) == SMALL_STUDIES
        send(pacs, sorted(small.rglob("*.dcm")))
        with MotoServer() as store:
            yield Archive(pacs, store, large)
    for path in (folder / "db").rglob("*.dcm"):
        path.unlink()


def send(pacs: Dcmqrscp, files: list[Path]) -> None:
    command = ["/usr/bin/storescu", "-aec", pacs.ae_title, pacs.host, str(pacs.port)]
    subprocess.run([*command, *map(str, files)], check=True, capture_output=True, timeout=60)


def prepare(archive: Archive, folder: Path, bucket: str, *, retrieve: str, agent: str = "") -> Path:
    """Make a bucket and a planned catalog; `agent` is further settings of that section."""
    archive.client().create_bucket(Bucket=bucket)
    path = write_configuration(folder, {"main": archive.pacs}, retrieve, archive.store, bucket)
    path.write_text(path.read_text().replace("[agent]", f"[agent]\n{agent}", 1))
    for words in ("inventory", "plan"):
        assert run_cloudmig(path, words, time_max_s=60).exit_code == 0
    return path


@dataclass(frozen=True)
class Watched:
    """One command that was looked at from outside while it ran."""

    exit_code: int
    printed: str
    peak_rss_mb: float
    killed: bool


def watch(configuration: Path, *words: str, kill_when: Callable[[], bool] | None = None) -> Watched:
    """Run a command in a child and note its VmHWM; kill -9 as soon as the condition holds."""
    command = [sys.executable, "-m", "cloudmig", "--config", str(configuration), *words, "--json"]
    log = configuration.with_name(f"{words[0]}.log")
    peak_kb, killed = 0, False
    with log.open("wb") as lines:
        child = subprocess.Popen(command, stdout=lines, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + TIME_MAX_S
    try:
        while child.poll() is None:
            assert time.monotonic() < deadline, f"still running: {log.read_text()[-1000:]}"
            with suppress(OSError):  # It ended while we looked.
                status = Path(f"/proc/{child.pid}/status").read_text().splitlines()
                found = [line.split()[1] for line in status if line.startswith("VmHWM:")]
                peak_kb = max([peak_kb, *map(int, found)])
            if kill_when is not None and kill_when():
                child.kill()
                killed = True
            with suppress(subprocess.TimeoutExpired):
                child.wait(0.05)
    finally:
        child.kill()
        child.wait()
    return Watched(child.returncode, log.read_text(), peak_kb / 1024, killed)


def close(configuration: Path) -> Equations:
    return equations(run_cloudmig(configuration, "close", time_max_s=60))


def open_uploads(client: S3Client, bucket: str) -> list[Any]:
    return list(client.list_multipart_uploads(Bucket=bucket).get("Uploads", []))


def large_objects(client: S3Client, bucket: str) -> list[dict[str, Any]]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return [
        dict(each) for page in pages for each in page.get("Contents", []) if each["Size"] > 1 << 27
    ]


def held_digest(client: S3Client, bucket: str, key: str, folder: Path) -> bytes:
    """Return the digest of what the store gives back, by code that is not cloudmig's."""
    path = folder / "held.dcm"
    client.download_file(bucket, key, str(path))
    try:
        return data_set_sha256(path)
    finally:
        path.unlink()


@pytest.mark.timeout(4 * TIME_MAX_S)
@pytest.mark.parametrize("retrieve", ["c-move"] if SAMPLE else ["c-move", "c-get"])
def test_a_large_object_goes_up_in_parts_within_the_memory(
    archive: Archive, tmp_path: Path, retrieve: str
) -> None:
    client = archive.client()
    configuration = prepare(archive, tmp_path, retrieve, retrieve=retrieve)

    ran = watch(configuration, "run")
    verified = watch(configuration, "verify")

    print(f"peak RSS: run {ran.peak_rss_mb:.0f} MB, verify {verified.peak_rss_mb:.0f} MB")
    assert ran.exit_code == 0, ran.printed[-2000:]
    assert verified.exit_code == 0, verified.printed[-2000:]
    assert ran.peak_rss_mb < RSS_MAX_MB
    assert verified.peak_rss_mb < RSS_MAX_MB
    told = json.loads(verified.printed)
    assert told["agreed"] == told["copies"] == SMALL_STUDIES + 1
    assert told["how"] == {"READ_BACK": SMALL_STUDIES + 1}
    assert close(configuration).instances.verified == 1 + 2 * SMALL_STUDIES
    [found] = large_objects(client, retrieve)
    assert client.head_object(Bucket=retrieve, Key=found["Key"], PartNumber=1)["PartsCount"] > 1
    assert {held_digest(client, retrieve, found["Key"], tmp_path)} == archive.large.data_set_sha256s
    assert not open_uploads(client, retrieve)


@pytest.mark.timeout(4 * TIME_MAX_S)
def test_killed_in_the_middle_of_an_upload_nothing_is_left_open(
    archive: Archive, tmp_path: Path
) -> None:
    client = archive.client()
    configuration = prepare(archive, tmp_path, "killed", retrieve="c-move")
    spool = tmp_path / "state/spool"

    first = watch(configuration, "run", kill_when=lambda: bool(open_uploads(client, "killed")))
    left = len(open_uploads(client, "killed")), len(list(spool.iterdir()))
    again = watch(configuration, "run")

    assert first.killed
    assert left == (1, 1), "killed in the middle: one upload open, one file in the spool"
    assert again.exit_code == 0, again.printed[-2000:]
    assert not open_uploads(client, "killed")
    assert not list(spool.iterdir())
    [found] = large_objects(client, "killed")
    assert {held_digest(client, "killed", found["Key"], tmp_path)} == archive.large.data_set_sha256s
    assert run_cloudmig(configuration, "verify", time_max_s=TIME_MAX_S).exit_code == 0
    assert close(configuration).closed


@pytest.mark.timeout(4 * TIME_MAX_S)
@pytest.mark.parametrize("retrieve", ["c-get"] if SAMPLE else ["c-move", "c-get"])
def test_a_spool_too_small_refuses_the_large_object_alone_and_says_why(
    archive: Archive, tmp_path: Path, retrieve: str
) -> None:
    bucket = f"small-{retrieve}"
    configuration = prepare(
        archive, tmp_path, bucket, retrieve=retrieve,
        agent='spool_bytes_max = "64 MiB"\nmemory_bytes_max = "64 MiB"\nbackoff_s = 0.1',
    )  # fmt: skip

    ran = watch(configuration, "run")
    listed = run_cloudmig(configuration, "quarantine", "list", time_max_s=60).document
    verified = run_cloudmig(configuration, "verify", time_max_s=60)
    closing = close(configuration)

    print(ran.printed, listed)
    assert ran.exit_code == 1, ran.printed[-2000:]
    assert closing.quarantine == {"too_large": 1}
    assert "larger than the configured limit" in json.dumps(listed)
    assert verified.exit_code == 0
    assert closing.studies.adds_up
    assert closing.studies.verified == SMALL_STUDIES
    assert closing.studies.quarantined == 1
    assert closing.instances.adds_up
    assert not large_objects(archive.client(), bucket)
    assert not list((tmp_path / "state/spool").iterdir())
