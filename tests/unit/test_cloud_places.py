"""Reading a key back: only what the agent would write is believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudmig.cloud.places import Place, PlaceKind, read_place, study_key
from cloudmig.model.instance import Slot, StagedInstance
from cloudmig.model.references import InstanceRef
from cloudmig.objects import object_key, repair_key

INSTANCE = InstanceRef(
    "1.2.826.0.1.3680043.2.1125.7",
    "1.2.826.0.1.3680043.2.1125.7.1",
    "1.2.826.0.1.3680043.2.1125.7.1.1",
)
STUDY = "v1/main/8c/1.2.826.0.1.3680043.2.1125.7/"
SERIES = f"{STUDY}1.2.826.0.1.3680043.2.1125.7.1/"
GOLDEN = Path(__file__).parents[1] / "golden" / "keys.txt"


def place(key: str, prefix: str = "") -> Place:
    found = read_place(prefix + key, prefix)
    assert found is not None
    return found


def staged() -> StagedInstance:
    return StagedInstance(INSTANCE, "1.2", "1.2", 3, "ab" * 32, "cd" * 32, body=b"abc")


@pytest.mark.parametrize(
    ("slot", "kind"),
    [
        (Slot.PRIMARY, PlaceKind.INSTANCE),
        (Slot.CONFLICT, PlaceKind.CONFLICT),
        (Slot.QUARANTINE, PlaceKind.QUARANTINE),
    ],
)
@pytest.mark.parametrize("repair", [0, 1, 99])
@pytest.mark.parametrize("prefix", ["", "some/prefix/"])
def test_every_key_the_agent_writes_is_read_back(
    slot: Slot, kind: PlaceKind, repair: int, prefix: str
) -> None:
    key = object_key("main", staged(), slot)
    if repair:
        key = repair_key(key, repair)

    found = place(key, prefix)

    assert (found.kind, found.key, found.archive) == (kind, key, "main")
    assert found.group + found.rest == key
    if slot is not Slot.QUARANTINE:
        assert found.group == STUDY
        assert found.sop_instance_uid == INSTANCE.sop_instance_uid
        assert found.series_instance_uid == INSTANCE.series_instance_uid
        assert found.study_instance_uid == INSTANCE.study_instance_uid


def test_the_golden_keys_are_read_back() -> None:
    lines = [line.split() for line in GOLDEN.read_text().splitlines() if line[0] != "#"]
    kinds = {name: place(key).kind.value for name, key in lines if not key.endswith("/")}

    assert kinds == {
        "instance": "instance",
        "conflict": "conflict",
        "repair": "instance",
        "repair-of-conflict": "conflict",
        "manifest": "manifest",
        "manifest-12": "manifest",
        "quarantine": "quarantine",
    }
    assert place(dict(lines)["manifest-12"]).revision == 12
    assert place(dict(lines)["conflict"]).digest == "0123456789abcdef"


@pytest.mark.parametrize(
    "key",
    [
        f"{SERIES}1.2.3.dcm.bak",
        f"{SERIES}1.2..3.dcm",
        f"{SERIES}1.2.3",
        f"{SERIES}1.2.3~0123.dcm",
        f"{SERIES}1.2.3.dcm~r0",
        f"{SERIES}sub/1.2.3.dcm",
        f"{STUDY}1.2.3.dcm",
        f"{STUDY}manifest/0.json.gz",
        f"{STUDY}manifest/01.json.gz",
        f"{STUDY}manifest/1.json",
        f"{STUDY}a b+ü\n.dcm",
        f"{STUDY}study/",
    ],
)
def test_what_only_looks_alike_is_a_stranger_in_its_study(key: str) -> None:
    found = place(key)

    assert found.kind is PlaceKind.STRANGE
    assert found.group == STUDY
    assert found.sop_instance_uid == ""


@pytest.mark.parametrize(
    "key",
    [
        "v1/",
        "v1/readme.txt",
        "v1/MAIN/8c/1.2.826.0.1.3680043.2.1125.7/1.2/1.2.dcm",
        "v1/main/8d/1.2.826.0.1.3680043.2.1125.7/1.2/1.2.dcm",  # Another spread.
        "v1/main/8c/1.2.826.0.1.3680043.2.1125.7",
        "v1/main/quarantine/0123.dcm",
        "v1/MAIN/quarantine/" + "ab" * 32 + ".dcm",
        "v1/main/quarantine/" + "AB" * 32 + ".dcm",
        f"{STUDY}study",  # The study's own item has that name.
    ],
)
def test_what_lies_in_no_study_is_a_stranger_outside(key: str) -> None:
    found = place(key)

    assert found.kind is PlaceKind.STRANGE
    assert found.group == "v1/"
    assert found.rest
    assert found.study_instance_uid == ""


@pytest.mark.parametrize("key", ["v2/x", "other", "v10/x", "some/prefix", "prefix/v1/x", "v1"])
def test_what_lies_elsewhere_is_none_of_ours(key: str) -> None:
    assert read_place(key, "") is None
    assert read_place(f"v1/{key}", "some/prefix/") is None


def test_an_objects_item_never_has_the_key_of_its_studys() -> None:
    item = place(f"{STUDY}study")
    pk = item.partition_key("images", "")

    assert (pk, item.rest) != (
        study_key("images", "", "main", INSTANCE.study_instance_uid),
        "study",
    )


@pytest.mark.parametrize(("archive", "study"), [("Main", "1.2"), ("a/b", "1.2"), ("main", "1..2")])
def test_a_request_that_can_name_no_study_is_refused(archive: str, study: str) -> None:
    with pytest.raises(ValueError, match=r"name of an archive|usable UID"):
        study_key("images", "", archive, study)
