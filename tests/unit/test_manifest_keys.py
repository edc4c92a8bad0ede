"""Keys of version 1 are for ever: a golden file holds them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudmig.model.instance import Slot, StagedInstance
from cloudmig.model.references import InstanceRef, StudyRef
from cloudmig.objects import (
    ARCHIVE_NAME,
    conflict_key,
    instance_key,
    manifest_key,
    object_key,
    quarantine_key,
    repair_key,
    study_prefix,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "keys.txt"
STUDY = StudyRef("1.2.826.0.1.3680043.2.1125.7")
INSTANCE = InstanceRef(
    STUDY.study_instance_uid,
    f"{STUDY.study_instance_uid}.1",
    f"{STUDY.study_instance_uid}.1.1",
)
DIGEST = "0123456789abcdef" * 4
uids = st.from_regex(r"[0-9]{1,4}(\.[0-9]{1,5}){0,9}", fullmatch=True)


def test_keys_are_those_of_the_golden_file() -> None:
    key = instance_key("main", INSTANCE)
    made = {
        "study": study_prefix("main", STUDY),
        "instance": key,
        "conflict": conflict_key("main", INSTANCE, DIGEST),
        "repair": repair_key(key, 1),
        "repair-of-conflict": repair_key(conflict_key("main", INSTANCE, DIGEST), 2),
        "manifest": manifest_key("main", STUDY, 1),
        "manifest-12": manifest_key("main", STUDY, 12),
        "quarantine": quarantine_key("main", DIGEST),
        "other-archive": study_prefix("north-2", StudyRef("1.2.840.113619.2.55")),
    }

    lines = GOLDEN.read_text(encoding="ascii").splitlines()
    assert made == dict(line.split() for line in lines if not line.startswith("#"))


@pytest.mark.parametrize(
    ("slot", "key"),
    [
        (Slot.PRIMARY, instance_key("main", INSTANCE)),
        (Slot.CONFLICT, conflict_key("main", INSTANCE, DIGEST)),
        (Slot.QUARANTINE, quarantine_key("main", "f" * 64)),
    ],
)
def test_every_slot_has_its_place(slot: Slot, key: str) -> None:
    assert object_key("main", staged(INSTANCE), slot) == key


def test_without_usable_uids_there_is_only_quarantine() -> None:
    assert object_key("main", staged(None), Slot.QUARANTINE) == quarantine_key("main", "f" * 64)
    for slot in (Slot.PRIMARY, Slot.CONFLICT):
        with pytest.raises(AssertionError):
            object_key("main", staged(None), slot)


@pytest.mark.parametrize("archive", ["", "Main", "-a", "a/b", "..", "a.b", "ä", "a" * 64, "a\n"])
def test_an_archive_name_that_could_leave_its_prefix_is_a_bug(archive: str) -> None:
    assert not ARCHIVE_NAME.fullmatch(archive)
    with pytest.raises(AssertionError):
        study_prefix(archive, STUDY)
    with pytest.raises(AssertionError):
        quarantine_key(archive, DIGEST)


@given(uids, uids, uids, uids)
def test_two_instances_never_share_a_key(study: str, series: str, one: str, other: str) -> None:
    first, second = InstanceRef(study, series, one), InstanceRef(study, series, other)
    keys = {
        instance_key("main", first),
        instance_key("main", second),
        conflict_key("main", first, DIGEST),
        conflict_key("main", second, DIGEST),
        repair_key(instance_key("main", first), 1),
        repair_key(instance_key("main", second), 1),
        manifest_key("main", first.study, 1),
    }

    assert len(keys) == (7 if one != other else 4)
    assert all(key.startswith(study_prefix("main", first.study)) for key in keys)


@given(uids, uids)
def test_no_series_can_pose_as_a_manifest(study: str, series: str) -> None:
    key = instance_key("main", InstanceRef(study, series, "1"))

    assert not key.startswith(study_prefix("main", StudyRef(study)) + "manifest/")


def staged(instance: InstanceRef | None) -> StagedInstance:
    return StagedInstance(
        instance=instance,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        size_bytes=1,
        file_sha256="f" * 64,
        dataset_sha256=DIGEST,
        body=b"x",
    )
