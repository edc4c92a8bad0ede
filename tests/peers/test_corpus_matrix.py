"""The whole corpus and generated studies, out of three PACS, both ways, judged by what was loaded.

CLOUDMIG_ACCEPTANCE=1 takes 500 generated studies and every cell; otherwise 25, and with
CLOUDMIG_SAMPLE=1, as in CI, one way per PACS.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

import pytest

from tests.peers.asking import Retrieve
from tests.peers.corpus import corpus_files, generated_archive
from tests.peers.explaining import as_listed, check_loading, check_verdict, print_loading
from tests.peers.judge import judge
from tests.peers.launch import Dcmqrscp, MotoServer, free_ports
from tests.peers.loading import Loaded, describe, held, load
from tests.peers.migration import (
    Equations,
    equations,
    lanes,
    quarantined,
    run_cloudmig,
    write_configuration,
)
from tests.peers.survey import PEERS

ACCEPTANCE = os.environ.get("CLOUDMIG_ACCEPTANCE") == "1"
GENERATED_STUDIES = 500 if ACCEPTANCE else 25
TIME_MAX_S = 3600.0 if ACCEPTANCE else 900.0

ALL = [(peer, retrieve) for peer in sorted(PEERS) for retrieve in get_args(Retrieve)]
SAMPLE = [("dcmqrscp", "c-move"), ("orthanc", "c-get"), ("pixelmed", "c-move")]
CELLS = SAMPLE if os.environ.get("CLOUDMIG_SAMPLE") == "1" and not ACCEPTANCE else ALL

#: Well below the number at which it would delete the oldest study.
STUDIES_PER_DCMQRSCP = Dcmqrscp.studies_max - 100


@pytest.mark.timeout(5 * TIME_MAX_S)
@pytest.mark.parametrize(("peer", "retrieve"), CELLS)
def test_all_that_was_loaded_arrives_or_is_explained(
    peer: str, retrieve: str, tmp_path: Path
) -> None:
    generated = generated_archive(studies=GENERATED_STUDIES)
    files = [*corpus_files(), *generated.files]
    our_lanes = lanes(["CLOUDMIG", "CLOUDMIG2"], free_ports(1)[0])
    with ExitStack() as running:
        store = running.enter_context(MotoServer())
        client = store.client()
        client.create_bucket(Bucket="images")
        client.put_bucket_versioning(Bucket="images", VersioningConfiguration={"Status": "Enabled"})
        sources = {}
        truth: list[Loaded] = []
        parts = _by_studies(files, STUDIES_PER_DCMQRSCP) if peer == "dcmqrscp" else [files]
        for number, part in enumerate(parts, 1):
            pacs = PEERS[peer](our_lanes)
            running.enter_context(pacs)
            truth += as_listed(pacs, load(pacs, part))
            sources[f"part{number}"] = pacs
        configuration = write_configuration(tmp_path, sources, retrieve, store, "images")

        closing = _migrate(configuration)
        waiting = quarantined(configuration, time_max_s=60)
        verdict = judge(truth, client, "images", archives=list(sources))

    print_loading(truth)
    print(closing)
    print("in quarantine:", Counter(each.reason for each in waiting))
    print(verdict.table())
    check_loading(truth, peer, retrieve)
    _check_equations(closing, truth)
    assert {each.study_instance_uid for each in waiting} & generated.studies == set()
    check_verdict(verdict, peer, retrieve)


def _migrate(configuration: Path) -> Equations:
    for words in (["inventory"], ["plan"], ["run"], ["verify"]):
        answer = run_cloudmig(configuration, *words, time_max_s=TIME_MAX_S)
        print(f"{words}: exit {answer.exit_code} in {answer.seconds:.1f} s")
        told = f"{words}: exit {answer.exit_code}: {answer.stderr[-3000:]} {answer.document}"
        assert answer.exit_code in (0, 1), told
    return equations(run_cloudmig(configuration, "close", time_max_s=TIME_MAX_S))


def _by_studies(files: Sequence[Path], studies_max: int) -> list[list[Path]]:
    studies: defaultdict[str, list[Path]] = defaultdict(list)
    for path in files:
        studies[describe(path).study_instance_uid].append(path)
    names = list(studies)
    return [
        [path for name in names[start : start + studies_max] for path in studies[name]]
        for start in range(0, len(names), studies_max)
    ]


def _check_equations(closing: Equations, truth: Sequence[Loaded]) -> None:
    """Both equations hold, and nothing that was loaded is outside of them."""
    assert closing.studies.adds_up, closing
    assert closing.instances.adds_up, closing
    loaded = held(truth)
    studies = {each.study_instance_uid for each in loaded if each.study_instance_uid}
    assert closing.studies.inventory >= len(studies), closing
    assert closing.closed, closing
