"""A canary in the names of files goes through every command and is named by one only: `files`."""

from __future__ import annotations

import csv
import gzip
import os
from pathlib import Path

import pytest

from cloudmig.demo.studies import Study
from tests.integration.folder_world import FolderWorld
from tests.integration.migration_world import a_study
from tests.test_no_patient_data import _PATTERN, Traces, _of_the_canary


def _write(world: FolderWorld, study: Study) -> list[Path]:
    folder = world.export / "CANARY^NAME" / "19010203"
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, instance in enumerate(study.instances()):
        path = folder / f"CANARY_{instance.sop_instance_uid[-8:]}_{number}.dcm"
        path.write_bytes(instance.part10())
        paths.append(path)
    return paths


def _write_listing(world: FolderWorld, paths: list[Path], studies: list[Study]) -> None:
    with (world.folder / "listing.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "study_instance_uid", "series_instance_uid", "sop_instance_uid",
                         "patient_id"])  # fmt: skip
        instances = [each for study in studies for each in study.instances()]
        for number, (path, each) in enumerate(zip(paths, instances, strict=True)):
            name = path.relative_to(world.export) if number else "../CANARY^NAME.dcm"
            writer.writerow([name, each.study_instance_uid, each.series_instance_uid,
                             each.sop_instance_uid, f"CANARY{number}"])  # fmt: skip
        writer.writerow(["CANARY^NAME", "CANARY", "CANARY", "CANARY", "CANARY"])


@pytest.mark.timeout(300)
def test_no_command_but_one_names_a_file(tmp_path: Path) -> None:
    world = FolderWorld(
        tmp_path, source={"listing": "listing.csv"}, destination={"attempts_max": 1}
    )
    studies = [_of_the_canary(a_study(number)) for number in (1, 2, 3)]
    paths = [path for study in studies for path in _write(world, study)]
    body = bytearray(paths[0].read_bytes())
    (world.export / "CANARY-torn.dcm").write_bytes(body[:140])
    (world.export / "CANARY.txt").write_text("CANARY^NAME")
    os.mkfifo(world.export / "CANARY-pipe")
    (world.export / "CANARY-link").symlink_to("CANARY.txt")
    body[-1] ^= 1
    (world.export / "CANARY-conflict.dcm").write_bytes(body)
    uid = studies[1].study_instance_uid.encode()
    (world.export / "CANARY-nameless.dcm").write_bytes(
        paths[5].read_bytes().replace(uid, b"CANARY".ljust(len(uid), b"y"))
    )
    _write_listing(world, paths, studies)
    traces = Traces(world)  # type: ignore[arg-type]

    for words in (["doctor"], ["inventory"], ["plan"]):
        traces.both(*words)
    paths[2].write_bytes(b"CANARY")
    for words in (["run"], ["verify"], ["status"], ["quarantine", "list"], ["close"]):
        traces.both(*words)
    _provoke(traces)
    silent = list(traces.said)
    assert traces.run("files") == 0
    assert traces.run("files", "--json") == 0

    for words, said in silent:
        assert not _PATTERN.search(said), f"{words}: {_PATTERN.search(said)}"
    for words, said in traces.said[-2:]:
        assert said.count(b"CANARY-torn.dcm") == 1, words
    assert world.quarantined()["broken_files"] >= 2
    _look_into_state_and_store(world)


def _provoke(traces: Traces) -> None:
    """No folder, no listing, no index, an index that is none."""
    world = traces.world
    world.export.rename(world.folder / "away")  # type: ignore[attr-defined]
    for words in (["inventory"], ["run"], ["doctor"]):
        assert traces.run(*words, "--log-level", "debug") in {0, 1, 2, 3}
    (world.folder / "away").rename(world.export)  # type: ignore[attr-defined]
    listing = world.folder / "listing.csv"
    kept = listing.read_text()
    listing.write_text("CANARY\nCANARY^NAME\n")
    for words in (["inventory"], ["doctor"]):
        assert traces.run(*words, "--log-level", "debug") in {2, 3}
    listing.write_text(kept)
    assert traces.run("inventory", "--log-level", "debug") == 0


def _look_into_state_and_store(world: FolderWorld) -> None:
    """Names of all files; contents of all but the catalog, the index and the images."""
    found_in_index = 0
    for folder in (world.folder / "state", world.store):
        for path in folder.rglob("*"):
            assert not _PATTERN.search(str(path.relative_to(world.folder)).encode()), path
            if not path.is_file() or path.suffix == ".dcm" or path.name.startswith("catalog.db"):
                continue
            body = path.read_bytes()
            if path.parent.name == "index":
                found_in_index += bool(_PATTERN.search(body))
                assert path.suffix == ".lock" or path.stat().st_mode & 0o077 == 0, "others read it"
            else:
                body = gzip.decompress(body) if path.suffix == ".gz" else body
                assert not _PATTERN.search(body), path
    assert found_in_index, "the canary sings where it may"
