"""Killed at any point, an inventory goes on and a run repeats: nothing is lost, nothing doubled."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cloudmig.sources.directory import as_indexed
from tests.integration.folder_world import FolderWorld, path_of, write_studies
from tests.integration.migration_world import a_study

STUDIES = tuple(a_study(number, series=(6, 4)) for number in range(1, 5))
INSTANCES = 40

#: Runs one command and dies at the n-th pass of one method, before or after it.
_MORTAL = """
import functools, importlib, inspect, os, signal, sys
owner, method, passes, when, *command = sys.argv[1:]
module, _, name = owner.partition(":")
thing = importlib.import_module(module)
if name:
    thing = getattr(thing, name)
real = getattr(thing, method)
seen = 0
def die():
    global seen
    seen += 1
    if seen == int(passes):
        os.kill(os.getpid(), signal.SIGKILL)
if inspect.iscoroutinefunction(real):
    @functools.wraps(real)
    async def armed(*args, **more):
        if when == "before": die()
        answer = await real(*args, **more)
        if when == "after": die()
        return answer
else:
    @functools.wraps(real)
    def armed(*args, **more):
        if when == "before": die()
        answer = real(*args, **more)
        if when == "after": die()
        return answer
setattr(thing, method, armed)
from cloudmig.cli.main import run
run(command)
"""

_INDEX = "cloudmig.sources.directory.index:FileIndex"
_SURVEY = "cloudmig.sources.directory.survey:"
_CATALOG = "cloudmig.catalog.catalog:Catalog"
_THREAD = "cloudmig.catalog.thread:CatalogThread"
_STORE = "cloudmig.destinations.object_store:ObjectStoreDestination"
_RETRIEVAL = "cloudmig.sources.directory.retrieval:DirectoryRetrieval"


def killed(world: FolderWorld, command: str, owner: str, method: str, n: int, when: str) -> bool:
    """Run a command that dies at a point; say whether it came there."""
    done = subprocess.run(
        [sys.executable, "-c", _MORTAL, owner, method, str(n), when,
         "--config", str(world.config), command],
        capture_output=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode in {-signal.SIGKILL, 0, 1}, done.stderr
    return done.returncode == -signal.SIGKILL


def a_world(folder: Path) -> FolderWorld:
    """A folder with a conflict, a duplicate, broken files and a listing."""
    world = FolderWorld(folder, source={"listing": str(folder / "listing.csv")})
    write_studies(world.export, STUDIES)
    first = world.export / path_of(STUDIES[0].instances()[0])
    other = bytearray(first.read_bytes())
    other[-1] ^= 1
    (world.export / "zz_conflict.dcm").write_bytes(other)
    (world.export / "zz_duplicate.dcm").write_bytes(first.read_bytes())
    (world.export / "zz_torn.dcm").write_bytes(bytes(other[:140]))
    with (folder / "listing.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "study_instance_uid", "series_instance_uid", "sop_instance_uid"])
        for study in STUDIES:
            for each in study.instances():
                writer.writerow([path_of(each), each.study_instance_uid,
                                 each.series_instance_uid, each.sop_instance_uid])  # fmt: skip
    return world


async def check(world: FolderWorld) -> None:
    closing = await world.migrate()
    assert world.kinds() == {"instance": INSTANCES, "conflict": 1, "duplicate": 1, "unreadable": 1}
    assert closing.statement.instances.inventory == INSTANCES
    assert len(world.stored()) == INSTANCES + 1
    assert world.quarantined() == {"conflict": 1, "broken_files": 1}
    [_, listing] = closing.files["main"]
    assert listing.kinds == {"agrees": INSTANCES}


@pytest.mark.parametrize(("owner", "method", "when"), [
    (_INDEX, "begin_survey", "after"), (_INDEX, "note_entries", "before"),
    (_INDEX, "note_entries", "after"), (_INDEX, "end_walk", "after"),
    (_INDEX, "note_headings", "before"), (_INDEX, "note_headings", "after"),
    (_SURVEY, "judge_contents", "after"), (_SURVEY, "claim_by_listing", "after"),
    (_SURVEY, "reconcile", "after"), (_INDEX, "finish_survey", "after"),
    (_CATALOG, "record_answer", "after"), (_CATALOG, "record_tallies", "before"),
    (_CATALOG, "finish_sweep", "before"),
])  # fmt: skip
async def test_an_inventory_that_was_killed_goes_on(
    owner: str, method: str, when: str, tmp_path: Path
) -> None:
    world = a_world(tmp_path)

    assert killed(world, "inventory", owner, method, 1, when)

    await check(world)


@pytest.mark.parametrize(("owner", "method", "n", "when"), [
    (_RETRIEVAL, "_arrival", 3, "after"), (_STORE, "store", 5, "before"),
    (_STORE, "store", 11, "after"), (_STORE, "put_evidence", 1, "before"),
    (_STORE, "put_evidence", 1, "after"), (_THREAD, "record_receipts", 1, "after"),
])  # fmt: skip
async def test_a_run_that_was_killed_repeats_what_it_did(
    owner: str, method: str, n: int, when: str, tmp_path: Path
) -> None:
    world = a_world(tmp_path)
    await world.inventory()
    await world.plan()

    assert killed(world, "run", owner, method, n, when)

    await check(world)


async def test_a_second_content_is_not_forgotten_when_the_first_has_its_receipt(
    tmp_path: Path,
) -> None:
    """An attempt that died between the two leaves nothing missing: all of it is pulled again."""
    world = FolderWorld(tmp_path)
    [study] = [a_study(1, series=(70,))]
    files = sorted(write_studies(world.export, [study]))
    other = bytearray(files[0].read_bytes())
    other[-1] ^= 1
    (world.export / "zz_conflict.dcm").write_bytes(other)
    await world.inventory()
    await world.plan()

    assert killed(world, "run", _STORE, "store", 71, "before")
    await world.run()

    assert world.quarantined() == {"conflict": 1}
    assert len(world.stored()) == 71


async def test_a_file_that_grows_while_it_is_read_is_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = FolderWorld(tmp_path)
    write_studies(world.export, STUDIES[:1])
    await world.inventory()
    await world.plan()
    victim = world.export / path_of(STUDIES[0].instances()[0])
    grown = threading.Event()
    check_unchanged = as_indexed._check_unchanged

    def check_and_grow(found: os.stat_result, facts: as_indexed.FileFacts) -> None:
        check_unchanged(found, facts)
        if world.export / os.fsdecode(facts.path) == victim and not grown.is_set():
            grown.set()
            with victim.open("ab") as more:
                more.write(b"\0\0")

    monkeypatch.setattr(as_indexed, "_check_unchanged", check_and_grow)
    await world.run()

    assert grown.is_set()
    assert world.quarantined() == {"missing_instances": 1}
    assert len(world.stored()) == 9
    assert [entry.detail for entry in world.named("trouble")] == ["changed"]
