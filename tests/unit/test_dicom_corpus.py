"""Real files of many makers: our walk and pydicom agree about every one."""

from __future__ import annotations

import csv
import hashlib
import os
from pathlib import Path

import pydicom
import pytest
from pydicom.errors import InvalidDicomError

from cloudmig.dicom.digest import StreamDigests
from cloudmig.dicom.header import HeaderUnreadable, read_identity
from cloudmig.dicom.part10 import NotPart10, read_prefix

_ROOT = Path(__file__).parents[2]
CORPUS = Path(os.environ.get("CLOUDMIG_SHARED", _ROOT.parent / "shared")) / "corpus"
FILES = sorted(CORPUS.rglob("*.dcm")) if CORPUS.is_dir() else []

pytestmark = pytest.mark.skipif(not FILES, reason="the corpus is not beside the checkout")


def of_pydicom(path: Path) -> tuple[str, ...] | None:
    try:
        read = pydicom.dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, OSError, EOFError, ValueError, AttributeError, NotImplementedError):
        return None
    names = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    return tuple(str(read.get(name, "") or "").strip(" \0") for name in names)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_our_walk_reads_what_pydicom_reads(path: Path) -> None:
    file = path.read_bytes()
    theirs = of_pydicom(path)

    try:
        offset, syntax = read_prefix(file)
        ours = read_identity(memoryview(file)[offset:], syntax)
    except (NotPart10, HeaderUnreadable):
        assert theirs is None, "pydicom reads it and we do not"
        return
    if theirs is None:
        return
    found = (
        ours.sop_class_uid, ours.sop_instance_uid, ours.study_instance_uid, ours.series_instance_uid
    )  # fmt: skip
    assert found == theirs


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_digests_are_those_of_the_bytes(path: Path) -> None:
    file = path.read_bytes()
    stream = StreamDigests()
    for start in range(0, len(file), 1 << 16):
        stream.update(memoryview(file)[start : start + (1 << 16)])

    found = stream.result()

    assert found.file_sha256 == hashlib.sha256(file).hexdigest()
    try:
        offset, _ = read_prefix(file)
    except NotPart10:
        assert found.dataset_sha256 == ""
    else:
        assert found.dataset_sha256 == hashlib.sha256(file[offset:]).hexdigest()


def test_the_corpus_is_what_its_manifest_says() -> None:
    """Else the tests above say something about other files."""
    with (CORPUS / "MANIFEST.csv").open(encoding="utf-8", newline="") as table:
        listed = {row["file"]: row["sha256"] for row in csv.DictReader(table)}

    assert {name for name in listed if name.endswith(".dcm")} >= {
        path.name for path in FILES if path.parent == CORPUS
    }
    for path in FILES:
        name = str(path.relative_to(CORPUS))
        if name in listed:
            assert hashlib.sha256(path.read_bytes()).hexdigest() == listed[name], name
