"""A handful of small generated studies: several series, modalities and transfer syntaxes."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from tests.peers.asking import Arrivals, ask
from tests.peers.corpus import generated_archive
from tests.peers.launch import Lane
from tests.peers.loading import Loaded, Pacs

__all__ = ["as_sent", "small_studies"]


def small_studies(count: int) -> list[Path]:
    """Return the files of the smallest studies that have two instances or more."""
    archive = generated_archive(studies=25)
    studies: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
    for row in archive.index:
        studies[row["study_uid"]].append(row)
    several = [rows for rows in studies.values() if len(rows) > 1]
    several.sort(key=lambda rows: sum(int(row["bytes"]) for row in rows))
    return [archive.folder / row["path"] for rows in several[:count] for row in rows]


def as_sent(pacs: Pacs, lane: Lane, truth: Sequence[Loaded], folder: Path) -> list[Loaded]:
    """Return the truth with the digests of what the PACS sends when nothing goes wrong.

    Orthanc and dcmqrscp write the lengths of sequences in another way than they got them; whether
    elements and pixels are as loaded is what the corpus matrix is for.
    """
    place = folder / "baseline"
    place.mkdir()
    arrivals = Arrivals(place)
    ask(pacs, lane, truth, "c-move", arrivals, level="STUDY")
    if late := [each for each in truth if each.sop_instance_uid not in arrivals.data_sets]:
        ask(pacs, lane, late, "c-move", arrivals, level="IMAGE")
    as_sent = []
    for record in truth:
        digests = list(arrivals.data_sets[record.sop_instance_uid])
        assert digests, f"the PACS never sends {Path(record.path).name}"
        same = arrivals.has(record)
        as_sent.append(record if same else dataclasses.replace(record, dataset_sha256=digests[0]))
    return as_sent
