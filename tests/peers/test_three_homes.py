"""One pull, three homes: a bucket, a second bucket on another server, and Orthanc by DICOMweb.

CLOUDMIG_ACCEPTANCE=1 takes 200 generated studies and every cell; otherwise 10, and with
CLOUDMIG_SAMPLE=1, as in CI, one way per PACS and a third of the corpus. What the PACS sent is
counted on the wire.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.peers.asking import Retrieve
from tests.peers.corpus import corpus_files, generated_archive
from tests.peers.explaining import (
    as_listed,
    check_loading,
    check_verdict,
    name_in_corpus,
    print_loading,
)
from tests.peers.homes import HOMES, ThreeHomes
from tests.peers.judge import Finding, Verdict
from tests.peers.launch import Dcmqrscp
from tests.peers.loading import Loaded, held, load
from tests.peers.migration import Answer, Equations, equations, quarantined, run_cloudmig
from tests.peers.survey import PEERS, read_expected

ACCEPTANCE = os.environ.get("CLOUDMIG_ACCEPTANCE") == "1"
SAMPLE = os.environ.get("CLOUDMIG_SAMPLE") == "1" and not ACCEPTANCE
GENERATED_STUDIES = 200 if ACCEPTANCE else 10
TIME_MAX_S = 3600.0 if ACCEPTANCE else 600.0

ALL: list[tuple[str, Retrieve]] = [
    ("dcmqrscp", "c-move"), ("orthanc", "c-get"), ("dcmqrscp", "c-get"), ("orthanc", "c-move"),
]  # fmt: skip
CELLS = ALL[:2] if SAMPLE else ALL


@pytest.mark.timeout(5 * TIME_MAX_S)
@pytest.mark.parametrize(("peer", "retrieve"), CELLS)
def test_one_pull_fills_three_homes_and_each_holds_what_was_loaded(
    peer: str, retrieve: Retrieve, tmp_path: Path
) -> None:
    generated = generated_archive(studies=GENERATED_STUDIES)
    with ThreeHomes() as homes, PEERS[peer](homes.lanes) as pacs:
        corpus = corpus_files()[:: 3 if SAMPLE else 1]
        truth = as_listed(pacs, load(pacs, [*corpus, *generated.files]))
        studies = {each.study_instance_uid for each in held(truth)}
        assert len(studies) < Dcmqrscp.studies_max, "it would delete the oldest"
        configuration = homes.write_configuration(tmp_path, pacs, retrieve)
        assert _run(configuration, "doctor").document["healthy"] is True
        for command in ("inventory", "plan"):
            _run(configuration, command)

        homes.forget_what_was_sent()  # The doctor has fetched one instance, to try.
        _run(configuration, "run")
        sent = homes.times_sent(held(truth))
        verified = _run(configuration, "verify")
        copies = _run(configuration, "status").document["destinations"]
        closing = equations(_run(configuration, "close"))
        waiting = quarantined(configuration, time_max_s=60)
        verdicts = homes.judge(truth)

    print_loading(truth)
    print(f"sent by the PACS, times: {Counter(sent.values())}")
    print(closing)
    print("in quarantine:", Counter(each.reason for each in waiting))
    for name, verdict in verdicts.items():
        print(f"{name}: {verdict.studies_loaded} studies, {dict(verdict.counts)}")
    check_loading(truth, peer, retrieve)
    _check_sent_once(sent, truth, peer, retrieve)
    _check_copies(copies, closing)
    assert verified.document["agreed"] == verified.document["copies"]
    assert {each.study_instance_uid for each in waiting} & generated.studies == set()
    for verdict in verdicts.values():
        check_verdict(verdict, peer, retrieve)
    _check_alike(verdicts)


def _run(configuration: Path, command: str) -> Answer:
    answer = run_cloudmig(configuration, command, time_max_s=TIME_MAX_S)
    print(f"{command}: exit {answer.exit_code} in {answer.seconds:.1f} s")
    told = f"{command}: exit {answer.exit_code}: {answer.stderr[-3000:]} {answer.document}"
    assert answer.exit_code in (0, 1), told
    return answer


def _check_sent_once(
    sent: Mapping[str, int], truth: Sequence[Loaded], peer: str, retrieve: str
) -> None:
    """Three homes cost the PACS what one costs; only what it cannot send never came."""
    expected = read_expected(peer, retrieve)
    for each in held(truth):
        row = expected.get(name_in_corpus(each.path))
        times = {0, 1} if row is not None and row.outcome == "cannot_send" else {1}
        assert sent[each.sop_instance_uid] in times, f"{each.path}: {sent[each.sop_instance_uid]}"


def _check_copies(copies: Mapping[str, Mapping[str, int]], closing: Equations) -> None:
    """Every study that is verified is so at each home; both equations hold, and it is closed."""
    assert set(copies) == set(HOMES)
    for states in copies.values():
        held_copies = {state: number for state, number in states.items() if number}
        assert held_copies == {"verified": closing.studies.verified}
    assert closing.studies.adds_up, closing
    assert closing.instances.adds_up, closing
    assert closing.closed, closing


def _check_alike(verdicts: Mapping[str, Verdict]) -> None:
    """What one home holds, all hold: a viewer's store took whatever the PACS had taken."""
    archive = verdicts["archive"]
    assert archive.counts[Finding.EQUAL_BYTES] > 0
    for verdict in verdicts.values():
        assert verdict.counts == archive.counts, verdict.table()
        told = [(each.finding, each.sop_instance_uid) for each in verdict.differences]
        assert told == [(each.finding, each.sop_instance_uid) for each in archive.differences]
