"""The whole corpus and generated studies, out of three PACS, both ways, judged by what was loaded.

CLOUDMIG_ACCEPTANCE=1 takes 500 generated studies and every cell; otherwise 25, and with
CLOUDMIG_SAMPLE=1, as in CI, one way per PACS.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

import pydicom
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from tests.peers.asking import Retrieve
from tests.peers.corpus import corpus_files, corpus_folder, generated_archive
from tests.peers.judge import Difference, Finding, Verdict, judge
from tests.peers.launch import Dcmqrscp, MotoServer, free_ports
from tests.peers.loading import NO_CONTEXT, Loaded, describe, held, load
from tests.peers.migration import (
    Equations,
    Source,
    equations,
    lanes,
    quarantined,
    run_cloudmig,
    write_configuration,
)
from tests.peers.survey import PEERS, read_expected

ACCEPTANCE = os.environ.get("CLOUDMIG_ACCEPTANCE") == "1"
GENERATED_STUDIES = 500 if ACCEPTANCE else 25
TIME_MAX_S = 3600.0 if ACCEPTANCE else 900.0

ALL = [(peer, retrieve) for peer in sorted(PEERS) for retrieve in get_args(Retrieve)]
SAMPLE = [("dcmqrscp", "c-move"), ("orthanc", "c-get"), ("pixelmed", "c-move")]
CELLS = SAMPLE if os.environ.get("CLOUDMIG_SAMPLE") == "1" and not ACCEPTANCE else ALL

#: What a PACS answered with success and does not list afterwards.
DROPPED = "taken, but not listed"

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
            truth += _as_listed(pacs, load(pacs, part))
            sources[f"part{number}"] = pacs
        configuration = write_configuration(tmp_path, sources, retrieve, store, "images")

        closing = _migrate(configuration)
        waiting = quarantined(configuration, time_max_s=60)
        verdict = judge(truth, client, "images", archives=list(sources))

    _print_loading(truth)
    print(closing)
    print("in quarantine:", Counter(each.reason for each in waiting))
    print(verdict.table())
    _check_loading(truth, peer, retrieve)
    _check_equations(closing, truth)
    assert {each.study_instance_uid for each in waiting} & generated.studies == set()
    _check_verdict(verdict, peer, retrieve)


def _as_listed(pacs: Source, truth: list[Loaded]) -> list[Loaded]:
    """Take out of the truth what a PACS said it took and does not list, asked by other software.

    PixelMed answers 0000 for a mammogram whose icon is encapsulated, and drops it.
    """
    entity = AE(ae_title="CLOUDMIG")
    entity.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    question = Dataset()
    question.QueryRetrieveLevel = "STUDY"
    question.StudyInstanceUID = ""
    association = entity.associate(pacs.host, pacs.port, ae_title=pacs.ae_title)
    assert association.is_established
    answers = association.send_c_find(question, StudyRootQueryRetrieveInformationModelFind)
    listed = {str(answer.StudyInstanceUID) for _, answer in answers if answer is not None}
    association.release()
    gone = {
        each.path
        for each in truth
        if each.held and each.study_instance_uid and each.study_instance_uid not in listed
    }
    return [
        dataclasses.replace(each, status=None, reason=DROPPED) if each.path in gone else each
        for each in truth
    ]


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


def _of_corpus(path: str) -> str:
    """Return the name of a corpus file as expected.csv has it, or nothing for a generated one."""
    folder = corpus_folder()
    return Path(path).relative_to(folder).as_posix() if Path(path).is_relative_to(folder) else ""


def _print_loading(truth: Sequence[Loaded]) -> None:
    answers = Counter(
        ("corpus" if _of_corpus(each.path) else "generated", each.answer) for each in truth
    )
    for (origin, answer), count in sorted(answers.items()):
        print(f"{count:>7} of {origin}: {answer}")


def _check_loading(truth: Sequence[Loaded], peer: str, retrieve: str) -> None:
    """The PACS refuses of the corpus what it is known to refuse; of the rest what it cannot hold.

    That is an object with an encapsulated icon in a native transfer syntax, which PS3.5 A.4 does
    not allow, and a transfer syntax of which it took nothing at all.
    """
    expected = read_expected(peer, retrieve)
    known = {name for name, row in expected.items() if row.outcome == "refused_by_pacs"}
    taken = {each.transfer_syntax_uid for each in held(truth)}
    unexplained = []
    for each in truth:
        name = _of_corpus(each.path)
        explained = (
            each.held
            or (name in known if name else _has_encapsulated_icon(Path(each.path)))
            or (not name and each.reason == NO_CONTEXT and each.transfer_syntax_uid not in taken)
        )
        if not explained:
            unexplained.append(f"{name or each.path}: {each.answer}")
    assert unexplained == []


def _has_encapsulated_icon(path: Path) -> bool:
    """Say whether pixel data within a sequence is encapsulated where the file's own is not."""
    instance = pydicom.dcmread(path)
    if "PixelData" not in instance:
        return False
    return not instance["PixelData"].is_undefined_length and any(
        element.tag == instance["PixelData"].tag and element.is_undefined_length
        for element in instance.iterall()
    )


def _check_equations(closing: Equations, truth: Sequence[Loaded]) -> None:
    """Both equations hold, and nothing that was loaded is outside of them."""
    assert closing.studies.adds_up, closing
    assert closing.instances.adds_up, closing
    loaded = held(truth)
    studies = {each.study_instance_uid for each in loaded if each.study_instance_uid}
    assert closing.studies.inventory >= len(studies), closing
    assert closing.closed, closing


def _check_verdict(verdict: Verdict, peer: str, retrieve: str) -> None:
    """Generated studies are whole; of the corpus only what expected.csv explains is not."""
    expected = read_expected(peer, retrieve)
    allowed = {
        Finding.MISSING: {"cannot_send", "replaced_by_pacs"},
        Finding.DIFFERS: {"altered_by_pacs", "converted_by_pacs", "replaced_by_pacs"},
        Finding.EQUAL_ELEMENTS: {"altered_by_pacs", "converted_by_pacs"},
    }
    unexplained = []
    for each in verdict.differences:
        row = expected.get(_of_corpus(each.file)) if each.file else None
        if _is_rewritten(each) or (peer == "dcmqrscp" and each.finding is Finding.EQUAL_ELEMENTS):
            continue
        if row is None or row.outcome not in allowed.get(each.finding, set()):
            unexplained.append(f"{each.finding.value}: {each.file or each.key} {each.detail}")
    assert unexplained == []
    assert verdict.problems == []


def _is_rewritten(difference: Difference) -> bool:
    """Whether a PACS wrote a generated object anew: elements and pixel bitstream are equal.

    DCMTK, and Orthanc upon it, trim padding inside values (`"1   "` becomes `"1 "`), and send on
    the first accepted context of a SOP class, explicit as implicit. The agent never re-encodes.
    """
    generated = bool(difference.file) and not _of_corpus(difference.file)
    return generated and difference.finding is Finding.EQUAL_ELEMENTS
