"""The scripted PACS as an honest one, seen by pynetdicom and DCMTK."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from pynetdicom import AE

from cloudmig.demo.pacs import negotiation
from cloudmig.demo.pacs.commands import response_to
from cloudmig.demo.pacs.wire import PeerGone
from tests.integration.demo_pacs_client import (
    CT,
    STUDIES,
    SYNTAXES,
    VERIFICATION,
    a_pacs,
    an_inbox,
    associated,
    find,
    get,
    held,
    move,
    uids,
)


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
    with a_pacs() as pacs:
        statuses, inbox = get(pacs, CT)

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


def test_time_windows_that_touch_share_no_study_and_lose_none() -> None:
    """Windows cover fractions of a second: 12:59:59.999999 is the end of the hour."""
    with a_pacs() as pacs:
        hours = [
            find(pacs, StudyTime=f"{hour:02}0000.000000-{hour:02}5959.999999")[0]
            for hour in range(24)
        ]

    timed = sorted(study.study_instance_uid for study in STUDIES if study.study_time)
    assert sorted(uid for hour in hours for uid in uids(hour)) == timed
    assert len(timed) < len(STUDIES), "one study of the archive has no time"
