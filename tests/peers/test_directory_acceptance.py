"""The whole corpus and generated studies out of a folder into a bucket, judged by the files.

Once as media with a DICOMDIR of which files are lost, once with a listing from a database that is
3 % wrong. CLOUDMIG_ACCEPTANCE=1 takes 200 generated studies, otherwise 25. What must be found is
known because it was done here, and is compared by name.
"""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests.peers.corpus import corpus_folder, generated_archive
from tests.peers.judge import Finding, judge
from tests.peers.launch import MotoServer
from tests.peers.loading import Loaded, describe
from tests.peers.migration import equations, run_cloudmig
from tests.peers.part10 import dataset_sha256, read_file_meta

ACCEPTANCE = os.environ.get("CLOUDMIG_ACCEPTANCE") == "1"
GENERATED_STUDIES = 200 if ACCEPTANCE else 25
TIME_MAX_S = 3600.0 if ACCEPTANCE else 600.0
WRONG = 0.03

_USABLE_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_FIELDS = ["STUDY", "SERIES", "INSTANCE", "FILE"]

#: pydicom's file-set keeps copies in a folder of its own until the process ends.
_MAKE_MEDIUM = """
import sys
from pathlib import Path
from pydicom.fileset import FileSet
media = FileSet()
for line in sys.stdin:
    media.add(Path(line.rstrip("\\n")))
media.write(Path(sys.argv[1]))
"""


@dataclass
class Folder:
    """What lies on the disk, what is said about it, and what must be found."""

    root: Path
    truth: set[tuple[str, str]] = field(default_factory=set)  #: Kind, and path or line.
    missing: int = 0  #: Instances that are named and not to be had.
    settings: str = ""

    def loaded(self) -> list[Loaded]:
        """Describe every file as the judge wants it: held where its UIDs can name an object."""
        files = sorted(path for path in self.root.rglob("*") if path.is_file())
        return [self._loaded(path) for path in files]

    def _loaded(self, path: Path) -> Loaded:
        try:
            found = describe(path) if path.suffix != ".csv" else Loaded(path=str(path), reason="-")
            if found.reason == "file meta without UIDs":
                found = _described_by_its_data_set(path)
        except Exception as error:  # noqa: BLE001 - whatever pydicom finds unreadable
            return Loaded(path=str(path), reason=type(error).__name__)
        uids = (found.study_instance_uid, found.series_instance_uid, found.sop_instance_uid)
        usable = not found.reason and all(_USABLE_UID.fullmatch(uid) for uid in uids)
        return replace(found, status=0 if usable else None)


def _described_by_its_data_set(path: Path) -> Loaded:
    """Describe a file that no PACS would be offered: its group 0002 does not name the object."""
    content = path.read_bytes()
    header = pydicom.dcmread(path, stop_before_pixels=True)
    return Loaded(
        path=str(path),
        sop_class_uid=str(header.get("SOPClassUID") or ""),
        sop_instance_uid=str(header.get("SOPInstanceUID") or ""),
        study_instance_uid=str(header.get("StudyInstanceUID") or ""),
        series_instance_uid=str(header.get("SeriesInstanceUID") or ""),
        transfer_syntax_uid=read_file_meta(content).transfer_syntax_uid,
        dataset_sha256=dataset_sha256(content),
    )


def on_media(tmp_path: Path) -> Folder:
    """Generated studies on a medium with a DICOMDIR, of which files are lost; the corpus loose."""
    archive = generated_archive(studies=GENERATED_STUDIES)
    folder = Folder(tmp_path / "export")
    shutil.copytree(corpus_folder(), folder.root / "corpus")
    paths = "".join(f"{path}\n" for path in archive.files)
    medium = folder.root / "medium"
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _MAKE_MEDIUM, str(medium)],
        input=paths, text=True, check=True, capture_output=True,
    )  # fmt: skip
    files = sorted(path for path in medium.rglob("*") if path.is_file() and path.suffix == "")
    named = [path for path in files if path.name != "DICOMDIR"]
    assert len(named) == len(archive.files)
    for path in random.Random(4).sample(named, round(WRONG * len(named))):
        folder.truth.add(("missing", str(path.relative_to(folder.root))))
        path.unlink()
        folder.missing += 1
    return folder


def with_a_listing(tmp_path: Path) -> Folder:
    """Everything loose, and a listing of the generated files and the corpus that is 3 % wrong."""
    archive = generated_archive(studies=GENERATED_STUDIES)
    folder = Folder(tmp_path / "export")
    shutil.copytree(corpus_folder(), folder.root / "corpus")
    shutil.copytree(archive.folder, folder.root / "store")
    rows = []
    for each in folder.loaded():
        path = str(Path(each.path).relative_to(folder.root))
        if not each.held and not each.reason and not path.endswith("DICOMDIR"):
            folder.truth.add(("not_listed", path))  # A database has no row without UIDs.
        if each.held:
            uids = (each.study_instance_uid, each.series_instance_uid, each.sop_instance_uid)
            rows.append([*uids, path])
    spoil(folder, rows)
    with (tmp_path / "listing.csv").open("w", newline="", encoding="utf-16") as file:
        csv.writer(file, delimiter=";").writerows([_FIELDS, *rows])
    columns = (
        'study_instance_uid = "STUDY", series_instance_uid = "SERIES",'
        ' sop_instance_uid = "INSTANCE", path = "FILE"'
    )
    folder.settings = f'listing = "listing.csv"\nlisting_columns = {{ {columns} }}\n'
    return folder


def spoil(folder: Folder, rows: list[list[str]]) -> None:
    """Make 3 % of the rows wrong, in six ways, and note what must be found."""
    generated = [n for n, row in enumerate(rows) if row[3].startswith("store/")]
    chosen = random.Random(5).sample(generated, round(WRONG * len(rows)))

    def missing(n: int) -> None:
        (folder.root / rows[n][3]).unlink()
        folder.missing += 1
        folder.truth.add(("missing", rows[n][3]))

    def orphan(n: int) -> None:
        folder.truth.add(("not_listed", rows[n][3]))
        rows[n] = []

    def other_series(n: int) -> None:
        rows[n][1] += ".1"
        folder.truth.add(("disagrees SeriesInstanceUID", rows[n][3]))

    def twice(n: int) -> None:
        rows.append(list(rows[n]))
        folder.truth.add(("double", rows[n][3]))

    def cut(n: int) -> None:
        folder.truth |= {("bad", f"line {n + 2}"), ("not_listed", rows[n][3])}
        rows[n] = rows[n][:2]

    def moved(n: int) -> None:
        path = folder.root / rows[n][3]
        folder.truth.add(("elsewhere", rows[n][3]))
        path.rename(path.with_name(f"{path.name} moved"))

    ways: list[Callable[[int], None]] = [missing, orphan, other_series, twice, cut, moved]
    for position, n in enumerate(chosen):
        ways[position % len(ways)](n)


def write_configuration(tmp_path: Path, folder: Folder, store: MotoServer) -> Path:
    path = tmp_path / "cloudmig.toml"
    path.write_text(
        f"""[agent]
name = "folder"
state_dir = "state"
backoff_s = 0.1
[sources.main]
archive = "main"
url = "file://{folder.root}"
{folder.settings}
[destinations.archive]
url = "s3://images"
endpoint = "{store.endpoint}"
profile = "moto"
access_key_id = "{store.access_key_id}"
secret_access_key = "{store.secret_access_key}"
[[rules]]
name = "everything"
copy_to = ["archive"]
""",
        encoding="utf-8",
    )
    return path


def named(configuration: Path, *kinds: str) -> list[dict[str, Any]]:
    """Return what `cloudmig files` names of some kinds."""
    words = [word for kind in kinds for word in ("--kind", kind)]
    command = [sys.executable, "-m", "cloudmig", "--config", str(configuration), "files", "--json"]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def disagreements(configuration: Path, origin: str) -> set[tuple[str, str]]:
    kinds = ["missing", "disagrees", "double", "bad", "elsewhere", "outside"]
    if origin == "listing":
        kinds.append("not_listed")
    found = set()
    for each in named(configuration, *kinds):
        if each["account"] not in {origin, "notes"}:
            continue
        kind = f"{each['kind']} {each['detail']}" if each["kind"] == "disagrees" else each["kind"]
        found.add((kind, f"line {each['line']}" if each["kind"] == "bad" else each["path"]))
    return found


@pytest.mark.timeout(3 * TIME_MAX_S)
@pytest.mark.parametrize(
    ("make", "origin"),
    [(on_media, "dicomdir"), (with_a_listing, "listing")],
    ids=["dicomdir", "listing"],
)
def test_a_folder_arrives_whole_and_every_disagreement_is_named(
    make: Callable[[Path], Folder], origin: str, tmp_path: Path
) -> None:
    folder = make(tmp_path)
    truth = folder.loaded()
    with MotoServer() as store:
        client = store.client()
        client.create_bucket(Bucket="images")
        client.put_bucket_versioning(Bucket="images", VersioningConfiguration={"Status": "Enabled"})
        configuration = write_configuration(tmp_path, folder, store)
        for words in (["inventory"], ["plan"], ["run"], ["verify"]):
            answer = run_cloudmig(configuration, *words, time_max_s=TIME_MAX_S)
            print(f"{words}: exit {answer.exit_code} in {answer.seconds:.1f} s")
            assert answer.exit_code in (0, 1), (words, answer.stderr[-3000:], answer.document)
        answer = run_cloudmig(configuration, "close", time_max_s=TIME_MAX_S)
        verdict = judge(truth, client, "images")

    print(json.dumps(answer.document["files"]), answer.document["instances"])
    print(verdict.table())
    assert disagreements(configuration, origin) == folder.truth
    closing = equations(answer)
    assert closing.closed
    assert closing.studies.adds_up
    assert closing.instances.adds_up
    check_files(answer.document["files"]["main"], truth, folder)
    assert verdict.counts[Finding.EQUAL_BYTES] == len(contents(truth))
    assert verdict.clean


def contents(truth: list[Loaded]) -> set[tuple[str, str, str]]:
    """Return what a bucket must hold: every content of every instance once."""
    return {
        (each.study_instance_uid, each.sop_instance_uid, each.dataset_sha256)
        for each in truth
        if each.held
    }


def check_files(files: dict[str, Any], truth: list[Loaded], folder: Folder) -> None:
    """Do every sum ourselves: entries on disk, instances, and what is neither."""
    on_disk = files["files"]
    assert on_disk["holds"]
    assert on_disk["total"] == len(truth) == sum(on_disk["kinds"].values())
    held = [each for each in truth if each.held]
    instances = {(each.study_instance_uid, each.sop_instance_uid) for each in held}
    kinds = Counter(on_disk["kinds"])
    assert kinds["instance"] == len(instances)
    # The corpus has one torn file, and a whole one of the same instance.
    assert kinds["conflict"] + kinds["torn"] == len(contents(truth)) - len(instances)
    assert kinds["torn"] == 1
    assert kinds["duplicate"] == len(held) - len(contents(truth))
    claims = files["listing" if "listing" in files else "dicomdir"]
    assert claims["holds"]
    assert claims["total"] == sum(claims["kinds"].values())
    assert claims["kinds"]["missing"] == folder.missing
