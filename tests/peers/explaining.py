"""Which differences between what was offered and what came are a PACS's own doing.

What each PACS does to the corpus is in expected.csv, found out without cloudmig.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from tests.peers.corpus import corpus_folder
from tests.peers.judge import Difference, Finding, Verdict
from tests.peers.loading import NO_CONTEXT, Loaded, held
from tests.peers.migration import Source
from tests.peers.survey import read_expected

__all__ = ["as_listed", "check_loading", "check_verdict", "name_in_corpus", "print_loading"]

#: What a PACS answered with success and does not list afterwards.
DROPPED = "taken, but not listed"


def as_listed(pacs: Source, truth: list[Loaded]) -> list[Loaded]:
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


def print_loading(truth: Sequence[Loaded]) -> None:
    answers = Counter(
        ("corpus" if name_in_corpus(each.path) else "generated", each.answer) for each in truth
    )
    for (origin, answer), count in sorted(answers.items()):
        print(f"{count:>7} of {origin}: {answer}")


def check_loading(truth: Sequence[Loaded], peer: str, retrieve: str) -> None:
    """The PACS refuses of the corpus what it is known to refuse; of the rest what it cannot hold.

    That is an object with an encapsulated icon in a native transfer syntax, which PS3.5 A.4 does
    not allow, and a transfer syntax of which it took nothing at all.
    """
    expected = read_expected(peer, retrieve)
    known = {name for name, row in expected.items() if row.outcome == "refused_by_pacs"}
    taken = {each.transfer_syntax_uid for each in held(truth)}
    unexplained = []
    for each in truth:
        name = name_in_corpus(each.path)
        explained = (
            each.held
            or (name in known if name else _has_encapsulated_icon(Path(each.path)))
            or (not name and each.reason == NO_CONTEXT and each.transfer_syntax_uid not in taken)
        )
        if not explained:
            unexplained.append(f"{name or each.path}: {each.answer}")
    assert unexplained == []


def check_verdict(verdict: Verdict, peer: str, retrieve: str) -> None:
    """Generated studies are whole; of the corpus only what expected.csv explains is not."""
    expected = read_expected(peer, retrieve)
    allowed = {
        Finding.MISSING: {"cannot_send", "replaced_by_pacs"},
        Finding.DIFFERS: {"altered_by_pacs", "converted_by_pacs", "replaced_by_pacs"},
        Finding.EQUAL_ELEMENTS: {"altered_by_pacs", "converted_by_pacs"},
    }
    unexplained = []
    for each in verdict.differences:
        row = expected.get(name_in_corpus(each.file)) if each.file else None
        if _is_rewritten(each) or (peer == "dcmqrscp" and each.finding is Finding.EQUAL_ELEMENTS):
            continue
        if row is None or row.outcome not in allowed.get(each.finding, set()):
            unexplained.append(f"{each.finding.value}: {each.file or each.key} {each.detail}")
    assert unexplained == []
    assert verdict.problems == []


def name_in_corpus(path: str) -> str:
    """Return the name of a corpus file as expected.csv has it, or nothing for a generated one."""
    folder = corpus_folder()
    return Path(path).relative_to(folder).as_posix() if Path(path).is_relative_to(folder) else ""


def _has_encapsulated_icon(path: Path) -> bool:
    """Say whether pixel data within a sequence is encapsulated where the file's own is not."""
    instance = pydicom.dcmread(path)
    if "PixelData" not in instance:
        return False
    return not instance["PixelData"].is_undefined_length and any(
        element.tag == instance["PixelData"].tag and element.is_undefined_length
        for element in instance.iterall()
    )


def _is_rewritten(difference: Difference) -> bool:
    """Whether a PACS wrote a generated object anew: elements and pixel bitstream are equal.

    DCMTK, and Orthanc upon it, trim padding inside values (`"1   "` becomes `"1 "`), and send on
    the first accepted context of a SOP class, explicit as implicit. The agent never re-encodes.
    """
    generated = bool(difference.file) and not name_in_corpus(difference.file)
    return generated and difference.finding is Finding.EQUAL_ELEMENTS
