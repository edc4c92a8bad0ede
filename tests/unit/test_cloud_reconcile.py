"""An inventory against its manifests: what is a difference, what is none, what is refused."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloudmig.cloud import reconcile_spill
from cloudmig.cloud.reconcile_inventory import InventoryRefused, Settings, run_step
from cloudmig.cloud.reconcile_judging import ReconcileRules
from cloudmig.cloud.reconcile_shelf import Address, FolderShelf, Shelf, Shelves
from cloudmig.messages import StudyRequest, decode
from cloudmig.model.instance import Location
from cloudmig.model.references import StudyRef
from cloudmig.objects import conflict_key, manifest_key, quarantine_key, study_prefix
from tests.cloud_inventory import (
    BUCKET,
    COLUMNS,
    FOLDER,
    INVENTORIES,
    PREFIX,
    RESULTS,
    STUDY,
    Listing,
    a_record,
    instance,
    write_manifest_json,
)

SETTINGS = Settings(bucket=BUCKET, prefix=PREFIX, results=Address(RESULTS, "reconcile/"))
RECORDS = [a_record(number) for number in range(4)]
YOUNG = "2026-03-01T00:30:00.000Z"
YESTERDAY = "2026-02-28T20:00:00.000Z"


class Queue:
    """Takes batches of messages."""

    def __init__(self) -> None:
        self.bodies: list[str] = []

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, str]]) -> dict[str, Any]:  # noqa: N803
        assert 1 <= len(Entries) <= 10
        self.bodies += [entry["MessageBody"] for entry in Entries]
        return {}


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelves({name: FolderShelf(tmp_path / name) for name in (BUCKET, INVENTORIES, RESULTS)})


def run(
    shelf: Shelf, inventory: Address, settings: Settings = SETTINGS, queue: Queue | None = None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Do what the state machine does; return the summary and all findings."""
    planned = run_step(
        {"step": "plan", "inventory": inventory.document()}, shelf, settings, sqs=queue
    )
    for step, name in (("split", "split"), ("reconcile", "join")):
        units = json.loads(shelf.get(Address.of(planned[f"{name}_units"])) or b"")
        assert len(units) == planned[f"{name}_count"]
        for unit in units:
            run_step({"step": step, **unit}, shelf, settings, sqs=queue)
    summary = run_step({"step": "summarise", "plan": planned["plan"]}, shelf, settings)
    found = [
        json.loads(line)
        for address in summary["findings_files"]
        for line in gzip.decompress(shelf.get(Address.of(address)) or b"").splitlines()
    ]
    return summary, found


def named(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return sorted((each["finding"], each["detail"]) for each in found)


def a_listing() -> Listing:
    listing = Listing()
    listing.add_manifest(RECORDS)
    return listing


def test_what_agrees_has_no_finding(shelf: Shelf) -> None:
    listing = a_listing()
    for record in RECORDS:
        listing.add_record(record)

    summary, found = run(shelf, listing.write(shelf))

    assert found == []
    assert summary["agreed"] is True
    assert (summary["studies"], summary["objects"], summary["rows"]) == (1, 5, 5)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"Size": "2"}, ("truncated", "size")),
        ({"Size": "2000"}, ("altered", "size")),
        ({"ETag": "other"}, ("altered", "etag")),
        ({"VersionId": "other"}, ("altered", "version")),
        ({"StorageClass": "DEEP_ARCHIVE"}, ("wrong class", "DEEP_ARCHIVE")),
        ({"EncryptionStatus": "NOT-SSE"}, ("not encrypted", "NOT-SSE")),
        ({"IsDeleteMarker": "true", "Size": "", "ETag": ""}, ("missing", "delete marker")),
    ],
)
def test_a_difference_is_named(
    shelf: Shelf, columns: dict[str, str], expected: tuple[str, str]
) -> None:
    listing = a_listing()
    for record in RECORDS[1:]:
        listing.add_record(record)
    listing.add_record(RECORDS[0], **columns)

    summary, found = run(shelf, listing.write(shelf))

    assert named(found) == [expected]
    [finding] = found
    assert finding["schema"] == "cloudmig/reconcile-finding/1"
    assert finding["key"] == RECORDS[0].location.key
    assert finding["sop_instance_uid"] == instance(0).sop_instance_uid
    assert finding["study_instance_uid"] == STUDY.study_instance_uid
    assert summary["findings"] == {expected[0]: 1}
    assert summary["agreed"] is False


def test_without_an_etag_in_the_manifest_a_version_still_tells(shelf: Shelf) -> None:
    records = [replace(record, etag="") for record in RECORDS]
    listing = Listing()
    listing.add_manifest(records)
    for record in records[1:]:
        listing.add_record(record, ETag="any")
    listing.add_record(records[0], ETag="any", VersionId="other")

    _, found = run(shelf, listing.write(shelf))

    assert named(found) == [("altered", "version")]


def test_what_is_not_listed_is_missing_and_what_no_manifest_names_is_a_stranger(
    shelf: Shelf,
) -> None:
    listing = a_listing()
    for record in RECORDS[1:]:
        listing.add_record(record)
    strange = f"{study_prefix('main', STUDY)}1.2.3.4/9.dcm"
    listing.add(strange)

    _, found = run(shelf, listing.write(shelf))

    assert [(each["finding"], each["key"]) for each in found] == [
        ("missing", RECORDS[0].location.key),
        ("stranger", strange),
    ]


def test_a_column_the_inventory_lacks_says_nothing(shelf: Shelf) -> None:
    listing = a_listing()
    for record in RECORDS:
        listing.add_record(record, ETag="x", VersionId="x", EncryptionStatus="NOT-SSE")

    _, found = run(shelf, listing.write(shelf, columns=("Key", "Size", "LastModifiedDate")))

    assert found == []


def test_how_objects_must_be_kept_is_configured(shelf: Shelf) -> None:
    listing = Listing()
    kept = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": "2030-01-01T00:00:00.000Z"}
    listing.add_manifest(RECORDS, **kept)
    listing.add_record(RECORDS[0], **kept, StorageClass="GLACIER_IR")
    listing.add_record(RECORDS[1], **kept, EncryptionStatus="SSE-S3")
    listing.add_record(RECORDS[2])
    over = {**kept, "ObjectLockRetainUntilDate": "2026-02-28T00:00:00.000Z"}
    listing.add_record(RECORDS[3], **over)
    rules = ReconcileRules(later_classes=("GLACIER_IR",), kms=True, lock_mode="GOVERNANCE")

    _, found = run(shelf, listing.write(shelf), replace(SETTINGS, rules=rules))

    assert named(found) == [
        ("not encrypted", "SSE-S3"), ("not locked", ""), ("not locked", "COMPLIANCE"),
    ]  # fmt: skip


def test_what_may_be_in_flight_is_no_finding(shelf: Shelf) -> None:
    """An inventory lists what was written or deleted shortly before it, or does not."""
    listing = Listing()
    listing.add_manifest([*RECORDS, a_record(9, stored_at=YOUNG)])
    listing.add_record(RECORDS[0], ETag="repaired", LastModifiedDate=YOUNG)
    listing.add_record(RECORDS[1], IsDeleteMarker="true", Size="", LastModifiedDate=YOUNG)
    for record in RECORDS[2:]:
        listing.add_record(record)
    prefix = study_prefix("main", STUDY)
    listing.add(f"{prefix}1.2.3.4/8.dcm", LastModifiedDate=YOUNG)
    listing.add(f"{prefix}1.2.3.4/7.dcm", LastModifiedDate=YESTERDAY)  # Its manifest may follow.
    other = study_prefix("main", StudyRef("1.2.9"))
    listing.add(f"{other}1.2.9.1/1.dcm", LastModifiedDate=YESTERDAY)

    summary, found = run(shelf, listing.write(shelf))

    assert found == []
    assert summary["younger"] == 6


def test_objects_without_a_manifest_are_orphans_after_a_day(shelf: Shelf) -> None:
    listing = Listing()
    listing.add_record(RECORDS[0])

    summary, found = run(shelf, listing.write(shelf))

    assert named(found) == [("orphan", "")]
    assert (summary["studies"], summary["studies_without"]) == (0, 1)


def test_the_newest_revision_counts_and_what_only_earlier_ones_name_is_superseded(
    shelf: Shelf,
) -> None:
    listing = Listing()
    first = listing.add_manifest([*RECORDS, a_record(9)])
    listing.add_manifest(RECORDS, revision=2, previous_sha256=first)
    for record in (*RECORDS, a_record(9)):
        listing.add_record(record)

    summary, found = run(shelf, listing.write(shelf))

    assert found == []
    assert summary["superseded"] == 1


def test_a_repair_beside_the_bad_object_leaves_no_stranger(shelf: Shelf) -> None:
    bad = RECORDS[0]
    repair = replace(bad, location=Location(f"{bad.location.key}~r2"))
    listing = Listing()
    listing.add_manifest([repair, *RECORDS[1:]])
    listing.add(f"{bad.location.key}~r1")
    for record in (repair, *RECORDS):
        listing.add_record(record)

    summary, found = run(shelf, listing.write(shelf))

    assert found == []
    assert summary["superseded"] == 2


def test_a_conflict_and_an_object_of_several_records_are_known(shelf: Shelf) -> None:
    conflict = replace(
        RECORDS[0], location=Location(conflict_key("main", instance(0), "c" * 64)), slot="conflict"
    )
    packed = [
        replace(RECORDS[at], location=Location(RECORDS[1].location.key, None, 512 * at, 512))
        for at in (1, 2)
    ]
    listing = Listing()
    listing.add_manifest([RECORDS[0], conflict, *packed])
    listing.add_record(RECORDS[0])
    listing.add_record(conflict, VersionId="v")
    listing.add(RECORDS[1].location.key, Size="1024", ETag="")

    _, found = run(shelf, listing.write(shelf))

    assert found == []


def test_a_chain_that_does_not_hold_proves_nothing(shelf: Shelf) -> None:
    listing = Listing()
    listing.add_manifest([*RECORDS, a_record(9)])
    listing.add_manifest(RECORDS, revision=2, previous_sha256="0" * 64)
    for record in (*RECORDS, a_record(9)):
        listing.add_record(record)

    _, found = run(shelf, listing.write(shelf))

    assert named(found) == [("manifest altered", "chain"), ("stranger", "")]


@pytest.mark.parametrize(
    ("damage", "detail"),
    [
        (lambda body: b"x" * len(body), "unreadable"),
        (lambda body: body + b"x", "size"),
        (None, "not readable"),
    ],
)
def test_a_manifest_that_is_not_what_is_listed_is_named(
    shelf: Shelf,
    damage: Callable[[bytes], bytes] | None,
    detail: str,
) -> None:
    listing = a_listing()
    for record in RECORDS:
        listing.add_record(record)
    key = manifest_key("main", STUDY, 1)
    if damage is None:
        del listing.bodies[key]
    else:
        listing.bodies[key] = damage(listing.bodies[key])

    _, found = run(shelf, listing.write(shelf))

    finding = "manifest missing" if damage is None else "manifest altered"
    assert named(found) == [(finding, detail)]


def test_a_manifest_of_another_study_is_altered(shelf: Shelf) -> None:
    listing = a_listing()
    other = manifest_key("main", StudyRef("1.2.9"), 1)
    listing.bodies[other] = listing.bodies[manifest_key("main", STUDY, 1)]
    listing.rows[0]["Key"] = PREFIX + other

    _, found = run(shelf, listing.write(shelf))

    assert named(found) == [("manifest altered", "of another study")]


def test_a_gap_in_the_revisions_is_one_finding_however_wide(shelf: Shelf) -> None:
    listing = Listing()
    listing.add_manifest(RECORDS, revision=999_999_999)
    for record in RECORDS:
        listing.add_record(record)

    _, found = run(shelf, listing.write(shelf))

    assert named(found) == [("manifest missing", "revisions 1 to 999999998")]


def test_a_manifest_written_after_the_inventory_takes_its_findings_over(shelf: Shelf) -> None:
    listing = a_listing()
    for record in RECORDS[1:]:
        listing.add_record(record)
    listing.add_manifest(RECORDS[1:], revision=2, listed=False)

    summary, found = run(shelf, listing.write(shelf))

    assert found == []
    assert summary["overtaken"] == 1


def test_what_lies_in_no_study_is_quarantine_or_a_stranger(shelf: Shelf) -> None:
    listing = a_listing()
    for record in RECORDS:
        listing.add_record(record)
    listing.add(quarantine_key("main", "ab" * 32))
    listing.add("v1/main/readme.txt")
    listing.add("v1/main/young.txt", LastModifiedDate=YOUNG)
    listing.rows.append({**listing.rows[0], "Key": "elsewhere/v1/x"})
    listing.rows.append({**listing.rows[1], "IsLatest": "false", "ETag": "earlier"})

    summary, found = run(shelf, listing.write(shelf))

    assert [(each["finding"], each["key"]) for each in found] == [
        ("stranger", "v1/main/readme.txt")
    ]
    assert (summary["quarantined"], summary["outside"], summary["noncurrent"]) == (1, 1, 1)


@pytest.mark.parametrize(
    "name", ["a b+c%2F.dcm", "tab\there", "line\nend", "other\u2028end", "", "~ü.dcm"]
)
def test_any_name_of_a_stranger_is_one_finding(shelf: Shelf, name: str) -> None:
    listing = a_listing()
    for record in RECORDS:
        listing.add_record(record)
    listing.add(f"{study_prefix('main', STUDY)}{name}")

    _, found = run(shelf, listing.write(shelf))

    assert named(found) == [("stranger", "")]
    if name.isprintable():
        assert found[0]["key"].endswith(name)


def test_differing_studies_are_asked_for_again_up_to_a_number(shelf: Shelf) -> None:
    listing = Listing()
    for number in range(25):
        study = StudyRef(f"1.2.{number + 100}")
        listing.add(f"{study_prefix('main', study)}1/1.dcm")
    inventory, queue = listing.write(shelf), Queue()
    settings = replace(SETTINGS, study_queue_url="http://queue")

    summary, _ = run(shelf, inventory, settings, queue)
    asked = [decode(body) for body in queue.bodies]

    assert summary["asked_again"] == len(asked) == 25
    assert {each.study_instance_uid for each in asked if isinstance(each, StudyRequest)} == {
        f"1.2.{number + 100}" for number in range(25)
    }
    assert {(each.why, each.at) for each in asked if isinstance(each, StudyRequest)} == {
        ("inventory differs", "2026-03-01T01:00:00.000000Z")
    }

    summary, _ = run(shelf, inventory, replace(settings, requests_max=7), Queue())
    assert (summary["asked_again"], summary["not_asked"]) == (7, 18)


def test_a_run_repeated_writes_the_same(shelf: Shelf, tmp_path: Path) -> None:
    listing = a_listing()
    listing.add_record(RECORDS[0])
    inventory = listing.write(shelf)

    def written() -> dict[Path, bytes]:
        run(shelf, inventory)
        return {path: path.read_bytes() for path in (tmp_path / RESULTS).rglob("*.*")}

    assert written() == written()


def test_few_rows_in_memory_and_many_partitions_change_nothing(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile_spill, "_BUFFER_BYTES_MAX", 300)
    listing = a_listing()
    for record in RECORDS[1:]:
        listing.add_record(record)
    for number in range(40):
        listing.add(f"{study_prefix('main', StudyRef(f'1.2.{number + 10}'))}1/1.dcm")

    inventory = listing.write(shelf, files=3)
    summary, found = run(shelf, inventory, replace(SETTINGS, rows_per_partition=1))

    assert len(summary["findings_files"]) > 5
    assert summary["findings"] == {"missing": 1, "orphan": 40}
    assert len(found) == 41


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"fileFormat": "Parquet"}, "written as Parquet: set its output format to CSV"),
        ({"fileFormat": "ORC"}, "written as ORC"),
        ({"sourceBucket": "other"}, "of the bucket other, not of images"),
        ({"fileSchema": "Bucket, Key"}, "add them to its fields"),
        ({"files": [{"key": "k", "size": 5 << 30, "MD5checksum": ""}]}, "larger than 4 GiB"),
        ({"files": 5}, "none of an S3 Inventory"),
    ],
)
def test_what_cannot_be_reconciled_is_refused_with_a_hint(
    shelf: Shelf, changes: dict[str, object], hint: str
) -> None:
    address = write_manifest_json(shelf, changes)

    with pytest.raises(InventoryRefused, match=hint):
        run(shelf, address)


def test_a_damaged_or_incomplete_inventory_is_refused(shelf: Shelf) -> None:
    listing = a_listing()
    inventory = listing.write(shelf)
    data = Address(INVENTORIES, f"{FOLDER}/data/0.csv.gz")
    held = shelf.get(data) or b""
    for body, hint in (
        (gzip.compress(gzip.decompress(held), 1), "not what manifest.json says"),
        (held[:-9], "damaged"),
        (gzip.compress(b'"one","two"\n'), "another schema"),
    ):
        shelf.put(data, body)
        with pytest.raises(InventoryRefused, match=hint):
            run(shelf, inventory)

    shelf.put(inventory, b"{}")
    with pytest.raises(InventoryRefused, match=r"not what manifest.checksum says"):
        run(shelf, inventory)
    with pytest.raises(InventoryRefused, match="named by its manifest"):
        run(shelf, data)
    with pytest.raises(InventoryRefused, match="no such"):
        run(shelf, Address(INVENTORIES, "x/manifest.json"))


def test_an_inventory_that_is_not_complete_yet_is_refused(shelf: Shelf, tmp_path: Path) -> None:
    inventory = a_listing().write(shelf)
    (tmp_path / INVENTORIES / inventory.beside("manifest.checksum").key).unlink()

    with pytest.raises(InventoryRefused, match="S3 writes it last"):
        run(shelf, inventory)


def test_an_inventory_of_nothing_of_ours_is_refused_and_not_found_clean(shelf: Shelf) -> None:
    listing = Listing()
    listing.rows.append({"Key": "logs/x", "Size": "1", "LastModifiedDate": "", "IsLatest": "true"})

    with pytest.raises(InventoryRefused, match="filtered"):
        run(shelf, listing.write(shelf))


def test_the_environment_of_the_function_is_read() -> None:
    settings = Settings.from_environment(
        {
            "BUCKET": "images", "RESULTS_BUCKET": "records", "RESULTS_PREFIX": "results/",
            "LATER_CLASSES": "GLACIER_IR, DEEP_ARCHIVE", "KMS_KEY_ARN": "arn:aws:kms:x",
            "LOCK_MODE": "GOVERNANCE", "SETTLE_S": "60", "ORPHAN_AFTER_H": "48",
            "STUDY_QUEUE_URL": "http://queue", "REQUESTS_MAX": "5",
        }
    )  # fmt: skip

    assert settings.results == Address("records", "results/")
    assert settings.prefix == ""
    assert settings.requests_max == 5
    assert settings.rules == ReconcileRules(
        later_classes=("GLACIER_IR", "DEEP_ARCHIVE"), kms=True, lock_mode="GOVERNANCE",
        settle_s=60, orphan_after_s=48 * 3600,
    )  # fmt: skip


def test_the_function_needs_the_standard_library_alone() -> None:
    """A function starts cold: what it imports is what its users wait for."""
    program = (
        "import sys; import cloudmig.cloud.reconcile_inventory, cloudmig.cloud.watch_restore;"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'boto3', 'pydantic',"
        " 'pydicom', 'pynetdicom', 'sqlalchemy', 'structlog', 'obstore'}))"
    )
    asked = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True
    )

    assert asked.stdout.strip() == "[]"


def test_columns_are_those_a_real_inventory_can_have() -> None:
    assert set(reconcile_spill._KEPT) <= set(COLUMNS)
