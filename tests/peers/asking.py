"""Ask a PACS for what was loaded, with pynetdicom alone, and keep the data sets that come.

This is the second witness of expected.csv: what it cannot get, the PACS cannot send.
"""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydicom.dataset import Dataset
from pynetdicom import AE, _config, build_context, build_role, evt
from pynetdicom.dimse_primitives import C_STORE

from tests.peers.launch import Lane
from tests.peers.loading import Loaded, Pacs, keep_acknowledging

__all__ = ["Arrivals", "Retrieve", "ask"]

Retrieve = Literal["c-move", "c-get"]

_STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
_STUDY_GET = "1.2.840.10008.5.1.4.1.2.2.3"
_CONTEXTS_MAX = 127
_EXPLICIT = "1.2.840.10008.1.2.1"
#: Offered beside others, PixelMed sends everything in it.
_DEFLATED = "1.2.840.10008.1.2.1.99"


@dataclass(slots=True)
class Arrivals:
    """What came: per SOP Instance UID the data sets by digest, and the final statuses heard."""

    folder: Path
    data_sets: defaultdict[str, dict[str, Path]] = field(default_factory=lambda: defaultdict(dict))
    transfer_syntaxes: dict[str, str] = field(default_factory=dict)
    #: Per Study Instance UID, or SOP Instance UID for questions at IMAGE level.
    statuses: dict[str, str] = field(default_factory=dict)

    def take(self, event: evt.Event) -> int:
        """Keep the data set as it came over the wire; it is never parsed."""
        request = event.request
        assert isinstance(request, C_STORE)
        assert request.DataSet is not None
        content = request.DataSet.getvalue()
        digest = hashlib.sha256(content).hexdigest()
        path = self.folder / f"{digest}.dataset"
        path.write_bytes(content)
        self.data_sets[str(request.AffectedSOPInstanceUID)][digest] = path
        self.transfer_syntaxes[digest] = str(event.context.transfer_syntax)
        return 0x0000

    def has(self, record: Loaded) -> bool:
        """Say whether a file's data set came back byte for byte."""
        return record.dataset_sha256 in self.data_sets.get(record.sop_instance_uid, {})


def ask(
    pacs: Pacs, lane: Lane, wanted: Sequence[Loaded], retrieve: Retrieve, arrivals: Arrivals,
    *, level: Literal["STUDY", "IMAGE"],
) -> None:  # fmt: skip
    """Ask once for all studies, or once per instance with its transfer syntax alone allowed."""
    _config.LOG_HANDLER_LEVEL = "none"
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    if level == "STUDY":
        groups = [list(wanted)]
    else:
        by_syntax: defaultdict[str, list[Loaded]] = defaultdict(list)
        for record in wanted:
            by_syntax[record.transfer_syntax_uid].append(record)
        groups = list(by_syntax.values())
    for group in groups:
        questions = _study_questions(group) if level == "STUDY" else _image_questions(group)
        pairs = sorted({(each.sop_class_uid, each.transfer_syntax_uid) for each in group})
        if level == "STUDY":
            # Explicit is what every sender can make of it.
            pairs = sorted({(uid, _EXPLICIT if syn == _DEFLATED else syn) for uid, syn in pairs})
        if retrieve == "c-move":
            _move(pacs, lane, pairs, questions, arrivals)
        else:
            _get(pacs, lane, pairs, questions, arrivals)


def _study_questions(records: Iterable[Loaded]) -> dict[str, Dataset]:
    return {
        each.study_instance_uid: _identifier("STUDY", StudyInstanceUID=each.study_instance_uid)
        for each in records
        if each.study_instance_uid
    }


def _image_questions(records: Iterable[Loaded]) -> dict[str, Dataset]:
    return {
        each.sop_instance_uid: _identifier(
            "IMAGE",
            StudyInstanceUID=each.study_instance_uid,
            SeriesInstanceUID=each.series_instance_uid,
            SOPInstanceUID=each.sop_instance_uid,
        )
        for each in records
    }


def _identifier(level: str, **uids: str) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for name, value in uids.items():
        setattr(identifier, name, value)
    return identifier


def _entity(lane: Lane) -> AE:
    entity = AE(ae_title=lane.ae_title)
    entity.maximum_pdu_size = 131072
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 40
    return entity


@contextmanager
def _listening(lane: Lane, pairs: Sequence[tuple[str, str]], arrivals: Arrivals) -> Iterator[None]:
    """Run a storage SCP that accepts these transfer syntaxes, in the order the PACS proposes."""
    entity = _entity(lane)
    accepted: defaultdict[str, list[str]] = defaultdict(list)
    for sop_class_uid, transfer_syntax_uid in pairs:
        accepted[sop_class_uid].append(transfer_syntax_uid)
    for sop_class_uid, transfer_syntax_uids in accepted.items():
        entity.add_supported_context(sop_class_uid, transfer_syntax_uids)
    server = entity.start_server(
        (lane.host, lane.port),
        block=False,
        evt_handlers=[(evt.EVT_C_STORE, arrivals.take), (evt.EVT_PDU_SENT, keep_acknowledging)],
    )
    assert server is not None, "a server that does not block is returned"
    try:
        yield
    finally:
        server.shutdown()


def _move(
    pacs: Pacs, lane: Lane, pairs: Sequence[tuple[str, str]], questions: dict[str, Dataset],
    arrivals: Arrivals,
) -> None:  # fmt: skip
    with _listening(lane, pairs, arrivals):
        for name, identifier in questions.items():
            association = _entity(lane).associate(
                pacs.host,
                pacs.port,
                contexts=[build_context(_STUDY_MOVE)],
                ae_title=pacs.ae_title,
            )
            if not association.is_established:
                arrivals.statuses[name] = "no association"
                continue
            answers = association.send_c_move(identifier, lane.ae_title, _STUDY_MOVE)
            arrivals.statuses[name] = _final(answers)
            association.release()


def _get(
    pacs: Pacs, lane: Lane, pairs: Sequence[tuple[str, str]], questions: dict[str, Dataset],
    arrivals: Arrivals,
) -> None:  # fmt: skip
    assert len(pairs) <= _CONTEXTS_MAX
    contexts = [build_context(_STUDY_GET), *(build_context(*pair) for pair in pairs)]
    roles = [build_role(uid, scp_role=True) for uid in sorted({uid for uid, _ in pairs})]
    for name, identifier in questions.items():
        association = _entity(lane).associate(
            pacs.host,
            pacs.port,
            contexts=contexts,
            ae_title=pacs.ae_title,
            ext_neg=roles,  # type: ignore[arg-type]
            evt_handlers=[(evt.EVT_C_STORE, arrivals.take), (evt.EVT_PDU_SENT, keep_acknowledging)],
        )
        if not association.is_established:
            arrivals.statuses[name] = "no association"
            continue
        arrivals.statuses[name] = _final(association.send_c_get(identifier, _STUDY_GET))
        association.release()


def _final(answers: Iterable[tuple[Dataset, Dataset | None]]) -> str:
    """Return the last status with its counts, as `B000 c10 f1 w0`, or what came instead."""
    told = "no answer"
    try:
        for status, _ in answers:
            if "Status" not in status:
                return "no answer" if told == "no answer" else f"{told}, then no answer"
            counts = [
                f"{letter}{status.get(keyword)}"
                for letter, keyword in (
                    ("c", "NumberOfCompletedSuboperations"),
                    ("f", "NumberOfFailedSuboperations"),
                    ("w", "NumberOfWarningSuboperations"),
                )
                if status.get(keyword) is not None
            ]
            told = " ".join([f"{status.Status:04X}", *counts])
    except (ValueError, RuntimeError) as error:
        return str(error).split(".", maxsplit=1)[0]
    return told
