"""What the cloud says, on both databases: applied once, in order, and to the right manifest."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence

import pytest

from cloudmig.catalog import Catalog
from cloudmig.catalog.cloud_verdicts import Heard, Word
from cloudmig.catalog.records import BadInstance, RestoreRow
from cloudmig.catalog.replay import as_replayed, rebuild, rebuild_restores
from cloudmig.errors import CatalogError
from cloudmig.messages import ObjectFinding, ObjectVerdict, StudyVerdict
from cloudmig.model.extra_object import ExtraObject
from cloudmig.model.quarantine import QuarantineReason
from cloudmig.model.references import StudyRef
from cloudmig.model.states import CopyState, TransferState
from tests.catalog_studies import (
    NOW,
    a_receipt,
    a_study,
    agree,
    an_instance,
    claim,
    plan,
    state_of,
    store,
    store_copy,
    take_inventory,
)

pytest_plugins = ["tests.catalog_fixtures"]

STUDY = a_study()
ALTERED = ObjectFinding(
    finding="altered", key="k/1.dcm", sop_instance_uid=f"{STUDY.study_instance_uid}.1.1",
    version_id="v2", etag='"e"',
)  # fmt: skip
STRANGER = ObjectFinding(
    finding="stranger", key="v1/main/xx/1.2/3/4.dcm", version_id="s1", etag="s"
)


def after(minutes: float) -> dt.datetime:
    return NOW + dt.timedelta(minutes=minutes)


def a_verdict(
    *findings: ObjectFinding,
    minutes: float = 1,
    revision: int = 1,
    study: StudyRef = STUDY,
    sha256: str = "",
    differing: int | None = None,
) -> StudyVerdict:
    return StudyVerdict(
        bucket="images", prefix="", archive="main", study_instance_uid=study.study_instance_uid,
        manifest_key=f"manifest/{revision}.json.gz", manifest_sha256=sha256 or f"{revision:064x}",
        manifest_revision=revision, agreed=not findings, instances=2,
        differing=len(findings) if differing is None else differing, how="STREAMED",
        at=after(minutes).isoformat(), findings=findings,
    )  # fmt: skip


def hear(catalog: Catalog, verdict: StudyVerdict) -> Heard:
    return catalog.hear_study_verdict("archive", "main", verdict, at=NOW)


def kinds(catalog: Catalog) -> list[str]:
    return [event.kind for event in catalog.ledger()]


def copy_state(catalog: Catalog, number: int = 0) -> CopyState:
    row = catalog.transfer("main", STUDY)
    assert row is not None
    return row.copies[number].state


def a_stored_study(catalog: Catalog, *destinations: str) -> None:
    take_inventory(catalog, [STUDY])
    plan(catalog, [STUDY], *(destinations or ("archive",)))
    store(catalog, claim(catalog))


def repair(catalog: Catalog, revision: int) -> None:
    store(catalog, claim(catalog), revision=revision)


def test_an_agreed_verdict_verifies_the_copy_and_the_ledger_says_how(catalog: Catalog) -> None:
    a_stored_study(catalog)

    heard = hear(catalog, a_verdict())

    assert (heard.word, heard.state) == (Word.AGREED, TransferState.VERIFIED)
    [event] = [event for event in catalog.ledger() if event.kind == "copy_verified"]
    assert event.detail == {
        "how": "CLOUD", "looked": "STREAMED", "judged_at": after(1).isoformat(),
        "manifest_revision": 1,
    }  # fmt: skip
    assert catalog.statement().verdicts == {"CLOUD": 1}
    assert catalog.status_counts().verdicts == {"CLOUD": 1}


@pytest.mark.parametrize("findings", [(), (ALTERED,)], ids=["agreed", "differs"])
def test_the_same_verdict_twice_is_heard_once(
    catalog: Catalog, findings: Sequence[ObjectFinding]
) -> None:
    a_stored_study(catalog)
    hear(catalog, a_verdict(*findings))
    before = kinds(catalog)

    assert hear(catalog, a_verdict(*findings)).word is Word.OLDER
    assert kinds(catalog) == before


def test_an_older_verdict_does_not_undo_a_newer_word(catalog: Catalog) -> None:
    a_stored_study(catalog)
    hear(catalog, a_verdict(minutes=5))

    assert hear(catalog, a_verdict(ALTERED, minutes=4)).word is Word.OLDER
    assert state_of(catalog, STUDY) is TransferState.VERIFIED
    assert hear(catalog, a_verdict(ALTERED, minutes=6)).word is Word.DIFFERS
    assert hear(catalog, a_verdict(minutes=5.5)).word is Word.OLDER
    assert state_of(catalog, STUDY) is TransferState.PLANNED


def test_a_read_back_is_a_word_like_any_other(catalog: Catalog) -> None:
    a_stored_study(catalog)
    [copy] = catalog.copies_to_verify()
    agree(catalog, copy)

    assert hear(catalog, a_verdict(ALTERED, minutes=-1)).word is Word.OLDER
    assert hear(catalog, a_verdict(minutes=1)).word is Word.AGREED


UNREADABLE = BadInstance(ALTERED.sop_instance_uid, "unreadable", ALTERED.key)


def test_what_cannot_be_read_takes_the_verdict_back_and_the_ledger_says_so(
    catalog: Catalog,
) -> None:
    a_stored_study(catalog)
    [copy] = catalog.copies_to_verify()
    agree(catalog, copy)

    catalog.record_unreadable(copy, [UNREADABLE], NOW)

    assert copy_state(catalog) is CopyState.STORED
    assert catalog.copies_to_verify() == [copy]
    row = catalog.transfer("main", STUDY)
    assert row is not None
    assert rebuild(catalog.ledger())["main", STUDY.study_instance_uid] == as_replayed(row)


def test_what_cannot_be_read_changes_nothing_while_another_copy_is_made(
    catalog: Catalog,
) -> None:
    """As a verdict does not: whoever makes it may just be writing this one, too."""
    a_stored_study(catalog, "archive", "second")
    first, second = catalog.copies_to_verify()
    agree(catalog, first)
    catalog.record_verdict(
        second, agreed=False, how="READ_BACK", findings=[UNREADABLE], at=after(1)
    )
    claim(catalog)

    catalog.record_unreadable(first, [UNREADABLE], after(2))

    assert copy_state(catalog) is CopyState.VERIFIED
    assert "copy_unreadable" not in kinds(catalog)


def test_a_verdict_on_a_replaced_manifest_is_superseded(catalog: Catalog) -> None:
    a_stored_study(catalog)
    hear(catalog, a_verdict(ALTERED))
    repair(catalog, 2)

    assert hear(catalog, a_verdict(ALTERED, minutes=60)).word is Word.SUPERSEDED
    assert hear(catalog, a_verdict(minutes=61)).word is Word.SUPERSEDED
    assert state_of(catalog, STUDY) is TransferState.STORED
    # The new manifest's time begins anew, whatever the clocks said before.
    assert hear(catalog, a_verdict(revision=2, minutes=0.5)).word is Word.AGREED


def test_two_failed_repairs_and_a_person_decides(catalog: Catalog) -> None:
    a_stored_study(catalog)
    for revision in (1, 2):
        hear(catalog, a_verdict(ALTERED, revision=revision))
        assert state_of(catalog, STUDY) is TransferState.PLANNED
        repair(catalog, revision + 1)

    heard = hear(catalog, a_verdict(ALTERED, revision=3))

    assert (heard.word, heard.state) == (Word.DIFFERS, TransferState.QUARANTINED)
    [item] = catalog.quarantine_items()
    assert item.reason is QuarantineReason.VERIFICATION_FAILED


def test_newer_findings_replace_those_that_wait_for_repair(catalog: Catalog) -> None:
    a_stored_study(catalog)
    hear(catalog, a_verdict(ALTERED))
    newer = ObjectFinding(
        finding="truncated", key=ALTERED.key, sop_instance_uid=ALTERED.sop_instance_uid,
        version_id="v3", etag='"f"',
    )  # fmt: skip

    assert hear(catalog, a_verdict(newer, minutes=2)).word is Word.DIFFERS
    assert hear(catalog, a_verdict(minutes=3)).word is Word.SUPERSEDED
    [bad] = catalog.open_work(claim(catalog)).bad["archive"]
    assert (bad.finding, bad.version_id, bad.etag) == ("truncated", "v3", '"f"')


def test_other_bytes_under_the_manifests_key_are_no_manifest_of_ours(catalog: Catalog) -> None:
    a_stored_study(catalog)

    heard = hear(catalog, a_verdict(sha256="f" * 64))

    assert heard.word is Word.DIFFERS
    assert [(one.finding, one.key) for one in heard.findings] == [
        ("manifest altered", "manifest/1.json.gz")
    ]


@pytest.mark.parametrize("findings", [(), (ALTERED,)], ids=["agreed", "differs"])
def test_a_verdict_that_overtakes_the_manifests_record_waits_for_it(
    catalog: Catalog, findings: Sequence[ObjectFinding]
) -> None:
    take_inventory(catalog, [STUDY])
    plan(catalog, [STUDY], "archive")
    job = claim(catalog)

    assert hear(catalog, a_verdict(*findings)).word is Word.WAITS
    assert hear(catalog, a_verdict(ALTERED, minutes=0.5)).word is Word.WAITS
    assert catalog.hear_waiting(NOW) == []
    store(catalog, job)
    [late] = catalog.hear_waiting(NOW)

    assert (late.study, late.destination) == (STUDY, "archive")
    assert late.heard.word is (Word.DIFFERS if findings else Word.AGREED)
    assert catalog.hear_waiting(NOW) == []


def test_while_another_copy_is_made_only_what_differs_waits(catalog: Catalog) -> None:
    take_inventory(catalog, [STUDY])
    plan(catalog, [STUDY], "archive", "second")
    job = claim(catalog)
    store_copy(catalog, job, "archive")

    assert hear(catalog, a_verdict()).word is Word.AGREED
    assert hear(catalog, a_verdict(ALTERED, minutes=2)).word is Word.WAITS
    assert copy_state(catalog) is CopyState.VERIFIED
    store_copy(catalog, job, "second")
    catalog.finish(job, TransferState.STORED, cause="", instances_inventory=2)
    [late] = catalog.hear_waiting(NOW)

    assert late.heard.word is Word.DIFFERS
    assert state_of(catalog, STUDY) is TransferState.PLANNED


def test_a_verdict_that_waited_for_too_long_is_superseded(catalog: Catalog) -> None:
    take_inventory(catalog, [STUDY])
    plan(catalog, [STUDY], "archive")
    job = claim(catalog)
    hear(catalog, a_verdict(ALTERED))
    store(catalog, job, revision=2)

    [late] = catalog.hear_waiting(NOW)

    assert late.heard.word is Word.SUPERSEDED
    assert state_of(catalog, STUDY) is TransferState.STORED


def test_what_is_not_in_the_catalog_changes_nothing(catalog: Catalog) -> None:
    a_stored_study(catalog)
    before = kinds(catalog)

    assert hear(catalog, a_verdict(study=a_study(9))).word is Word.UNKNOWN
    assert catalog.hear_study_verdict("other", "main", a_verdict(), at=NOW).word is Word.UNKNOWN
    assert catalog.hear_study_verdict("archive", "", a_verdict(), at=NOW).word is Word.UNKNOWN
    assert kinds(catalog) == before


def test_a_stranger_waits_for_a_person_and_the_study_is_verified(catalog: Catalog) -> None:
    a_stored_study(catalog)

    heard = hear(catalog, a_verdict(STRANGER))

    assert (heard.word, len(heard.extras)) == (Word.AGREED, 1)
    assert catalog.status_counts().quarantine == {QuarantineReason.STRANGER: 1}
    [item] = catalog.quarantine_items()
    assert item.study == ExtraObject("archive", STRANGER.key)
    assert STRANGER.key not in json.dumps(dict(item.detail)), "a stranger's key may hold anything"
    statement = catalog.statement()
    assert statement.holds
    assert (statement.studies.verified, statement.studies.quarantined) == (1, 0)


def test_an_object_in_no_manifest_is_one_too_many_whatever_is_wrong_with_it(
    catalog: Catalog,
) -> None:
    a_stored_study(catalog)
    extra = ObjectFinding(finding="wrong key", key="v1/main/xx/1.2/3/5.dcm")

    assert hear(catalog, a_verdict(extra)).word is Word.AGREED
    assert [item.reason for item in catalog.quarantine_items()] == [QuarantineReason.STRANGER]


def test_a_damaged_manifest_that_was_replaced_is_told_and_spoils_nothing(catalog: Catalog) -> None:
    a_stored_study(catalog)
    hear(catalog, a_verdict(ALTERED))
    repair(catalog, 2)
    gone = ObjectFinding(finding="manifest missing", key="manifest/1.json.gz")
    newest = ObjectFinding(finding="manifest missing", key="manifest/2.json.gz")

    assert hear(catalog, a_verdict(gone, revision=2)).word is Word.AGREED
    assert [item.reason for item in catalog.quarantine_items()] == [
        QuarantineReason.EVIDENCE_DAMAGED
    ]
    assert hear(catalog, a_verdict(newest, revision=2, minutes=2)).word is Word.DIFFERS


def test_a_stranger_that_was_released_is_raised_again_only_with_other_content(
    catalog: Catalog,
) -> None:
    a_stored_study(catalog)
    hear(catalog, a_verdict(STRANGER))
    extra = ExtraObject("archive", STRANGER.key)
    catalog.release_extra(extra, at=NOW, note="ours, by hand")
    with pytest.raises(CatalogError, match="not in quarantine"):
        catalog.release_extra(extra, at=NOW, note="twice")

    assert hear(catalog, a_verdict(STRANGER, minutes=2)).extras == ()
    assert catalog.quarantine_items() == []
    other = ObjectFinding(finding="stranger", key=STRANGER.key, version_id="s2", etag="t")
    assert len(hear(catalog, a_verdict(other, minutes=3)).extras) == 1
    assert len(catalog.quarantine_items()) == 1


def test_a_stranger_that_is_gone_or_named_by_a_manifest_settles_itself(catalog: Catalog) -> None:
    a_stored_study(catalog)
    hear(catalog, a_verdict(STRANGER))

    hear(catalog, a_verdict(minutes=2))

    assert catalog.quarantine_items() == []
    assert "extra_object_explained" in kinds(catalog)
    # An old message does not bring it back; the same object found again does.
    hear(catalog, a_verdict(STRANGER, minutes=1.5))
    assert catalog.quarantine_items() == []
    hear(catalog, a_verdict(STRANGER, minutes=3))
    assert len(catalog.quarantine_items()) == 1


def test_more_strangers_than_a_message_names_decide_nothing(catalog: Catalog) -> None:
    a_stored_study(catalog)

    heard = hear(catalog, a_verdict(STRANGER, differing=500))

    assert heard.word is Word.UNDECIDED
    assert state_of(catalog, STUDY) is TransferState.STORED
    assert len(catalog.quarantine_items()) == 1


def an_object_verdict(
    finding: str,
    key: str = "k/1.dcm",
    *,
    study: str = STUDY.study_instance_uid,
    sop_instance_uid: str = "",
) -> ObjectVerdict:
    return ObjectVerdict(
        bucket="images", prefix="", key=key, archive="main", study_instance_uid=study,
        series_instance_uid="", sop_instance_uid=sop_instance_uid, finding=finding,
        how="STREAMED", at=after(1).isoformat(), etag='"e"',
    )  # fmt: skip


def test_a_bad_object_is_in_the_ledger_once_and_puts_nothing_back(catalog: Catalog) -> None:
    a_stored_study(catalog)
    instance = an_instance(STUDY).sop_instance_uid
    verdict = an_object_verdict("altered", sop_instance_uid=instance)

    words = [catalog.hear_object_verdict("archive", "main", verdict, at=NOW).word for _ in range(2)]

    assert words == [Word.NOTED, Word.OLDER]
    [event] = [event for event in catalog.ledger() if event.kind == "object_found_bad"]
    assert (event.sop_instance_uid, event.detail["finding"]) == (instance, "altered")
    assert state_of(catalog, STUDY) is TransferState.STORED
    unknown = an_object_verdict("altered", study="1.2.3")
    assert catalog.hear_object_verdict("archive", "main", unknown, at=NOW).word is Word.UNKNOWN


def test_an_orphan_of_a_study_that_is_still_open_is_none(catalog: Catalog) -> None:
    take_inventory(catalog, [STUDY])
    plan(catalog, [STUDY], "archive")
    job = claim(catalog)
    catalog.record_receipts(job, [a_receipt(job)])

    held = an_object_verdict("orphan", key="k/1.dcm")
    unheld = an_object_verdict("orphan", key="k/2.dcm")
    catalog.hear_object_verdict("archive", "main", held, at=NOW)
    assert catalog.quarantine_items() == []
    heard = catalog.hear_object_verdict("archive", "main", unheld, at=NOW)

    assert len(heard.extras) == 1
    assert [item.reason for item in catalog.quarantine_items()] == [QuarantineReason.ORPHAN]


def test_what_the_agent_put_into_quarantine_is_no_orphan(catalog: Catalog) -> None:
    take_inventory(catalog, [STUDY])
    plan(catalog, [STUDY], "archive")
    job = claim(catalog)
    catalog.record_finding(
        job, "object_quarantined", QuarantineReason.MALFORMED, {"file_sha256": "a" * 64}, None
    )
    for digest, raised in (("a", 0), ("b", 1)):
        verdict = an_object_verdict("orphan", key=f"v1/main/quarantine/{digest * 64}.dcm", study="")
        heard = catalog.hear_object_verdict("archive", "main", verdict, at=NOW)
        assert len(heard.extras) == raised


def test_what_the_doctor_may_not_delete_is_no_stranger(catalog: Catalog) -> None:
    words = [
        catalog.hear_object_verdict("archive", "main", verdict, at=NOW).word
        for verdict in (
            an_object_verdict("stranger", key="v1/main/doctor/probe-0123456789ab", study=""),
            an_object_verdict("stranger", key="v1/main/doctor/probe/hidden", study=""),
        )
    ]

    assert words == [Word.EXPLAINED, Word.NOTED]


def test_a_bad_object_below_quarantine_is_in_the_ledger_without_a_study(catalog: Catalog) -> None:
    verdict = an_object_verdict("altered", key=f"v1/main/quarantine/{'a' * 64}.dcm", study="")

    assert catalog.hear_object_verdict("archive", "main", verdict, at=NOW).word is Word.NOTED
    assert kinds(catalog) == ["object_found_bad"]


def test_an_orphan_of_no_source_of_ours_is_raised_all_the_same(catalog: Catalog) -> None:
    verdict = an_object_verdict("stranger", key="v1/elsewhere/x", study="")

    assert len(catalog.hear_object_verdict("archive", "", verdict, at=NOW).extras) == 1
    [item] = catalog.quarantine_items()
    assert (item.source, item.reason) == ("", QuarantineReason.STRANGER)


def test_a_restore_is_counted_once_in_whatever_order_it_is_told(catalog: Catalog) -> None:
    def told(key: str, took_s: float | None) -> RestoreRow:
        return RestoreRow(
            destination="archive", source="main", key=key, version_id="", storage_class="GLACIER",
            tier="Standard", promised_s=18_000.0, asked_at=NOW,
            completed_at=after(took_s / 60) if took_s else None, took_s=took_s,
        )  # fmt: skip

    asked_then_done = [told("a", None), told("a", 100.0), told("a", 100.0), told("a", None)]
    done_then_asked = [told("b", 20_000.0), told("b", None)]
    news = [
        catalog.record_restore(each, NOW, study_instance_uid="1.2", sop_instance_uid="1.2.3")
        for each in (*asked_then_done, *done_then_asked, told("c", None))
    ]

    assert news == [True, True, False, False, True, False, True]
    restores = catalog.status_counts().restores
    assert (restores.asked, restores.completed, restores.late) == (1, 2, 1)
    assert rebuild_restores(catalog.ledger()) == set(catalog.restores())
    assert [kind for kind in kinds(catalog) if kind.startswith("restore")] == [
        "restore_asked", "restore_completed", "restore_completed", "restore_asked",
    ]  # fmt: skip
