"""A study judged by its manifest, the bucket and the verdicts held, in memory and in DynamoDB."""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cloudmig import manifest
from cloudmig.cloud.events import EventUnreadable
from cloudmig.cloud.expectations import Expectations
from cloudmig.cloud.verdict_table import MemoryTable, ObjectItem, StudyItem
from cloudmig.cloud.verify_study import verify_studies, verify_study
from cloudmig.errors import DestinationUnavailable
from cloudmig.manifest import ManifestUnreadable
from cloudmig.messages import FINDINGS_MAX, StudyVerdict, decode, encode
from cloudmig.objects import conflict_key, quarantine_key, repair_key
from tests.integration.cloud_world import (
    PREFIX,
    CloudWorld,
    PutStudy,
    Through,
    a_file,
    data_set_of,
    event_bridge_event,
)

pytest_plugins = ["tests.integration.cloud_fixtures"]


def stream(world: CloudWorld) -> CloudWorld:
    world.expected = replace(world.expected, read="stream")
    return world


# ---------------------------------------------------------------------------------- what is good


@pytest.mark.parametrize("seen_before", [0, 2, 7])
def test_a_study_as_the_agent_left_it_is_agreed_on(world: CloudWorld, seen_before: int) -> None:
    study = world.put_study(7)
    for key in study.keys[:seen_before]:
        world.see(key)

    verdict = world.judge(study)

    assert verdict.agreed
    assert (verdict.instances, verdict.differing, verdict.findings) == (7, 0, ())
    assert verdict.how == "STORE_CHECKSUM"
    assert verdict.manifest_key == study.manifest_key()
    body = world.s3.get_object(Bucket=world.bucket.name, Key=PREFIX + study.manifest_key())
    assert verdict.manifest_sha256 == hashlib.sha256(body["Body"].read()).hexdigest()
    assert world.verdicts.sent == [verdict]
    assert not any(world.item(key).unsettled for key in study.keys)  # type: ignore[union-attr]


def test_what_is_kept_of_a_study_can_be_sampled(world: CloudWorld) -> None:
    study = world.put_study(3, storage_class="STANDARD_IA")
    world.judge(study)

    item = world.study_item(study)

    assert item is not None
    assert item.settled
    assert (item.agreed, item.instances, item.manifest_revision) == (True, 3, 1)
    assert item.stratum == "STANDARD_IA|2019|CT|S"
    assert item.sample == hashlib.sha256(study.study_instance_uid.encode()).hexdigest()[:16]
    assert item.size_bytes == sum(map(len, study.files))


def test_a_study_that_was_read_says_so(quick: CloudWorld) -> None:
    study = stream(quick).put_study(2)

    assert quick.judge(study).how == "STREAMED"


def test_objects_that_were_looked_at_are_not_looked_at_again(quick: CloudWorld) -> None:
    study = quick.put_study(3)
    for key in study.keys:
        quick.see(key)
    quick.put(f"{study.keys[0]}.bak", b"x", Metadata={})  # A list says all of a stranger.
    asked: list[str] = []
    quick.s3.meta.events.register(
        "before-call.s3.HeadObject", lambda params, **_: asked.append(params["url_path"])
    )

    quick.judge(study)

    assert asked == []


# ----------------------------------------------------------------------------------- what is bad


@pytest.mark.parametrize("read", ["checksum", "stream"])
@pytest.mark.parametrize("seen", ["before", "after", "never"])
def test_every_kind_of_damage_is_found_and_named(world: CloudWorld, read: str, seen: str) -> None:
    world.expected = replace(world.expected, read=read)
    study = world.put_study(8)
    if seen == "before":
        for key in study.keys:
            world.see(key)
    world.overwrite(study.keys[0], study.files[0][:-1] + b"x")
    world.overwrite(study.keys[1], study.files[1][:-9])
    world.overwrite(study.keys[2], study.files[3])
    world.delete(study.keys[4])
    world.move(study.keys[5], "STANDARD_IA")
    world.put(study.keys[6], study.files[6] + b"more", Metadata={})
    world.put(f"{study.keys[7]}.bak", b"x", Metadata={})
    if seen == "after":
        for key in (*study.keys, f"{study.keys[7]}.bak"):
            world.see(key)

    verdict = world.judge(study)

    assert {each.key: each.finding for each in verdict.findings} == {
        study.keys[0]: "altered",
        study.keys[1]: "truncated",
        study.keys[2]: "swapped",
        study.keys[4]: "missing",
        study.keys[5]: "wrong class",
        study.keys[6]: "altered",
        f"{study.keys[7]}.bak": "stranger",
    }
    assert (verdict.agreed, verdict.differing, verdict.instances) == (False, 7, 8)
    by_key = {each.key: each for each in verdict.findings}
    altered, missing = by_key[study.keys[0]], by_key[study.keys[4]]
    assert altered.sop_instance_uid == study.instances[0].sop_instance_uid
    assert altered.etag == world.head(study.keys[0])["ETag"]
    assert altered.version_id == world.head(study.keys[0])["VersionId"]
    assert (missing.etag, missing.version_id) == ("", None)
    assert missing.sop_instance_uid == study.instances[4].sop_instance_uid
    assert by_key[f"{study.keys[7]}.bak"].sop_instance_uid == ""
    kept = [world.item(key) for key in study.keys]
    assert [item and item.finding for item in kept] == [
        "altered", "truncated", "swapped", "", "missing", "wrong class", "altered", "",
    ]  # fmt: skip


def test_a_forged_object_that_tells_no_lie_about_itself_is_found(world: CloudWorld) -> None:
    """Metadata, checksum and header agree with each other; only the manifest knows better."""
    study = world.put_study(2)
    world.put(study.keys[0], a_file(study.instances[0], pixels=b"\x09" * 300))
    assert world.see(study.keys[0]).finding == ""  # type: ignore[union-attr]

    assert world.findings(study) == {study.keys[0]: "altered"}


@pytest.mark.parametrize("read", ["checksum", "stream"])
def test_a_wrong_object_that_the_agent_itself_wrote_is_found(world: CloudWorld, read: str) -> None:
    """Everything agrees with the manifest, and it is not the image that its key names."""
    world.expected = replace(world.expected, read=read)
    study = world.put_study(2, manifested=False)
    text = b"no image at all"
    wrong = [
        world.put_instance(study.instances[0], study.files[1], key=study.keys[0]),
        replace(
            study.records[1],
            size_bytes=len(text),
            file_sha256=hashlib.sha256(text).hexdigest(),
            dataset_sha256="",
        ),
    ]
    world.put(study.keys[1], text)
    world.put_manifest(study, wrong)

    assert world.findings(study) == {study.keys[0]: "wrong key", study.keys[1]: "not DICOM"}


def test_lost_metadata_are_no_finding_where_the_bytes_are_right(world: CloudWorld) -> None:
    """A copy into another class may drop them."""
    study = world.put_study(2)
    world.put(study.keys[0], study.files[0], Metadata={})

    assert world.judge(study).agreed


def test_another_members_data_set_is_known_in_another_file(world: CloudWorld) -> None:
    """Group 0002 and the preamble are the writer's: the file digest differs."""
    stream(world)
    study = world.put_study(2)
    world.overwrite(study.keys[0], b"x" + study.files[1][1:])

    assert world.findings(study) == {study.keys[0]: "swapped"}


def test_an_extra_object_that_goes_away_meanwhile_is_no_finding(quick: CloudWorld) -> None:
    study = quick.put_study(2, manifested=False)
    quick.put_manifest(study, study.records[:1])

    def head(**arguments: str) -> dict[str, Any]:
        if arguments["Key"].endswith(study.keys[1]):
            quick.delete(study.keys[1])
        answer: dict[str, Any] = quick.s3.head_object(**arguments)
        return answer

    desk = replace(quick.desk, s3=Through(quick.s3, "head_object", head))
    verdict = verify_study(desk, quick.request(study))

    assert verdict is not None
    assert verdict.agreed


def test_bytes_put_again_are_no_finding(world: CloudWorld) -> None:
    study = world.put_study(2)
    world.put(study.keys[0], study.files[0])

    assert world.judge(study).agreed


def test_a_class_that_a_lifecycle_may_choose_is_right(world: CloudWorld) -> None:
    world.expected = replace(world.expected, later_classes=frozenset({"GLACIER_IR"}))
    study = world.put_study(2)
    world.move(study.keys[0], "GLACIER_IR")
    world.move(study.keys[1], "STANDARD_IA")

    assert world.findings(study) == {study.keys[1]: "wrong class"}


@pytest.mark.parametrize(
    ("expected", "found"),
    [({"kms_key_arn": ""}, "not encrypted"), ({"lock_mode": "GOVERNANCE"}, "not locked")],
)
def test_the_manifest_is_kept_as_well_as_the_objects(
    quick: CloudWorld, expected: dict[str, Any], found: str
) -> None:
    quick.expected = replace(quick.expected, **expected)
    study = quick.put_study(1)

    assert quick.findings(study) == {study.keys[0]: found, study.manifest_key(): found}


# --------------------------------------------------------------------------------- what is extra


@pytest.mark.parametrize("name", ["a b.txt", "a+b", "%2B", "ü\u4e2d", "\U0001f600", "study", "x/"])
def test_a_stranger_is_named_whatever_it_is_called(world: CloudWorld, name: str) -> None:
    study = world.put_study(2)
    key = study.manifest_key().removesuffix("manifest/1.json.gz") + name
    world.put(key, b"hello", Metadata={})
    world.see(key)

    verdict = world.judge(study)

    assert [(each.finding, each.key) for each in verdict.findings] == [("stranger", key)]
    assert not verdict.agreed
    assert decode(encode(verdict)) == verdict


def test_a_stranger_in_our_form_is_one_by_its_metadata(world: CloudWorld) -> None:
    study = world.put_study(2)
    key = study.keys[0].replace(".dcm", ".99.dcm")
    world.put(key, study.files[0], Metadata={})

    assert world.findings(study) == {key: "stranger"}


def test_an_object_for_a_later_revision_is_no_finding_and_stays_unsettled(
    world: CloudWorld,
) -> None:
    """A study that has grown: its objects come first, its next manifest last."""
    study = world.put_study(3, manifested=False)
    first = world.put_manifest(study, study.records[:2])
    world.see(study.keys[2])

    assert world.judge(study).agreed
    assert world.item(study.keys[2]).unsettled  # type: ignore[union-attr]

    world.put_manifest(study, revision=2, previous_sha256=first)
    verdict = world.judge(study)
    assert (verdict.agreed, verdict.manifest_revision, verdict.instances) == (True, 2, 3)
    assert not world.item(study.keys[2]).unsettled  # type: ignore[union-attr]


def test_what_only_an_earlier_revision_names_is_superseded(world: CloudWorld) -> None:
    """A bad object stays where it was in a bucket without versions; its repair is elsewhere."""
    study = world.put_study(2, manifested=False)
    first = world.put_manifest(study)
    world.overwrite(study.keys[0], b"bad")
    assert world.findings(study) == {study.keys[0]: "truncated"}
    repaired = world.put_instance(
        study.instances[0], study.files[0], key=repair_key(study.keys[0], 1)
    )

    world.put_manifest(study, [repaired, study.records[1]], revision=2, previous_sha256=first)

    assert world.judge(study).agreed
    item = world.item(study.keys[0])
    assert item is not None
    assert (item.finding, item.unsettled) == ("", "")
    world.see(study.keys[0])
    assert not world.verdicts.sent[-1:] or isinstance(world.verdicts.sent[-1], StudyVerdict)
    assert not world.studies.sent


def test_a_conflict_is_a_member_like_any_other(world: CloudWorld) -> None:
    study = world.put_study(1, manifested=False)
    other = a_file(study.instances[0], pixels=b"other")
    digest = hashlib.sha256(data_set_of(other)).hexdigest()
    beside = conflict_key("main", study.instances[0], digest)
    record = replace(world.put_instance(study.instances[0], other, key=beside), slot="conflict")
    world.put_manifest(study, [*study.records, record])

    assert world.judge(study).agreed
    world.overwrite(beside, study.files[0])
    assert world.findings(study) == {beside: "altered"}


def test_a_member_may_lie_outside_of_its_study(world: CloudWorld) -> None:
    study = world.put_study(2, manifested=False)
    aside = quarantine_key("main", hashlib.sha256(study.files[0]).hexdigest())
    moved = world.put_instance(study.instances[0], study.files[0], key=aside)
    world.delete(study.keys[0])
    world.put_manifest(study, [moved, study.records[1]])

    assert world.judge(study).agreed
    world.delete(aside)
    assert world.findings(study) == {aside: "missing"}


def test_findings_beyond_what_a_message_holds_are_counted(quick: CloudWorld) -> None:
    """Names of a kilobyte, each character six in JSON; and the manifest's own members first."""
    study = quick.put_study(2)
    group = study.manifest_key().removesuffix("manifest/1.json.gz")
    for number in range(150):
        quick.put(f"{group}{number:03}" + "\u4e2d" * 290, b"", Metadata={})
    quick.delete(study.keys[0])

    verdict = quick.judge(study)

    assert verdict.differing == 151
    assert 50 < len(verdict.findings) < 151
    assert verdict.findings[0].finding == "missing"
    assert len(encode(verdict)) <= 256 * 1024


def test_of_very_many_findings_some_are_named(quick: CloudWorld) -> None:
    study = quick.put_study(1, manifested=False)
    absent = [
        replace(
            study.records[0],
            sop_instance_uid=f"1.2.{number}",
            location=replace(study.records[0].location, key=f"{study.keys[0]}.{number}"),
        )
        for number in range(FINDINGS_MAX + 50)
    ]
    quick.put_manifest(study, absent)

    verdict = quick.judge(study)

    # The one object that is there belongs to no revision, and is no stranger's.
    assert (verdict.differing, len(verdict.findings)) == (FINDINGS_MAX + 50, FINDINGS_MAX)


# ----------------------------------------------------------------------------------- what is cold


def test_an_archived_study_is_judged_by_the_stores_checksums(world: CloudWorld) -> None:
    study = world.put_study(3, storage_class="DEEP_ARCHIVE")

    verdict = world.judge(study)

    assert (verdict.agreed, verdict.how) == (True, "STORE_CHECKSUM")


def test_what_nobody_can_decide_is_not_agreed_on(world: CloudWorld) -> None:
    world.checksums = False
    study = world.put_study(3, storage_class="DEEP_ARCHIVE")

    verdict = world.judge(study)

    assert (verdict.agreed, verdict.how, verdict.findings) == (False, "UNDECIDED", ())
    world.overwrite(study.keys[0], study.files[0][:-1])
    # As long as the record says, and not put by the agent.
    forged = study.files[1][:-1] + b"x"
    world.put(study.keys[1], forged, Metadata={}, StorageClass="DEEP_ARCHIVE")
    assert world.findings(study) == {study.keys[0]: "truncated", study.keys[1]: "altered"}


def test_what_was_undecided_is_decided_once_it_is_restored(world: CloudWorld) -> None:
    world.checksums = False
    study = world.put_study(2, storage_class="GLACIER")
    assert world.judge(study).how == "UNDECIDED"
    for key in study.keys:
        world.s3.restore_object(
            Bucket=world.bucket.name, Key=PREFIX + key, RestoreRequest={"Days": 1}
        )

    verdict = world.judge(study)

    assert (verdict.agreed, verdict.how) == (True, "STREAMED")


def test_what_was_read_before_it_cooled_is_agreed_on(world: CloudWorld) -> None:
    """A lifecycle moves an object without touching its bytes, ETag or time."""
    world.checksums = False
    world.expected = replace(world.expected, later_classes=frozenset({"DEEP_ARCHIVE"}))
    study = world.put_study(2)
    assert world.judge(study).how == "STREAMED"

    def colder(parsed: dict[str, Any], **_: object) -> None:
        for each in parsed.get("Contents", ()):
            each["StorageClass"] = "DEEP_ARCHIVE"

    world.s3.meta.events.register("after-call.s3.ListObjectsV2", colder)
    verdict = world.judge(study)

    assert (verdict.agreed, verdict.how) == (True, "STREAMED")
    item = world.study_item(study)
    assert item is not None
    assert item.stratum.startswith("DEEP_ARCHIVE|")


# ---------------------------------------------------------------------------------- the manifests


def put_raw(world: CloudWorld, study: PutStudy, body: bytes, **metadata: str) -> None:
    told = {"cloudmig-file-sha256": hashlib.sha256(body).hexdigest()} | metadata
    world.put(study.manifest_key(), body, Metadata=told)


def test_a_manifest_whose_bytes_changed_is_altered(world: CloudWorld) -> None:
    study = world.put_study(2)
    body, _ = manifest.encode(
        manifest.Manifest(
            archive="main", study_instance_uid=study.study_instance_uid, revision=1,
            previous_sha256="", source={}, destination="x", created_at="", completeness="SET",
            instances=(),
        )
    )  # fmt: skip
    world.overwrite(study.manifest_key(), body)

    verdict = world.judge(study)

    [found] = verdict.findings
    assert (found.finding, found.key) == ("manifest altered", study.manifest_key())
    assert found.sop_instance_uid == ""
    assert (verdict.agreed, verdict.instances) == (False, 0)
    assert verdict.manifest_sha256 == hashlib.sha256(body).hexdigest()
    item = world.study_item(study)
    assert item is not None
    assert item.stratum == "", "nobody samples a study that nobody can list"


@pytest.mark.parametrize(
    "body",
    [b"", b"no gzip", gzip.compress(b"no json"), gzip.compress(b"[]"), gzip.compress(b"{}"),
     gzip.compress(b'{"schema":"cloudmig/manifest/1"}'), gzip.compress(b'{"schema":"other/2"}')],
    ids=["nothing", "no gzip", "no JSON", "a list", "no schema", "no fields", "another schema"],
)  # fmt: skip
def test_a_manifest_that_is_none_is_altered(quick: CloudWorld, body: bytes) -> None:
    study = quick.put_study(1)
    put_raw(quick, study, body)

    assert quick.findings(study) == {study.manifest_key(): "manifest altered"}


@pytest.mark.parametrize(
    "changes", [{"study_instance_uid": "1.2.9"}, {"archive": "other"}, {"revision": 2}]
)
def test_another_studys_manifest_is_altered(quick: CloudWorld, changes: dict[str, Any]) -> None:
    study = quick.put_study(1)
    told = quick.s3.get_object(Bucket=quick.bucket.name, Key=PREFIX + study.manifest_key())
    held = manifest.decode(told["Body"].read())
    put_raw(quick, study, manifest.encode(replace(held, **changes))[0])

    assert quick.findings(study) == {study.manifest_key(): "manifest altered"}


def test_a_manifest_without_our_metadata_is_altered(quick: CloudWorld) -> None:
    study = quick.put_study(1)
    told = quick.s3.get_object(Bucket=quick.bucket.name, Key=PREFIX + study.manifest_key())
    quick.put(study.manifest_key(), told["Body"].read(), Metadata={})

    assert quick.findings(study) == {study.manifest_key(): "manifest altered"}
    quick.expected = replace(quick.expected, metadata=False)
    assert quick.findings(study) == {}


def test_a_forged_manifest_is_known_by_the_one_that_was_judged(world: CloudWorld) -> None:
    """Its own metadata vouch for it; but a revision is immutable."""
    study = world.put_study(2)
    true = world.judge(study).manifest_sha256
    kept = world.s3.get_object(Bucket=world.bucket.name, Key=PREFIX + study.manifest_key())
    world.put_manifest(study, study.records[:1])

    assert world.findings(study) == {study.manifest_key(): "manifest altered"}
    assert world.findings(study) == {study.manifest_key(): "manifest altered"}

    world.put(study.manifest_key(), kept["Body"].read())
    verdict = world.judge(study)
    assert (verdict.agreed, verdict.manifest_sha256) == (True, true)


def test_a_manifest_damaged_on_its_way_is_read_again(quick: CloudWorld) -> None:
    study = quick.put_study(1)
    damaged: list[str] = []

    def damage(parsed: dict[str, Any], **_: object) -> None:
        if "cloudmig-dataset-sha256" not in parsed["Metadata"] and not damaged:
            damaged.append("once")
            parsed["Body"].read(10)

    quick.s3.meta.events.register("after-call.s3.GetObject", damage)

    assert quick.judge(study).agreed
    assert damaged


def test_a_manifest_that_was_judged_and_is_gone_is_missing(world: CloudWorld) -> None:
    study = world.put_study(2)
    world.judge(study)
    world.delete(study.manifest_key())

    verdict = world.judge(study)

    assert [(each.finding, each.key) for each in verdict.findings] == [
        ("manifest missing", study.manifest_key())
    ]
    assert (verdict.agreed, verdict.manifest_revision, verdict.instances) == (False, 1, 2)
    item = world.study_item(study)
    assert item is not None
    assert (item.agreed, item.stratum) == (False, ""), "nobody samples what cannot be listed"
    world.put_manifest(study)
    assert world.judge(study).agreed


def test_the_newest_revision_counts_and_its_going_is_seen(world: CloudWorld) -> None:
    study = world.put_study(2, manifested=False)
    first = world.put_manifest(study, study.records[:1])
    world.put_manifest(study, revision=2, previous_sha256=first)
    assert world.judge(study).manifest_revision == 2
    world.delete(study.manifest_key(2))

    assert world.findings(study) == {study.manifest_key(2): "manifest missing"}


def test_the_chain_of_revisions_is_followed_to_its_beginning(world: CloudWorld) -> None:
    study = world.put_study(3, manifested=False)
    sha256 = ""
    for revision in range(1, 12):
        sha256 = world.put_manifest(
            study, created_at=f"{revision}", revision=revision, previous_sha256=sha256
        )
    verdict = world.judge(study)
    assert (verdict.agreed, verdict.manifest_revision) == (True, 11), "11 is newer than 9"

    world.put_manifest(study, study.records[:1], revision=4, created_at="forged")
    assert world.findings(study) == {study.manifest_key(4): "manifest altered"}

    world.delete(study.manifest_key(7))
    assert world.findings(study) == {study.manifest_key(7): "manifest missing"}


def test_what_an_altered_revision_names_is_not_excused(world: CloudWorld) -> None:
    """Else a stranger would write himself into an old manifest."""
    study = world.put_study(2, manifested=False)
    first = world.put_manifest(study)
    world.put_manifest(study, revision=2, previous_sha256=first, created_at="x")
    stranger = f"{study.keys[0]}.evil"
    world.put(stranger, b"x", Metadata={})
    forged = replace(study.records[0], location=replace(study.records[0].location, key=stranger))
    world.put_manifest(study, [*study.records, forged], revision=1)

    assert world.findings(study) == {
        study.manifest_key(1): "manifest altered",
        stranger: "stranger",
    }


def test_a_manifest_of_a_newer_version_waits_for_newer_functions(quick: CloudWorld) -> None:
    study = quick.put_study(1)
    body = gzip.compress(json.dumps({"schema": "cloudmig/manifest/2", "x": 1},
                                    separators=(",", ":")).encode())  # fmt: skip
    put_raw(quick, study, body)

    with pytest.raises(ManifestUnreadable):
        quick.judge(study)
    assert not quick.verdicts.sent

    put_raw(quick, study, body, **{"cloudmig-file-sha256": "ab" * 32})
    assert quick.findings(study) == {study.manifest_key(): "manifest altered"}


def test_a_manifest_in_a_cold_class_is_in_the_wrong_one(quick: CloudWorld) -> None:
    study = quick.put_study(1)
    quick.move(study.manifest_key(), "GLACIER")

    assert quick.findings(study) == {study.manifest_key(): "wrong class"}


def test_a_study_without_a_manifest_has_no_verdict(world: CloudWorld) -> None:
    study = world.put_study(2, manifested=False)

    assert verify_study(world.desk, world.request(study)) is None
    assert not world.verdicts.sent
    assert world.study_item(study) is None


# -------------------------------------------------------------------------- repeats, order, races


def test_a_request_that_was_answered_is_not_answered_again(world: CloudWorld) -> None:
    study = world.put_study(2)
    early = world.request(study)
    assert verify_study(world.desk, early) is not None

    assert verify_study(world.desk, early) is None
    assert len(world.verdicts.sent) == 1
    assert verify_study(world.desk, world.request(study)) is not None


def test_events_of_manifests_may_come_twice_and_in_any_order(world: CloudWorld) -> None:
    study = world.put_study(2, manifested=False)
    first = world.put_manifest(study, study.records[:1])
    world.put_manifest(study, revision=2, previous_sha256=first)

    revisions = [
        verdict.manifest_revision
        for revision in (2, 1, 2)
        for verdict in verify_studies(
            world.desk, event_bridge_event(world.bucket.name, PREFIX + study.manifest_key(revision))
        )
    ]

    assert set(revisions) == {2}
    item = world.study_item(study)
    assert item is not None
    assert (item.manifest_revision, item.agreed) == (2, True)


def test_a_revision_written_in_the_second_of_a_judgement_is_judged(quick: CloudWorld) -> None:
    """EventBridge cuts the time of its events: 09:00:00.9 comes as 09:00:00."""
    study = quick.put_study(2, manifested=False)
    first = quick.put_manifest(study, study.records[:1])
    now = [dt.datetime(2026, 11, 22, 9, 0, 0, 500_000, tzinfo=dt.UTC)]
    desk = replace(quick.desk, now=lambda: now[0])

    def event(revision: int) -> str:
        key = PREFIX + study.manifest_key(revision)
        told = json.loads(event_bridge_event(quick.bucket.name, key))
        return json.dumps(told | {"time": "2026-11-22T09:00:00Z"})

    [verdict] = verify_studies(desk, event(1))
    assert verdict.manifest_revision == 1
    quick.put_manifest(study, revision=2, previous_sha256=first)
    now[0] += dt.timedelta(milliseconds=400)

    [verdict] = verify_studies(desk, event(2))
    assert verdict.manifest_revision == 2


def test_messages_for_others_are_left(quick: CloudWorld) -> None:
    study = quick.put_study(1)
    name = quick.bucket.name

    assert verify_studies(quick.desk, event_bridge_event(name, PREFIX + study.keys[0])) == []
    assert verify_studies(quick.desk, event_bridge_event(name, study.manifest_key())) == []
    for poison in ("{}", encode(replace(quick.request(study), prefix="other/"))):
        with pytest.raises(EventUnreadable):
            verify_studies(quick.desk, poison)
    for wrong in ({"study_instance_uid": "1..2"}, {"archive": "A"}, {"at": "yesterday"}):
        with pytest.raises(ValueError):
            verify_studies(quick.desk, encode(replace(quick.request(study), **wrong)))


class Interrupting(MemoryTable):
    """Lets something happen just before the first object of a study is settled."""

    def __init__(self, happens: Callable[[], object]) -> None:
        super().__init__()
        self.happens: Callable[[], object] | None = happens

    def settle(self, item: ObjectItem) -> bool:
        happens, self.happens = self.happens, None
        if happens is not None:
            happens()
        return super().settle(item)


def interrupted(quick: CloudWorld, happens: Callable[[], object]) -> CloudWorld:
    quick.table = Interrupting(happens)
    quick.threads = 1
    return quick


def test_what_changes_while_its_study_is_judged_is_judged_again(quick: CloudWorld) -> None:
    """The function for objects saw it, and no study yet: nobody else would come back to it."""
    study = quick.put_study(2)

    def change() -> None:
        quick.put(study.keys[1], a_file(study.instances[1], pixels=b"forged"))
        studies = quick.studies
        quick.studies = type(studies)()  # Its request is lost.
        quick.see(study.keys[1])
        quick.studies = studies

    interrupted(quick, change)

    verdict = quick.judge(study)

    assert {each.key: each.finding for each in verdict.findings} == {study.keys[1]: "truncated"}
    assert [each.agreed for each in quick.verdicts.sent if isinstance(each, StudyVerdict)] == [
        True,
        False,
    ]
    item = quick.study_item(study)
    assert item is not None
    assert (item.agreed, item.settled) == (False, True)


def test_what_looks_the_same_meanwhile_costs_no_other_judgement(quick: CloudWorld) -> None:
    study = quick.put_study(2)
    interrupted(quick, lambda: [quick.see(key) for key in study.keys])

    assert quick.judge(study).agreed

    assert len(quick.verdicts.sent) == 1
    assert not any(quick.item(key).unsettled for key in study.keys)  # type: ignore[union-attr]


def test_a_study_that_never_holds_still_is_left_for_later(quick: CloudWorld) -> None:
    study = quick.put_study(1)

    class Restless(MemoryTable):
        def settle(self, item: ObjectItem) -> bool:
            quick.put(study.keys[0], study.files[0] + item.etag.encode())
            quick.see(study.keys[0])
            return super().settle(item)

    quick.table = Restless()

    with pytest.raises(DestinationUnavailable, match="every judgement"):
        quick.judge(study)
    item = quick.study_item(study)
    assert item is not None
    assert not item.settled


def test_a_judgement_cut_short_is_finished_by_the_next(world: CloudWorld) -> None:
    """The message comes again; its request must not count as answered."""
    study = world.put_study(3)
    request = world.request(study)

    class Killed(Exception):  # noqa: N818
        pass

    class Dying:
        def __getattr__(self, name: str) -> Any:  # noqa: ANN401
            if name == "settle":
                raise Killed
            return getattr(world.table, name)

    with pytest.raises(Killed):
        verify_study(replace(world.desk, table=Dying()), request)  # type: ignore[arg-type]
    assert any(world.item(key).unsettled for key in study.keys)  # type: ignore[union-attr]

    assert verify_study(world.desk, request) is not None
    assert not any(world.item(key).unsettled for key in study.keys)  # type: ignore[union-attr]


def test_a_verdict_that_could_not_be_sent_is_sent_the_next_time(quick: CloudWorld) -> None:
    study = quick.put_study(1)
    request = quick.request(study)

    class Unreachable:
        def send(self, messages: object) -> None:
            raise DestinationUnavailable("queue: down")

    with pytest.raises(DestinationUnavailable):
        verify_study(replace(quick.desk, verdicts=Unreachable()), request)

    assert verify_study(quick.desk, request) is not None
    assert len(quick.verdicts.sent) == 1


def test_a_judgement_that_comes_late_changes_nothing(quick: CloudWorld) -> None:
    """While it was made the next manifest came, and was judged."""
    study = quick.put_study(1, manifested=False)
    dearer = replace(study.records[0], storage_class="STANDARD_IA")
    first = quick.put_manifest(study, [dearer])

    class Overtaken(MemoryTable):
        def record_study(self, item: StudyItem) -> bool:
            if item.manifest_revision == 1 and not self.studies():
                quick.put_manifest(study, revision=2, previous_sha256=first)
                assert quick.judge(study).agreed
            return super().record_study(item)

    quick.table = Overtaken()

    assert quick.findings(study) == {study.keys[0]: "wrong class"}

    item = quick.study_item(study)
    assert item is not None
    assert (item.manifest_revision, item.agreed, item.settled) == (2, True, True)
    assert quick.item(study.keys[0]).finding == ""  # type: ignore[union-attr]


# ------------------------------------------------------------------------------------------- size


def test_a_study_of_twelve_thousand_objects_is_judged(quick: CloudWorld) -> None:
    """More than ten pages of a list. The objects are looked at in the table; some differ."""
    study = quick.put_study(2, manifested=False)
    count = 12_000
    listed = []
    records = list(study.records)
    group = study.manifest_key().removesuffix("manifest/1.json.gz")
    pk = f"{quick.bucket.name}/{PREFIX}{group}"
    for number in range(count):
        rest = f"1.2.3/1.2.3.{number}.dcm"
        digest = f"{number:064x}"
        moved = replace(
            study.records[0], series_instance_uid="1.2.3", sop_instance_uid=f"1.2.3.{number}",
            file_sha256=digest, dataset_sha256=digest, size_bytes=7,
            location=replace(study.records[0].location, key=group + rest),
        )  # fmt: skip
        records.append(moved)
        listed.append(
            {"Key": PREFIX + group + rest, "ETag": digest, "Size": 7, "StorageClass": "STANDARD",
             "LastModified": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)}
        )  # fmt: skip
        quick.table.record(
            ObjectItem(
                pk=pk, sk=rest, at="2026-11-22T09:00:00.000000Z", own_finding="", finding="",
                how="STREAMED", etag=digest, size_bytes=7,
                file_sha256=digest if number % 4000 else "ff", dataset_sha256=digest,
                storage_class="STANDARD", unsettled="2026-11-22#0",
            )
        )  # fmt: skip
    quick.put_manifest(study, records)
    lines = quick.s3.list_objects_v2(Bucket=quick.bucket.name, Prefix=PREFIX + group)["Contents"]
    pages = [(listed + lines)[first : first + 1000] for first in range(0, count + len(lines), 1000)]
    asked: list[str] = []

    def page(*, ContinuationToken: str = "0", **_: object) -> dict[str, Any]:  # noqa: N803
        """Answer for objects that moto need not hold."""
        asked.append(ContinuationToken)
        number = int(ContinuationToken)
        more = number + 1 < len(pages)
        token = {"NextContinuationToken": f"{number + 1}"} if more else {}
        return {"Contents": pages[number], "IsTruncated": more, **token}

    desk = replace(quick.desk, s3=Through(quick.s3, "list_objects_v2", page))

    verdict = verify_study(desk, quick.request(study))

    assert verdict is not None
    assert asked == [f"{number}" for number in range(13)]
    assert verdict.instances == count + 2
    assert {each.sop_instance_uid: each.finding for each in verdict.findings} == {
        "1.2.3.0": "altered",
        "1.2.3.4000": "altered",
        "1.2.3.8000": "altered",
    }
    assert not list(quick.table.unsettled("2026-11-22#0", "2027"))


def test_no_patient_is_named_in_what_is_kept_or_told(quick: CloudWorld) -> None:
    """The files hold a name; the header is read for its UIDs, modality and year alone."""
    study = quick.put_study(2)
    assert all(b"CANARY^NAME" in file for file in study.files)
    for key in study.keys:
        quick.see(key)
    quick.overwrite(study.keys[0], study.files[0][:-2])
    quick.see(study.keys[0])
    quick.judge(study)

    kept = [quick.item(key) for key in study.keys]
    told = [kept, quick.study_item(study), quick.verdicts.sent, quick.studies.sent]
    assert "CANARY" not in repr(told)


def test_expectations_that_make_no_sense_are_refused() -> None:
    for wrong in ({"prefix": "x"}, {"read": "fast"}, {"lock_mode": "governance"}):
        with pytest.raises(ValueError):
            Expectations(**wrong)  # type: ignore[arg-type]
