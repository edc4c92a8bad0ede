"""How tests look at the scripted PACS: pynetdicom as its client and C-MOVE destination."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, _config, build_role, evt

from cloudmig.demo.pacs import Script, ScriptedPacs
from cloudmig.demo.studies import Study, StudyMaker

_config.LOG_HANDLER_LEVEL = "none"
VERIFICATION = "1.2.840.10008.1.1"
FIND, MOVE, GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))
TODAY = dt.date(2026, 11, 22)
SYNTAXES = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50",
            "1.2.840.10008.1.2.5"]  # fmt: skip
STUDIES = StudyMaker(TODAY).archive(30)
CT = next(study for study in STUDIES if study.modalities == ("CT",) and study.study_date.isdigit())


@dataclass
class Inbox:
    """What our own storage SCP received: (SOP Instance UID of the command, data set bytes)."""

    received: list[tuple[str, bytes]] = field(default_factory=list)
    at: list[float] = field(default_factory=list)

    def take(self, event: evt.Event) -> int:
        request = event.request
        self.received.append((str(request.AffectedSOPInstanceUID), request.DataSet.getvalue()))
        self.at.append(time.monotonic())
        return 0x0000

    @property
    def digests(self) -> list[str]:
        return sorted(hashlib.sha256(data_set).hexdigest() for _, data_set in self.received)


@contextlib.contextmanager
def a_pacs(
    script: Script | None = None, studies: Sequence[Study] = STUDIES
) -> Iterator[ScriptedPacs]:
    with ScriptedPacs(studies, script) as pacs:
        yield pacs


@contextlib.contextmanager
def an_inbox(pacs: ScriptedPacs) -> Iterator[Inbox]:
    inbox = Inbox()
    entity = AE("INBOX")
    for study in pacs.studies:
        for series in study.series:
            entity.add_supported_context(series.sop_class_uid, SYNTAXES)
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, inbox.take)]
    )
    pacs.send_to("INBOX", *server.server_address[:2])
    try:
        yield inbox
    finally:
        server.shutdown()


@contextlib.contextmanager
def associated(pacs: ScriptedPacs, *, calling_aet: str = "TESTER") -> Iterator[Any]:
    """Give an association; its `pdus` names what has come in.

    Where its threads are late pynetdicom calls a rejection an abort; what was read is certain.
    """
    pdus: list[str] = []
    note = (evt.EVT_PDU_RECV, lambda event: pdus.append(type(event.pdu).__name__))
    entity = AE(calling_aet)
    for sop_class in (VERIFICATION, FIND, MOVE):
        entity.add_requested_context(sop_class)
    association = entity.associate(pacs.host, pacs.port, ae_title=pacs.aet, evt_handlers=[note])
    association.pdus = pdus
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def an_identifier(level: str, **keys: str) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    return identifier


def find(pacs: ScriptedPacs, level: str = "STUDY", **keys: str) -> tuple[list[Dataset], int]:
    keys.setdefault("StudyInstanceUID", "")
    with associated(pacs) as association:
        answers = list(association.send_c_find(an_identifier(level, **keys), FIND))
    return [data for status, data in answers if status.Status == 0xFF00], answers[-1][0].Status


def move(pacs: ScriptedPacs, study: Study, *, to: str = "INBOX", **keys: str) -> list[Any]:
    level = "IMAGE" if "SOPInstanceUID" in keys else "STUDY"
    identifier = an_identifier(level, StudyInstanceUID=study.study_instance_uid, **keys)
    with associated(pacs) as association:
        return [status for status, _ in association.send_c_move(identifier, to, MOVE)]


def get(pacs: ScriptedPacs, study: Study) -> tuple[list[Any], Inbox]:
    """Pull a study by C-GET with one context for each of its classes and syntaxes."""
    inbox = Inbox()
    entity = AE("TESTER")
    entity.add_requested_context(GET)
    pairs = {(one.sop_class_uid, one.transfer_syntax_uid) for one in study.series}
    for sop_class_uid, transfer_syntax_uid in pairs:
        entity.add_requested_context(sop_class_uid, transfer_syntax_uid)
    association = entity.associate(
        pacs.host, pacs.port, ae_title=pacs.aet,
        ext_neg=[build_role(one, scp_role=True) for one in {pair[0] for pair in pairs}],
        evt_handlers=[(evt.EVT_C_STORE, inbox.take)],
    )  # fmt: skip
    identifier = an_identifier("STUDY", StudyInstanceUID=study.study_instance_uid)
    try:
        return [status for status, _ in association.send_c_get(identifier, GET)], inbox
    finally:
        if association.is_established:
            association.release()


def held(study: Study) -> list[str]:
    return sorted(hashlib.sha256(one.data_set()).hexdigest() for one in study.instances())


def uids(answers: list[Dataset]) -> list[str]:
    return sorted(answer.StudyInstanceUID for answer in answers)
