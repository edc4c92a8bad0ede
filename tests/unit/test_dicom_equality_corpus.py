"""Real files of many makers, written anew by pydicom: equal; with one thing changed: named."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import FileDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from cloudmig.dicom.equality import compared

_ROOT = Path(__file__).parents[2]
CORPUS = Path(os.environ.get("CLOUDMIG_SHARED", _ROOT.parent / "shared")) / "corpus"
#: What is no whole data set, and what pydicom cannot write.
_UNFIT = {
    "odd-nopreamble-cr-001.dcm", "odd-truncated-mr-001.dcm", "rtimage-explicit-001.dcm",
    "seg-deflatedframe-001.dcm",
}  # fmt: skip
FILES = sorted(CORPUS.rglob("*.dcm")) if CORPUS.is_dir() else []
WHOLE = [path for path in FILES if path.name not in _UNFIT]
NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)
#: What pydicom does change. That the private elements are numbers, from which it takes the spaces,
#: only its dictionary knows; the name it encodes with other escape sequences.
_CHANGED = {
    "mr-private-ge-001.dcm": {"(0043,1039)", "(0043,1060)", "(0043,106f)"},
    "cs-seq-override-001.dcm": {"(0032,1064)[0].(0010,0010)"},
}

pytestmark = [
    pytest.mark.skipif(not FILES, reason="the corpus is not beside the checkout"),
    pytest.mark.filterwarnings("ignore"),
]


def _lengths(data_set: pydicom.Dataset, *, undefined: bool) -> None:
    for each in data_set:
        if each.VR == "SQ":
            each.is_undefined_length = undefined
            for item in each.value:
                item.is_undefined_length_sequence_item = undefined
                _lengths(item, undefined=undefined)


def _without_lengths(data_set: FileDataset) -> None:
    _lengths(data_set, undefined=True)


def _with_lengths(data_set: FileDataset) -> None:
    _lengths(data_set, undefined=False)


def _with_group_lengths(data_set: FileDataset) -> None:
    for group in {each.tag.group for each in data_set}:
        data_set.add_new((group, 0), "UL", 4711)


WAYS: dict[str, Callable[[FileDataset], None]] = {
    "undefined lengths": _without_lengths,
    "defined lengths": _with_lengths,
    "group lengths": _with_group_lengths,
}


def written(data_set: FileDataset) -> memoryview:
    buffer = io.BytesIO()
    syntax = data_set.file_meta.TransferSyntaxUID
    data_set.save_as(
        buffer, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian
    )
    return memoryview(buffer.getvalue())


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.name)
def test_what_pydicom_writes_anew_is_equal(path: Path) -> None:
    original = memoryview(path.read_bytes())
    syntax = pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID
    for name, change in WAYS.items():
        data_set = pydicom.dcmread(path)
        change(data_set)
        found, undecided = compared(original, written(data_set))
        assert not undecided
        assert set(found) <= _CHANGED.get(path.name, set()), name
    for other in NATIVE if syntax in NATIVE else ():
        data_set = pydicom.dcmread(path)
        data_set.file_meta.TransferSyntaxUID = other
        found, undecided = compared(original, written(data_set))
        assert not undecided
        assert set(found) <= _CHANGED.get(path.name, set()), other.name


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.name)
def test_a_name_that_was_changed_is_named(path: Path) -> None:
    data_set = pydicom.dcmread(path)
    data_set.PatientName = "COERCED^BY THE STORE"

    found, _ = compared(memoryview(path.read_bytes()), written(data_set))

    assert set(found) - _CHANGED.get(path.name, set()) == {"(0010,0010)"}


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.name)
def test_one_byte_of_pixels_less_or_other_is_named(path: Path) -> None:
    """Pydicom reads all of these without a word."""
    original = path.read_bytes()
    data_set = pydicom.dcmread(path)
    if "PixelData" not in data_set or data_set.file_meta.TransferSyntaxUID.is_deflated:
        return
    raw = data_set.get_item("PixelData")
    end = raw.value_tell + len(raw.value)

    other = bytearray(original)
    other[end - 1] ^= 1

    for spoilt in (bytes(other), original[: end - 2]):
        found, _ = compared(memoryview(original), memoryview(spoilt))
        assert found == ["(7fe0,0010)"]
