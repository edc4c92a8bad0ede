"""Orthanc as a source by DICOMweb: all that it took is in the bucket, judged by what was loaded.

It is loaded through its own REST interface, which keeps a file as it is: by C-STORE, DCMTK writes
data sets anew. CLOUDMIG_ACCEPTANCE=1 takes 200 generated studies beside the corpus, otherwise 25.
The generated studies are then taken out by WADO-RS and by C-GET, side by side.
"""

from __future__ import annotations

import dataclasses
import http.client
import json
import os
import resource
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.peers.corpus import corpus_files, generated_archive
from tests.peers.explaining import name_in_corpus, print_loading
from tests.peers.judge import judge
from tests.peers.launch import MotoServer, Orthanc, free_ports
from tests.peers.loading import Loaded, describe, held, load
from tests.peers.migration import (
    Answer,
    Equations,
    equations,
    lanes,
    quarantined,
    run_cloudmig,
    write_configuration,
)

ACCEPTANCE = os.environ.get("CLOUDMIG_ACCEPTANCE") == "1"
GENERATED_STUDIES = 200 if ACCEPTANCE else 25
TIME_MAX_S = 1800.0 if ACCEPTANCE else 600.0

pytestmark = pytest.mark.timeout(4 * TIME_MAX_S)


@dataclass(frozen=True)
class Peers:
    """One loaded Orthanc and a place for the copies."""

    orthanc: Orthanc
    store: MotoServer
    truth: list[Loaded]
    generated: set[str]  #: Study Instance UIDs.


@pytest.fixture(scope="module")
def peers() -> Iterator[Peers]:
    generated = generated_archive(studies=GENERATED_STUDIES)
    with ExitStack() as running:
        store = running.enter_context(MotoServer())
        store.client().create_bucket(Bucket="web")
        store.client().put_bucket_versioning(
            Bucket="web", VersioningConfiguration={"Status": "Enabled"}
        )
        orthanc = running.enter_context(Orthanc(lanes(["CLOUDMIG"], free_ports(1)[0])))
        truth = uploaded(orthanc, [*corpus_files(), *generated.files])
        print_loading(truth)
        assert all(each.held or name_in_corpus(each.path) for each in truth)
        yield Peers(orthanc, store, truth, generated.studies)


def uploaded(orthanc: Orthanc, files: Sequence[Path]) -> list[Loaded]:
    """Give files to Orthanc byte for byte; of two contents of one instance it keeps the first.

    What is no Part 10 file stays out: it would take that, too, and has nothing to send it as.
    """
    truth: list[Loaded] = []
    kept: dict[str, str] = {}
    connection = http.client.HTTPConnection("127.0.0.1", orthanc.http_port, timeout=60)
    for path in files:
        told = describe(path)
        truth.append(told)
        if told.reason:
            continue
        connection.request("POST", "/instances", body=path.read_bytes())
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            told = dataclasses.replace(told, status=None, reason=f"HTTP {answer.status}")
        else:
            first = kept.setdefault(told.sop_instance_uid, told.dataset_sha256)
            is_kept = json.loads(body)["Status"] == "Success" or first == told.dataset_sha256
            told = dataclasses.replace(
                told, status=0 if is_kept else None, reason="" if is_kept else "another is kept"
            )
        truth[-1] = told
    connection.close()
    return truth


def configured(folder: Path, peers: Peers) -> Path:
    """Write a cloudmig.toml; the section of the source is another than a PACS has."""
    path = write_configuration(folder, {"main": peers.orthanc}, "c-get", peers.store, "web")
    before, _, rest = path.read_text().partition("[sources.main]\n")
    after = rest.partition("\n[")[2]
    url = f"http://127.0.0.1:{peers.orthanc.http_port}/dicom-web"
    path.write_text(f'{before}[sources.main]\narchive = "main"\nurl = "{url}"\n\n[{after}')
    return path


def migrated(configuration: Path) -> tuple[Equations, Answer]:
    """Take it through every step; return the closing equations and the run."""
    said = {}
    for words in ("inventory", "plan", "run", "verify"):
        answer = said[words] = run_cloudmig(configuration, words, time_max_s=TIME_MAX_S)
        told = f"{words}: exit {answer.exit_code}: {answer.stderr[-3000:]} {answer.document}"
        assert answer.exit_code in (0, 1), told
        print(f"{words}: exit {answer.exit_code} in {answer.seconds:.1f} s")
    closing = equations(run_cloudmig(configuration, "close", time_max_s=TIME_MAX_S))
    return closing, said["run"]


def test_all_that_was_loaded_arrives_byte_for_byte(peers: Peers, tmp_path: Path) -> None:
    """Of the corpus, what Orthanc keeps otherwise than it was sent is the same by any way."""
    configuration = configured(tmp_path, peers)

    closing, run = migrated(configuration)
    waiting = quarantined(configuration, time_max_s=60)
    verdict = judge(peers.truth, peers.store.client(), "web")

    print(closing)
    print("in quarantine:", Counter(each.reason for each in waiting))
    print(verdict.table())
    print_speed("WADO-RS", run)
    assert closing.studies.adds_up
    assert closing.instances.adds_up
    assert closing.closed
    assert waiting == []
    loaded = {each.study_instance_uid for each in held(peers.truth)}
    assert closing.studies.verified == len(loaded) > len(peers.generated)
    assert verdict.problems == []
    assert verdict.differences == []


def test_both_ways_bring_the_same_studies(tmp_path: Path) -> None:
    """WADO-RS and C-GET out of one Orthanc into folders; the figures are for people.

    Loaded by C-STORE: by REST it takes what it has no presentation context for, and what C-GET
    cannot have costs the pauses between three attempts.
    """
    generated = generated_archive(studies=GENERATED_STUDIES)
    found = {}
    with Orthanc(lanes(["CLOUDMIG"], free_ports(1)[0])) as orthanc:
        loaded = {each.sop_instance_uid for each in held(load(orthanc, generated.files))}
        for way in ("WADO-RS", "C-GET"):
            folder = tmp_path / way
            configuration = _into_folder(folder, orthanc, by_web=way == "WADO-RS")
            begun_s = _cpu_s()
            closing, run = migrated(configuration)
            assert closing.closed
            print_speed(way, run)
            print(f"{way}: {_cpu_s() - begun_s:.2f} s of CPU in all five commands")
            found[way] = {path.stem for path in folder.rglob("store/v1/**/*.dcm")}

    assert found["WADO-RS"] == found["C-GET"] == loaded


def _cpu_s() -> float:
    """Return what processes of ours that have ended took; Orthanc still runs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _into_folder(folder: Path, orthanc: Orthanc, *, by_web: bool) -> Path:
    folder.mkdir()
    (listen,) = free_ports(1)
    source = (
        f'url = "http://127.0.0.1:{orthanc.http_port}/dicom-web"'
        if by_web
        else f'host = "127.0.0.1"\nport = {orthanc.port}\naet = "{orthanc.ae_title}"\n'
        'retrieve = "c-get"'
    )
    path = folder / "cloudmig.toml"
    path.write_text(
        f'[agent]\nstate_dir = "state"\n[listen]\nport = {listen}\n'
        f'[sources.main]\narchive = "main"\n{source}\n'
        f'[destinations.store]\nurl = "file://{folder / "store"}"\n'
        '[[rules]]\nname = "all"\ncopy_to = ["store"]\n'
    )
    return path


def print_speed(way: str, run: Answer) -> None:
    """Print what a run moved, by its own clock: start and end of the process are not in it."""
    said = run.document
    seconds = said["duration_s"]
    rate, size = said["instances_stored"] / seconds, said["bytes_stored"] / seconds / 1e6
    print(f"{way}: {said['instances_stored']} instances in {seconds:.1f} s,"
          f" {rate:.0f} instances/s, {size:.1f} MB/s")  # fmt: skip
