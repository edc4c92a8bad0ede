"""The files that are loaded: the corpus of real files, and generated archives of any size."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "Archive", "CorpusMissing", "corpus_files", "corpus_folder", "corpus_pairs",
    "generated_archive",
]  # fmt: skip

_ROOT = Path(__file__).parents[2]


class CorpusMissing(Exception):  # noqa: N818 - reads as what happened
    """The shared folder is not beside the checkout; CLOUDMIG_SHARED names another place."""


def _shared(*parts: str) -> Path:
    found = Path(os.environ.get("CLOUDMIG_SHARED", _ROOT.parent / "shared")).joinpath(*parts)
    if not found.exists():
        raise CorpusMissing(f"no shared/{'/'.join(parts)}")
    return found


def corpus_folder() -> Path:
    """Return the folder that `file` in expected.csv is relative to."""
    return _shared("corpus")


def corpus_files() -> list[Path]:
    """Return every DICOM file of the corpus, in the order of its manifest."""
    return [corpus_folder() / row["file"] for row in _manifest()]


def corpus_pairs() -> list[tuple[str, str]]:
    """Return the SOP classes and transfer syntaxes that occur together in the corpus."""
    return sorted(
        {
            (row["sop_class_uid"], row["transfer_syntax_uid"])
            for row in _manifest()
            if row["sop_class_uid"] and row["transfer_syntax_uid"] and row["study_uid"]
        }
    )


def _manifest() -> list[dict[str, str]]:
    with _shared("corpus", "MANIFEST.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True, slots=True)
class Archive:
    """A generated archive and its index: one row per file, the ground truth."""

    folder: Path
    index: list[dict[str, str]]

    @property
    def files(self) -> list[Path]:
        """Return every file, study after study."""
        return [self.folder / row["path"] for row in self.index]

    @property
    def studies(self) -> set[str]:
        """Return the Study Instance UIDs."""
        return {row["study_uid"] for row in self.index}


def generated_archive(
    *, studies: int, scale: float = 0.05, seed: int = 1, mix: str = ""
) -> Archive:
    """Return an archive of these parameters, made once and kept under .cache/archives."""
    tool = _shared("tools", "make_archive.py")
    wanted = f"studies{studies}-scale{scale}-seed{seed}" + (f"-{mix}" if mix else "")
    cache = _ROOT / ".cache" / "archives"
    folder = cache / re.sub(r"[^A-Za-z0-9.-]", "_", wanted)
    index = folder.with_name(folder.name + ".index.csv")
    if not index.exists():
        cache.mkdir(parents=True, exist_ok=True)
        # Made beside its place and renamed: two runs at once, or one that was killed, do no harm.
        making = folder.with_name(f"{folder.name}.{os.getpid()}")
        making_index = making.with_name(making.name + ".csv")
        command = [
            sys.executable, str(tool), str(making), "--studies", str(studies),
            "--scale", str(scale), "--seed", str(seed), "--jobs", str(os.cpu_count() or 1),
            "--index", str(making_index), *(["--mix", mix] if mix else []),
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
        if folder.exists():
            shutil.rmtree(folder)
        making.rename(folder)
        making_index.rename(index)
    with index.open(newline="", encoding="utf-8") as file:
        return Archive(folder, list(csv.DictReader(file)))
