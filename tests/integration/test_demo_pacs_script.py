"""The scripted PACS does what its script says, and shows it to nobody but the careful."""

from __future__ import annotations

import io
import socket
import time

import pytest
from pydicom.filereader import read_dataset

from cloudmig.demo.oddities import (
    conflicting,
    garbage,
    renamed,
    truncated,
    two_patients,
    without_images,
)
from cloudmig.demo.pacs import Fault, Script
from cloudmig.demo.studies import StudyMaker
from tests.integration.demo_pacs_client import (
    CT,
    FIND,
    MOVE,
    STUDIES,
    SYNTAXES,
    TODAY,
    VERIFICATION,
    a_pacs,
    an_identifier,
    an_inbox,
    associated,
    find,
    get,
    held,
    move,
)


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


def test_counts_can_be_zero() -> None:
    with a_pacs(Script(counts_are_zero=True)) as pacs:
        found, _ = find(pacs, NumberOfStudyRelatedInstances="")

    assert {int(one.NumberOfStudyRelatedInstances) for one in found} == {0}


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
            assert stranger.pdus == ["A_ASSOCIATE_RJ"]
            assert not stranger.is_established
            assert friend.is_established
        assert pacs.counters.associations_rejected == 1


def test_one_association_too_many_is_rejected() -> None:
    script = Script(associations_max=1)
    with a_pacs(script) as pacs, associated(pacs) as first, associated(pacs) as second:
        assert first.is_established
        assert second.pdus == ["A_ASSOCIATE_RJ"]
        assert not second.is_established
        assert pacs.counters.associations_rejected == 1


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


def test_poison_is_sent_as_it_lies_there() -> None:
    study = truncated(garbage(CT, 0), 1)
    with a_pacs(studies=[study]) as pacs, an_inbox(pacs) as inbox:
        move(pacs, study)
        truth = sorted(one.data_set_sha256 for one in pacs.truth())

    assert inbox.digests == truth == held(study) != held(CT)


def test_the_script_holds_for_c_get_too() -> None:
    lost = CT.instances()[1].sop_instance_uid
    with a_pacs(Script(missing=frozenset({lost}), fault=Fault.BUSY)) as pacs:
        busy, nothing = get(pacs, CT)
        short, rest = get(pacs, CT)
        pacs.script = Script(fault=Fault.ABORT, fault_retrieves=99)
        aborted, some = get(pacs, CT)

    assert (busy[-1].Status, len(nothing.received)) == (0xA702, 0)
    assert (short[-1].Status, len(rest.received)) == (0xB000, len(held(CT)) - 1)
    assert short[-1].NumberOfFailedSuboperations == 1
    assert (aborted[-1].get("Status"), len(some.received)) == (None, 2)


def test_c_get_and_c_move_can_be_unknown() -> None:
    with a_pacs(Script(get_allowed=False, move_allowed=False)) as pacs:
        with associated(pacs) as association:
            accepted = {context.abstract_syntax for context in association.accepted_contexts}

        assert accepted == {VERIFICATION, FIND}
