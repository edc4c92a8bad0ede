"""How fast a folder is copied into a `file://` destination, with both digests of every file.

    python -m bench.directory [--files 2000] [--size 525000] [--where /dev/shm] [--runs 3]

Writes a folder of CT-sized files, takes the inventory, runs the migration with `cloudmig run` and
says megabytes a second by the wall clock and CPU milliseconds a file, beside `cp -r` with `sync`
and beside one SHA-256 of the same bytes: what this machine can do at all. The page cache is warm.
On a disk, `--where` names a folder of it, with room for twice the files in every run. Timings mean
something on a quiet machine only; CPU milliseconds mean something always.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cloudmig.dicom.part10 import file_prefix

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
FILES_A_STUDY = 200


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    head = group.to_bytes(2, "little") + number.to_bytes(2, "little") + vr
    if vr == b"OW":
        return head + bytes(2) + len(value).to_bytes(4, "little") + value
    return head + len(value).to_bytes(2, "little") + value


def write_archive(folder: Path, files: int, size: int) -> None:
    """Write so many CT images, 200 to a study, their pixels all different."""
    for number in range(files):
        study, slice_ = divmod(number, FILES_A_STUDY)
        uid = f"1.2.826.0.1.3680043.9.9999.{study + 1}"
        sop = f"{uid}.1.{slice_ + 1}"
        data_set = b"".join((
            element(8, 0x16, b"UI", CT.encode()), element(8, 0x18, b"UI", sop.encode()),
            element(8, 0x20, b"DA", b"20200101"), element(8, 0x60, b"CS", b"CT"),
            element(0x10, 0x20, b"LO", f"P{study}".encode()),
            element(0x20, 0x0D, b"UI", uid.encode()),
            element(0x20, 0x0E, b"UI", f"{uid}.1".encode()),
            element(0x7FE0, 0x10, b"OW", os.urandom(4096) + bytes(size - 4096)),
        ))  # fmt: skip
        path = folder / f"{study:04}" / f"{slice_:05}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file_prefix(CT, sop, EXPLICIT) + data_set)


def write_configuration(export: Path, work: Path, lanes: int) -> Path:
    path = work / "cloudmig.toml"
    path.write_text(f"""
[agent]
name = "bench"
state_dir = "state"
[sources.main]
archive = "main"
url = "file://{export}"
lanes = {lanes}
[destinations.store]
url = "file://{work / "store"}"
concurrency = 16
[[rules]]
name = "all"
copy_to = ["store"]
""")
    return path


def timed(doing: Callable[[], object]) -> tuple[float, float]:
    """Return wall and CPU seconds, those of children included."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    own = time.process_time()
    doing()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, cpu_s + time.process_time() - own


def cloudmig(config: Path, *command: str) -> Callable[[], object]:
    arguments = [sys.executable, "-m", "cloudmig", "--config", str(config), *command]
    return lambda: subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)


def copy_and_sync(export: Path, copy: Path) -> None:
    subprocess.run(["cp", "-r", str(export), str(copy)], check=True)
    subprocess.run(["sync", "-f", str(copy)], check=True)


def hash_all(export: Path) -> None:
    for path in export.rglob("*.dcm"):
        hashlib.sha256(path.read_bytes()).digest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--size", type=int, default=525_000)
    parser.add_argument("--where", type=Path, default=Path("/dev/shm"))
    parser.add_argument("--lanes", type=int, default=4)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    megabytes = asked.files * asked.size / 1e6
    results: list[dict[str, object]] = []

    def note(what: str, wall_s: float, cpu_s: float) -> None:
        result = {
            "what": what, "mb_per_s": round(megabytes / wall_s), "wall_s": round(wall_s, 2),
            "cpu_ms_per_file": round(1000 * cpu_s / asked.files, 3),
        }  # fmt: skip
        results.append(result)
        print(json.dumps(result), flush=True)

    with tempfile.TemporaryDirectory(dir=asked.where, prefix="cloudmig-bench-") as folder:
        export = Path(folder) / "export"
        write_archive(export, asked.files, asked.size)
        for number in range(asked.runs):
            # Nothing is deleted in between: ext4 without a journal looks at every inode that was
            # freed in the last minutes before it gives a new one, an eighth of a run's CPU.
            work = Path(folder) / str(number)
            work.mkdir()
            config = write_configuration(export, work, asked.lanes)
            note("one SHA-256", *timed(partial(hash_all, export)))
            note("cp -r, sync", *timed(partial(copy_and_sync, export, work / "copy")))
            note("inventory", *timed(cloudmig(config, "inventory")))
            timed(cloudmig(config, "plan"))
            note("run", *timed(cloudmig(config, "run")))
            assert len(list((work / "store").rglob("*.dcm"))) == asked.files


if __name__ == "__main__":
    main()
