"""The scripted PACS seen from outside, by pynetdicom and DCMTK: honest first, then as told."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import io
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pynetdicom import AE, _config, build_role, evt

from cloudmig.demo.oddities import conflicting, renamed, two_patients, without_images
from cloudmig.demo.pacs import Fault, Script, ScriptedPacs, negotiation
from cloudmig.demo.pacs.commands import response_to
from cloudmig.demo.pacs.wire import PeerGone
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
    entity = AE(calling_aet)
    for sop_class in (VERIFICATION, FIND, MOVE):
        entity.add_requested_context(sop_class)
    association = entity.associate(pacs.host, pacs.port, ae_title=pacs.aet)
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


def held(study: Study) -> list[str]:
    return sorted(hashlib.sha256(one.data_set()).hexdigest() for one in study.instances())


def uids(answers: list[Dataset]) -> list[str]:
    return sorted(answer.StudyInstanceUID for answer in answers)


def test_it_answers_an_echo() -> None:
    with a_pacs() as pacs, associated(pacs) as association:
        assert association.send_c_echo().Status == 0x0000
        assert pacs.counters.asked["echo"] == 1


def test_a_universal_query_finds_every_study() -> None:
    with a_pacs() as pacs:
        found, status = find(pacs, PatientName="", ModalitiesInStudy="", StudyDate="")

    assert uids(found) == sorted(study.study_instance_uid for study in STUDIES)
    assert status == 0x0000
    assert {str(one.PatientName) for one in found} == {study.patient.name for study in STUDIES}


def test_date_windows_miss_only_the_dateless_and_the_invalid() -> None:
    with a_pacs() as pacs:
        found, _ = find(pacs, StudyDate="19000101-20991231")
        early, _ = find(pacs, StudyDate="-20181231")
        late, _ = find(pacs, StudyDate="20190101-")

    assert len(found) == len(STUDIES) - 2
    assert sorted(uids(early) + uids(late)) == uids(found)


def test_other_criteria_narrow_the_answer() -> None:
    wanted = [s.study_instance_uid for s in STUDIES if s.modalities == ("MR",)]
    prefix = CT.patient.patient_id[:3]
    with a_pacs() as pacs:
        by_modality, _ = find(pacs, ModalitiesInStudy="MR")
        by_patient, _ = find(pacs, PatientID=f"{prefix}*")
        by_list, _ = find(pacs, StudyInstanceUID="\\".join(wanted[:2]))
        by_time, _ = find(pacs, StudyTime="120000-235959")

    assert uids(by_modality) == sorted(wanted)
    assert uids(by_patient) == sorted(
        s.study_instance_uid for s in STUDIES if s.patient.patient_id.startswith(prefix)
    )
    assert uids(by_list) == sorted(wanted[:2])
    assert uids(by_time) == sorted(
        s.study_instance_uid for s in STUDIES if s.study_time >= "120000"
    )


def test_series_and_images_are_listed_under_their_study() -> None:
    with a_pacs() as pacs:
        series, _ = find(pacs, "SERIES", StudyInstanceUID=CT.study_instance_uid,
                         SeriesInstanceUID="", Modality="")  # fmt: skip
        images, _ = find(pacs, "IMAGE", StudyInstanceUID=CT.study_instance_uid,
                         SeriesInstanceUID=CT.series[0].series_instance_uid,
                         SOPInstanceUID="", SOPClassUID="")  # fmt: skip

    assert [one.SeriesInstanceUID for one in series] == [s.series_instance_uid for s in CT.series]
    assert {one.Modality for one in series} == {"CT"}
    assert [one.SOPInstanceUID for one in images] == [
        one.sop_instance_uid
        for one in CT.instances()
        if one.series_instance_uid == CT.series[0].series_instance_uid
    ]


def test_c_move_sends_every_study_byte_for_byte() -> None:
    with a_pacs() as pacs, an_inbox(pacs) as inbox:
        for study in STUDIES[:12]:
            assert move(pacs, study)[-1].Status == 0x0000

    assert inbox.digests == sorted(digest for study in STUDIES[:12] for digest in held(study))


def test_c_move_sends_the_one_instance_that_was_asked_for() -> None:
    wanted = CT.instances()[2]
    with a_pacs() as pacs, an_inbox(pacs) as inbox:
        move(pacs, CT, SeriesInstanceUID=wanted.series_instance_uid,
             SOPInstanceUID=wanted.sop_instance_uid)  # fmt: skip

    assert inbox.received == [(wanted.sop_instance_uid, wanted.data_set())]


def test_c_get_sends_byte_for_byte_with_one_context_per_syntax() -> None:
    inbox = Inbox()
    entity = AE("TESTER")
    entity.add_requested_context(GET)
    instance = CT.instances()[0]
    entity.add_requested_context(instance.sop_class_uid, instance.transfer_syntax_uid)
    identifier = an_identifier("STUDY", StudyInstanceUID=CT.study_instance_uid)
    with a_pacs() as pacs:
        association = entity.associate(
            pacs.host, pacs.port, ae_title=pacs.aet,
            ext_neg=[build_role(instance.sop_class_uid, scp_role=True)],
            evt_handlers=[(evt.EVT_C_STORE, inbox.take)],
        )  # fmt: skip
        statuses = [status for status, _ in association.send_c_get(identifier, GET)]
        association.release()

    assert statuses[-1].Status == 0x0000
    assert statuses[-1].NumberOfCompletedSuboperations == len(held(CT))
    assert inbox.digests == held(CT)


def test_the_truth_is_what_comes_out() -> None:
    with a_pacs(studies=[CT]) as pacs, an_inbox(pacs) as inbox:
        move(pacs, CT)
        truth = list(pacs.truth())

    assert inbox.digests == sorted(one.data_set_sha256 for one in truth)
    assert {one.sop_instance_uid for one in truth} == set(pacs.counters.sent)
    assert pacs.counters.sent_bytes == sum(one.data_set_bytes for one in truth)


def test_it_sends_at_least_two_hundred_instances_a_second() -> None:
    """To a receiver as plain as the PACS itself: pynetdicom's alone would be slower."""
    series = replace(CT.series[0], instances=400, transfer_syntax_uid=SYNTAXES[1])
    study = replace(CT, series=(series,))
    with a_pacs(studies=[study]) as pacs, socket.create_server(("127.0.0.1", 0)) as listener:
        pacs.send_to("SINK", *listener.getsockname())
        with ThreadPoolExecutor(1) as pool:
            elapsed = pool.submit(answer_every_store, listener)
            assert move(pacs, study, to="SINK")[-1].NumberOfCompletedSuboperations == 400

    rate = 400 / elapsed.result()
    assert rate > 200, f"{rate:.0f} instances a second"


def answer_every_store(listener: socket.socket) -> float:
    """Take one association's stores, answer each, and return how long it lasted."""
    connection, _ = listener.accept()
    link = negotiation.accept(connection, supports=lambda *_: True, objection=lambda _: None)
    assert link
    began = time.monotonic()
    with contextlib.suppress(PeerGone):
        while True:
            message = link.receive()
            link.send(message.context_id, response_to(message.command, 0x0000))
    link.close()
    return time.monotonic() - began


# What follows is told by the script.


def test_a_silent_limit_cuts_the_answer_and_says_success() -> None:
    with a_pacs(Script(study_limit=10, image_limit=3)) as pacs:
        studies, status = find(pacs)
        images, _ = find(pacs, "IMAGE", StudyInstanceUID=CT.study_instance_uid,
                         SeriesInstanceUID="", SOPInstanceUID="")  # fmt: skip

    assert len(studies) == 10
    assert status == 0x0000
    assert len(images) == 3


def test_a_limit_can_be_refused_instead() -> None:
    with a_pacs(Script(study_limit=10, limit_is_refused=True)) as pacs:
        assert find(pacs) == ([], 0xA700)
        assert find(pacs, StudyInstanceUID=CT.study_instance_uid)[1] == 0x0000


def test_answers_can_come_twice() -> None:
    with a_pacs(Script(answers_twice=True)) as pacs:
        assert len(find(pacs)[0]) == 2 * len(STUDIES)


def test_optional_counts_can_be_missing() -> None:
    with a_pacs(Script(optional_counts=False)) as pacs:
        found, _ = find(pacs, NumberOfStudyRelatedInstances="", ModalitiesInStudy="")

    assert not any("NumberOfStudyRelatedInstances" in one for one in found)


def test_image_level_queries_can_be_unknown() -> None:
    with a_pacs(Script(image_find=False)) as pacs:
        assert find(pacs, "IMAGE", StudyInstanceUID=CT.study_instance_uid)[1] == 0xA900


def test_dates_and_optional_keys_can_be_ignored() -> None:
    with a_pacs(Script(ignores_dates=True, ignores_optional_keys=True)) as pacs:
        by_date, _ = find(pacs, StudyDate="20200101")
        by_modality, _ = find(pacs, ModalitiesInStudy="XA")

    assert len(by_date) == len(by_modality) == len(STUDIES)


def test_the_character_set_can_be_kept_secret() -> None:
    with a_pacs(Script(character_set_told=False)) as pacs:
        silent, _ = find(pacs, PatientName="")
        asked, _ = find(pacs, PatientName="", SpecificCharacterSet="")

    assert not any("SpecificCharacterSet" in one for one in silent)
    assert {one.SpecificCharacterSet for one in asked} == {"ISO_IR 192"}


def test_two_patients_and_empty_studies_are_listed() -> None:
    empty = without_images(next(study for study in STUDIES if study is not CT))
    odd = [*two_patients(CT), empty]
    with a_pacs(studies=odd) as pacs, an_inbox(pacs) as inbox:
        found, _ = find(pacs, PatientID="", NumberOfStudyRelatedInstances="")
        move(pacs, CT)
        nothing = move(pacs, empty)

    shared = [one for one in found if one.StudyInstanceUID == CT.study_instance_uid]
    assert len({one.PatientID for one in shared}) == 2
    assert "0" in {str(one.NumberOfStudyRelatedInstances) for one in found}
    assert len(inbox.received) == len(held(CT)) + 1
    assert nothing[-1].Status == 0x0000


@pytest.mark.parametrize(("counted", "status"), [("failed", 0xB000), ("completed", 0x0000)])
def test_a_missing_instance_never_comes(counted: str, status: int) -> None:
    lost = CT.instances()[1].sop_instance_uid
    script = Script(missing=frozenset({lost}), missing_counted=counted)
    with a_pacs(script) as pacs, an_inbox(pacs) as inbox:
        last = move(pacs, CT)[-1]

    assert lost not in {uid for uid, _ in inbox.received}
    assert len(inbox.received) == len(held(CT)) - 1
    assert last.Status == status
    assert last.NumberOfFailedSuboperations == (counted == "failed")


def test_a_conflict_arrives_with_both_contents() -> None:
    study = conflicting(CT)
    with a_pacs(studies=[study]) as pacs, an_inbox(pacs) as inbox:
        move(pacs, study)

    twice = [data for uid, data in inbox.received if uid == CT.instances()[0].sop_instance_uid]
    assert len(set(twice)) == 2


def test_content_can_change_from_pull_to_pull_and_encoding_too() -> None:
    one, two = CT.instances()[:2]
    script = Script(
        changing=frozenset({one.sop_instance_uid}), reencoded=frozenset({two.sop_instance_uid})
    )
    with a_pacs(script) as pacs, an_inbox(pacs) as inbox:
        move(pacs, CT)
        move(pacs, CT)

    first, second = (data for uid, data in inbox.received if uid == one.sop_instance_uid)
    assert first != second
    plain, coded = (data for uid, data in inbox.received if uid == two.sop_instance_uid)
    assert coded.endswith(plain)
    assert len(coded) == len(plain) + 12


def test_command_and_data_set_can_name_two_instances() -> None:
    odd = CT.instances()[0].sop_instance_uid
    with a_pacs(Script(misnamed=frozenset({odd}))) as pacs, an_inbox(pacs) as inbox:
        move(pacs, CT)

    assert odd not in {uid for uid, _ in inbox.received}
    assert inbox.digests == held(CT)


def test_new_uids_can_be_made_for_every_retrieve() -> None:
    with a_pacs(Script(new_uids=True)) as pacs, an_inbox(pacs) as inbox:
        move(pacs, CT)
        move(pacs, CT)

    named = [uid for uid, _ in inbox.received]
    assert len(set(named)) == len(named) == 2 * len(held(CT))
    for uid, data in inbox.received:
        implicit = CT.series[0].transfer_syntax_uid == SYNTAXES[0]
        assert read_dataset(io.BytesIO(data), implicit, True).SOPInstanceUID == uid


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_hostile_uid_is_sent_as_it_is() -> None:
    study = renamed(CT, 0, sop_instance_uid="1.2.3/../../x")
    with a_pacs(studies=[study]) as pacs, an_inbox(pacs) as inbox:
        move(pacs, study)

    assert "1.2.3/../../x" in {uid for uid, _ in inbox.received}


def test_pending_answers_and_counts_can_be_missing() -> None:
    with a_pacs(Script(final_status_only=True, counts_in_retrieve=False)) as pacs, an_inbox(pacs):
        [only] = move(pacs, CT)

    assert only.Status == 0x0000
    assert "NumberOfCompletedSuboperations" not in only


def test_the_last_store_can_come_after_the_answer() -> None:
    with a_pacs(Script(final_before_last_store=True)) as pacs, an_inbox(pacs) as inbox:
        identifier = an_identifier("STUDY", StudyInstanceUID=CT.study_instance_uid)
        with associated(pacs) as association:
            last = [status for status, _ in association.send_c_move(identifier, "INBOX", MOVE)][-1]
            when_answered = len(inbox.received)
        deadline = time.monotonic() + 5
        while len(inbox.received) < len(held(CT)) and time.monotonic() < deadline:
            time.sleep(0.01)

    assert last.NumberOfCompletedSuboperations == len(held(CT))
    assert when_answered == len(held(CT)) - 1
    assert inbox.digests == held(CT)


@pytest.mark.parametrize(
    ("fault", "status", "arrives"),
    [
        (Fault.BUSY, 0xA702, 0),
        (Fault.FAILURE, 0xC000, 0),
        (Fault.NOTHING, 0x0000, 0),
        (Fault.NOTHING_COUNTED, 0x0000, 0),
        (Fault.ABORT_STORES, 0xB000, 2),
    ],
)
def test_a_fault_shows_in_the_first_retrieves_and_then_is_gone(
    fault: Fault, status: int, arrives: int
) -> None:
    with a_pacs(Script(fault=fault, fault_retrieves=2)) as pacs, an_inbox(pacs) as inbox:
        faulty = [move(pacs, CT)[-1].Status for _ in range(2)]
        arrived = len(inbox.received)
        good = move(pacs, CT)[-1].Status

    assert faulty == [status, status]
    assert arrived == 2 * arrives
    assert good == 0x0000
    assert inbox.digests[-1:] == held(CT)[-1:]


def test_a_fault_can_be_kept_for_one_study() -> None:
    script = Script(fault=Fault.BUSY, fault_studies=frozenset({CT.study_instance_uid}))
    with a_pacs(script) as pacs, an_inbox(pacs):
        other = move(pacs, STUDIES[0] if STUDIES[0] is not CT else STUDIES[2])[-1].Status
        faulty = move(pacs, CT)[-1].Status
        good = move(pacs, CT)[-1].Status

    assert (other, faulty, good) == (0x0000, 0xA702, 0x0000)


def test_an_abort_ends_both_associations() -> None:
    with a_pacs(Script(fault=Fault.ABORT)) as pacs, an_inbox(pacs) as inbox:
        statuses = move(pacs, CT)
        again = move(pacs, CT)[-1].Status

    assert [one.get("Status") for one in statuses][-1] is None
    assert again == 0x0000
    assert len(inbox.received) == 2 + len(held(CT))


def test_the_wrong_study_can_come() -> None:
    with a_pacs(Script(fault=Fault.WRONG_STUDY)) as pacs, an_inbox(pacs) as inbox:
        assert move(pacs, CT)[-1].Status == 0x0000

    assert set(inbox.digests).isdisjoint(held(CT))
    assert inbox.received


def test_a_hang_lasts_as_long_as_told() -> None:
    script = Script(fault=Fault.HANG, hang_s=0.7)
    with a_pacs(script) as pacs, an_inbox(pacs) as inbox:
        move(pacs, CT)

    gaps = [later - sooner for sooner, later in zip(inbox.at, inbox.at[1:], strict=False)]
    assert max(gaps) >= 0.6
    assert inbox.digests == held(CT)


def test_an_endless_store_ends_at_its_limit() -> None:
    script = Script(fault=Fault.ENDLESS_STORE, endless_bytes_max=3_000_000)
    with a_pacs(script) as pacs, an_inbox(pacs) as inbox:
        statuses = move(pacs, CT)

    assert statuses[-1].get("Status") is None
    assert len(inbox.received) == 2


def test_strangers_can_be_turned_away() -> None:
    with a_pacs(Script(callers=frozenset({"FRIEND"}))) as pacs:
        with associated(pacs) as stranger, associated(pacs, calling_aet="FRIEND") as friend:
            assert stranger.is_rejected
            assert friend.is_established
        assert pacs.counters.associations_rejected == 1


def test_one_association_too_many_is_rejected() -> None:
    script = Script(associations_max=1)
    with a_pacs(script) as pacs, associated(pacs) as first, associated(pacs) as second:
        assert first.is_established
        assert second.is_rejected


def test_an_unknown_destination_is_refused() -> None:
    with a_pacs() as pacs:
        assert move(pacs, CT, to="NOWHERE")[-1].Status == 0xA801


def test_a_destination_that_is_down_fails_everything() -> None:
    with a_pacs() as pacs:
        pacs.send_to("INBOX", "127.0.0.1", 1)
        last = move(pacs, CT)[-1]

    assert last.Status == 0xA702
    assert last.NumberOfFailedSuboperations == len(held(CT))


def test_a_cancelled_query_stops() -> None:
    many = StudyMaker(TODAY).archive(2000)
    with a_pacs(studies=many) as pacs, associated(pacs) as association:
        answers = association.send_c_find(an_identifier("STUDY", StudyInstanceUID=""), FIND)
        next(answers)
        association.send_c_cancel(1, query_model=FIND)
        rest = [status.Status for status, _ in answers]

    assert rest[-1] == 0xFE00
    assert len(rest) < len(many)


def test_stopping_does_not_wait_for_silent_peers() -> None:
    with a_pacs() as pacs:
        silent = [socket.create_connection((pacs.host, pacs.port)) for _ in range(5)]
        began = time.monotonic()

    assert time.monotonic() - began < 3
    for one in silent:
        one.close()


def test_a_script_survives_its_way_to_another_process() -> None:
    script = Script(study_limit=7, missing=frozenset({"1.2.3"}), fault=Fault.HANG, hang_s=2.5)

    assert Script.from_json(script.to_json()) == script
    with pytest.raises(ValueError, match="no such habit"):
        Script.from_json('{"limmit": 3}')


@pytest.mark.skipif(not shutil.which("findscu"), reason="needs DCMTK's findscu")
def test_dcmtk_gets_along_with_it() -> None:
    with a_pacs() as pacs:
        done = subprocess.run(
            ["findscu", "-v", "-S", "-aec", pacs.aet, "-k", "QueryRetrieveLevel=STUDY",
             "-k", "StudyInstanceUID", "-k", "StudyDate=20190101-", "-k", "PatientName",
             pacs.host, str(pacs.port)],
            capture_output=True, check=True, timeout=30,
        )  # fmt: skip

    late = sum(study.study_date >= "20190101" for study in STUDIES)
    assert (done.stdout + done.stderr).count(b"StudyInstanceUID") >= late


def test_it_is_a_process_of_its_own_too() -> None:
    command = [
        sys.executable,
        "-m",
        "cloudmig.demo.pacs",
        "--studies",
        "8",
        "--to",
        "A=127.0.0.1:9",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        told = json.loads(process.stdout.readline())
        entity = AE("TESTER")
        entity.add_requested_context(VERIFICATION)
        association = entity.associate(told["host"], told["port"])
        assert association.send_c_echo().Status == 0x0000
        association.release()
        process.stdin.close()
        assert process.wait(timeout=10) == 0
    assert told["studies"] == 8
