"""A handful of small generated studies: several series, modalities and transfer syntaxes."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from tests.peers.corpus import generated_archive

__all__ = ["small_studies"]


def small_studies(count: int) -> list[Path]:
    """Return the files of the smallest studies that have two instances or more."""
    archive = generated_archive(studies=25)
    studies: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
    for row in archive.index:
        studies[row["study_uid"]].append(row)
    several = [rows for rows in studies.values() if len(rows) > 1]
    several.sort(key=lambda rows: sum(int(row["bytes"]) for row in rows))
    return [archive.folder / row["path"] for rows in several[:count] for row in rows]
