"""What somebody does who has only the README: from `init` to `close`, with an unedited file.

What is printed is shown (`pytest -s`): it should read well to a stranger.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest
from mypy_boto3_s3 import S3Client
from pydicom.uid import UID

from cloudmig.demo.studies import StudyMaker
from tests.peers.judge import Finding, judge
from tests.peers.launch import (
    Dcmqrscp,
    MotoServer,
    Orthanc,
    OrthancStore,
    PixelMed,
    Swift,
    free_ports,
)
from tests.peers.loading import Loaded, load
from tests.peers.migration import lanes

PEERS: Mapping[str, Any] = {
    "dcmqrscp": lambda lanes: Dcmqrscp(lanes, profile="stock"),
    "orthanc": Orthanc,
    "pixelmed": PixelMed,
}
COMMAND_TIME_MAX_S = 120.0


class Bucket(Protocol):
    """Where a store listens, and with which credentials."""

    endpoint: str
    access_key_id: str
    secret_access_key: str

    def client(self) -> S3Client: ...


class Stranger:
    """Somebody at a terminal in an empty folder; the store's credentials are in the environment."""

    def __init__(self, folder: Path, store: Bucket) -> None:
        self.folder = folder
        self._environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": store.access_key_id,
            "AWS_SECRET_ACCESS_KEY": store.secret_access_key,
            "COLUMNS": "100",
        }

    def types(self, *words: str, expect: int = 0) -> str:
        """Run one command, show what it prints, and return that."""
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "cloudmig", *words],
            cwd=self.folder, env=self._environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False, timeout=COMMAND_TIME_MAX_S,
        )  # fmt: skip
        seconds = time.monotonic() - began
        print(f"\n$ cloudmig {' '.join(words)}\n{done.stdout}{done.stderr}", end="")
        print(f"[exit code {done.returncode} after {seconds:.1f} s]")
        assert done.returncode == expect, done.stderr[-2000:] + done.stdout[-2000:]
        return done.stdout

    def asks(self, *words: str, expect: int = 0) -> Any:  # noqa: ANN401 - it is JSON
        """Run one command with --json and return its document, or its last line's."""
        printed = self.types(*words, "--json", expect=expect)
        try:
            return json.loads(printed)
        except ValueError:
            return json.loads(printed.strip().splitlines()[-1])


def made_up_files(folder: Path, studies: int) -> list[Path]:
    """Write small uncompressed studies: a stock dcmqrscp takes no others."""
    maker = StudyMaker(dt.date(2026, 1, 1), instances_per_series_max=6)
    written: list[Path] = []
    number = 0
    while studies:
        study = maker.study(number)
        number += 1
        if any(UID(series.transfer_syntax_uid).is_compressed for series in study.series):
            continue
        studies -= 1
        for count, instance in enumerate(study.instances()):
            path = folder / f"{number:03}-{count:03}.dcm"
            path.write_bytes(instance.part10())
            written.append(path)
    return written


@pytest.fixture
def running() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def a_pacs(running: ExitStack, name: str, tmp_path: Path, port: int) -> tuple[Any, list[Loaded]]:
    """Start a PACS that has our AE title in its table, and load some studies into it."""
    files = tmp_path / "files"
    files.mkdir()
    pacs = running.enter_context(PEERS[name](lanes(["CLOUDMIG"], port)))
    return pacs, load(pacs, made_up_files(files, studies=6))


def a_store(running: ExitStack, kind: type[MotoServer | Swift]) -> MotoServer | Swift:
    store = running.enter_context(kind())
    store.client().create_bucket(Bucket="images")
    return store


def init_words(pacs: Any, store: Bucket, port: int) -> list[str]:  # noqa: ANN401
    return [
        "init", "--pacs", f"{pacs.host}:{pacs.port}", "--aet", pacs.ae_title,
        "--bucket", "s3://images", "--endpoint", store.endpoint, "--listen-port", str(port),
    ]  # fmt: skip


@pytest.mark.timeout(300)
@pytest.mark.parametrize("as_json", [False, True], ids=["words", "json"])
def test_a_stranger_migrates_from_a_stock_dcmqrscp_into_a_bucket(
    running: ExitStack, tmp_path: Path, as_json: bool
) -> None:
    (port,) = free_ports(1)
    pacs, truth = a_pacs(running, "dcmqrscp", tmp_path, port)
    store = a_store(running, MotoServer)
    home = tmp_path / "home"
    home.mkdir()
    stranger = Stranger(home, store)

    if as_json:
        assert stranger.asks(*init_words(pacs, store, port))["source_answers"] is True
        assert stranger.asks("doctor")["healthy"] is True
        [inventory] = stranger.asks("inventory")["inventories"]
        assert inventory["studies"] == 6
        assert stranger.asks("plan")["planned"] == 6
        assert stranger.asks("run")["studies_stored"] == 6
        assert stranger.asks("verify")["failed"] == 0
        assert stranger.asks("close")["closed"] is True
        assert stranger.asks("close")["closed"] is True, "closing again is no mistake"
    else:
        assert "Next:" in stranger.types(*init_words(pacs, store, port))
        assert "Healthy" in stranger.types("doctor")
        assert "6 studies" in stranger.types("inventory")
        assert "6 planned" in stranger.types("plan")
        stranger.types("run")
        assert "6 copies" in stranger.types("verify")
        stranger.types("status")
        assert "nothing unexplained" in stranger.types("close")

    verdict = judge(truth, store.client(), "images")
    # A stock dcmqrscp sends implicit files as explicit: the elements are what counts.
    taken = verdict.counts[Finding.EQUAL_BYTES] + verdict.counts[Finding.EQUAL_ELEMENTS]
    assert taken == len(truth) == sum(verdict.counts.values()), verdict.table()
    assert not verdict.problems, verdict.table()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("peer", "kind"),
    [("orthanc", MotoServer), ("pixelmed", MotoServer), ("orthanc", Swift)],
    ids=["orthanc", "pixelmed", "swift"],
)
def test_the_unedited_file_passes_doctor(
    running: ExitStack, tmp_path: Path, peer: str, kind: type[MotoServer | Swift]
) -> None:
    (port,) = free_ports(1)
    pacs, _ = a_pacs(running, peer, tmp_path, port)
    store = a_store(running, kind)
    home = tmp_path / "home"
    home.mkdir()
    stranger = Stranger(home, store)

    told = stranger.asks(*init_words(pacs, store, port))
    stranger.types("doctor")

    assert told["profile"] == kind.name
    assert stranger.asks("doctor")["healthy"] is True


@pytest.mark.timeout(300)
def test_the_unedited_file_of_a_dicomweb_archive_passes_doctor(
    running: ExitStack, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    pacs, _ = a_pacs(running, "orthanc", tmp_path, port)
    store = a_store(running, MotoServer)
    stranger = Stranger(tmp_path, store)
    url = f"http://{pacs.host}:{pacs.http_port}/dicom-web"

    told = stranger.asks(
        "init", "--dicomweb", url, "--bucket", "s3://images", "--endpoint", store.endpoint
    )
    stranger.types("doctor")

    assert (told["source_answers"], told["profile"]) == (True, "moto")
    assert stranger.asks("doctor")["healthy"] is True


@pytest.mark.timeout(300)
def test_a_folder_fills_a_bucket_and_a_dicomweb_store_with_an_unedited_file(
    running: ExitStack, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    written = made_up_files(files, studies=3)
    pacs = running.enter_context(Orthanc())
    store = a_store(running, MotoServer)
    stranger = Stranger(tmp_path, store)
    url = f"http://{pacs.host}:{pacs.http_port}/dicom-web"

    told = stranger.asks(
        "init", "--folder", "files", "--bucket", "s3://images", "--endpoint", store.endpoint,
        "--stow", url,
    )  # fmt: skip
    stranger.types("doctor")

    assert (told["source_answers"], told["stow_profile"]) == (True, "orthanc")
    assert stranger.asks("doctor")["healthy"] is True
    for words in ("inventory", "plan", "run", "verify"):
        stranger.types(words)
    assert stranger.asks("close")["instances"]["verified"] == len(written)
    with urllib.request.urlopen(f"http://{pacs.host}:{pacs.http_port}/instances") as answer:
        assert len(json.load(answer)) == len(written)


@pytest.mark.timeout(120)
def test_a_store_with_a_password_is_known_and_says_what_is_missing(
    running: ExitStack, tmp_path: Path
) -> None:
    viewer = running.enter_context(OrthancStore())
    store = a_store(running, MotoServer)
    stranger = Stranger(tmp_path, store)

    told = stranger.asks(
        "init", "--dicomweb", viewer.base_url, "--bucket", "s3://images",
        "--endpoint", store.endpoint,
    )  # fmt: skip
    assert told["source_answers"] is True
    assert stranger.asks("doctor", expect=2)["healthy"] is False
    path = tmp_path / "cloudmig.toml"
    text = path.read_text(encoding="utf-8")
    for name, value in (("username", viewer.username), ("password", viewer.password)):
        text = text.replace(f'# {name} = "..."', f'{name} = "{value}"')
    path.write_text(text, encoding="utf-8")

    assert stranger.asks("doctor")["healthy"] is True
