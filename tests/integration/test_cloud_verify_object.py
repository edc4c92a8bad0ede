"""One look at one object, whatever has become of it, in a moto bucket."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError, FlexibleChecksumError, ReadTimeoutError

from cloudmig.cloud.events import EventUnreadable
from cloudmig.cloud.expectations import Expectations
from cloudmig.cloud.verdict_table import MemoryTable, ObjectItem
from cloudmig.cloud.verify_object import verify_object, verify_objects
from cloudmig.errors import DestinationUnavailable
from cloudmig.messages import ObjectVerdict, StudyRequest, encode
from cloudmig.model.references import InstanceRef
from cloudmig.objects import conflict_key, quarantine_key, repair_key
from tests.contract.moto_bucket import Bucket
from tests.integration.cloud_world import (
    PREFIX,
    CloudWorld,
    Through,
    a_file,
    base64_of,
    digests_of,
    event_bridge_event,
)

pytest_plugins = ["tests.integration.cloud_fixtures"]

MIB = 1 << 20


@pytest.fixture(params=["checksum", "stream", "no checksums"])
def world(quick: CloudWorld, request: pytest.FixtureRequest) -> CloudWorld:
    """Both ways of reading, and the store that has no SHA-256 to read."""
    quick.expected = replace(
        quick.expected, read="stream" if request.param == "stream" else "checksum"
    )
    quick.checksums = request.param != "no checksums"
    return quick


def finding(verdict: ObjectVerdict | None) -> str:
    assert verdict is not None
    return verdict.finding


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def look_through(
    world: CloudWorld, key: str, operation: str, does: Callable[..., Any]
) -> ObjectVerdict | None:
    desk = replace(world.desk, s3=Through(world.s3, operation, does))
    return verify_object(desk, world.bucket.name, PREFIX + key)


def refusal(status: int, code: str = "", message: str = "") -> Callable[..., Any]:
    def refuse(**_: object) -> None:
        told = {"Code": code or str(status), "Message": message}
        answer: Any = {"Error": told, "ResponseMetadata": {"HTTPStatusCode": status}}
        raise ClientError(answer, "x")

    return refuse


# ---------------------------------------------------------------------------------- what is good


def test_an_object_as_the_agent_left_it_is_what_it_says(world: CloudWorld) -> None:
    study = world.put_study(1, manifested=False)
    [key], [file], [record] = study.keys, study.files, study.records

    verdict = world.see(key)

    assert verdict is not None
    assert verdict.finding == ""
    assert verdict.how == ("STREAMED" if "stream" in world.expected.read or not world.checksums
                           else "STORE_CHECKSUM")  # fmt: skip
    assert verdict.key == key
    assert verdict.sop_instance_uid == study.instances[0].sop_instance_uid
    assert verdict.study_instance_uid == study.study_instance_uid
    assert (verdict.size_bytes, verdict.version_id) == (len(file), record.location.version_id)
    assert (verdict.file_sha256, verdict.dataset_sha256) == (
        record.file_sha256, record.dataset_sha256,
    )  # fmt: skip
    item = world.item(key)
    assert item is not None
    assert (item.modality, item.study_year, item.storage_class) == ("CT", "2019", "STANDARD")
    assert item.unsettled
    assert not world.verdicts.sent
    assert not world.studies.sent


def test_a_conflict_a_repair_and_quarantine_are_what_they_say(world: CloudWorld) -> None:
    study = world.put_study(1, manifested=False)
    file = a_file(study.instances[0], pixels=b"other")
    digests = digests_of(file)
    beside = conflict_key("main", study.instances[0], digests["cloudmig-dataset-sha256"])
    digest = digests["cloudmig-file-sha256"]
    keys = [beside, repair_key(study.keys[0], 1), quarantine_key("main", digest)]
    for key in keys:
        world.put(key, file)

    assert [finding(world.see(key)) for key in keys] == ["", "", ""]
    kept = world.table.find(f"{world.bucket.name}/{PREFIX}v1/main/quarantine/", f"{digest}.dcm")
    assert kept is not None
    assert not kept.unsettled, "no manifest ever names it"


def test_quarantine_takes_what_is_no_dicom_file(world: CloudWorld) -> None:
    body = b"not a DICOM file at all"
    key = quarantine_key("main", hashlib.sha256(body).hexdigest())
    world.put(key, body)

    assert finding(world.see(key)) == ""


def with_a_long_header(file: bytes, length: int) -> bytes:
    """Put a private element of that length before the study's UID."""
    long = b"\x09\x00\x10\x00OB\0\0" + length.to_bytes(4, "little") + bytes(length)
    at = file.index(b"\x10\x00\x10\x00PN")
    return file[:at] + long + file[at:]


def test_a_header_longer_than_the_first_range_is_read(world: CloudWorld) -> None:
    ref = InstanceRef("1.2.3", "1.2.3.1", "1.2.3.1.1")
    other = InstanceRef("1.2.3", "1.2.3.1", "1.2.3.1.2")
    record = world.put_instance(ref, with_a_long_header(a_file(ref), 200_000))
    assert finding(world.see(record.location.key)) == ""

    world.put_instance(ref, with_a_long_header(a_file(other), 200_000))
    # The SOP Instance UID stands before the long element, and is not enough to tell.
    assert finding(world.see(record.location.key)) == "wrong key"


def test_of_a_header_without_end_nothing_is_known(world: CloudWorld) -> None:
    ref = InstanceRef("1.2.3", "1.2.3.1", "1.2.3.1.1")
    record = world.put_instance(ref, with_a_long_header(a_file(ref), 6 * MIB))

    assert finding(world.see(record.location.key)) == ""


def test_a_multipart_upload_is_known_by_its_parts(quick: CloudWorld) -> None:
    """The store has a checksum over the parts' digests; the agent has written down the same."""
    world = quick
    ref = InstanceRef("1.2.3", "1.2.3.1", "1.2.3.1.1")
    file = a_file(ref, pixels=bytes(6 * MIB))
    parts = [file[: 5 * MIB], file[5 * MIB :]]
    composite = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts))
    key = world.put_instance(ref, file).location.key

    def upload(**metadata: str) -> None:
        told = {**digests_of(file), **metadata}
        where = {"Bucket": world.bucket.name, "Key": PREFIX + key}
        made = world.s3.create_multipart_upload(**where, ChecksumAlgorithm="SHA256", Metadata=told)
        done = []
        for number, part in enumerate(parts, 1):
            checksum = base64_of(hashlib.sha256(part).digest())
            answer = world.s3.upload_part(
                **where, UploadId=made["UploadId"], PartNumber=number, Body=part,
                ChecksumSHA256=checksum,
            )  # fmt: skip
            done.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum})
        world.s3.complete_multipart_upload(
            **where, UploadId=made["UploadId"], MultipartUpload={"Parts": done}
        )

    upload(**{"cloudmig-parts-sha256": f"{composite.hexdigest()}-2"})
    verdict = world.see(key)
    assert verdict is not None
    assert (verdict.finding, verdict.how) == ("", "STORE_CHECKSUM")
    assert verdict.file_sha256 == hashlib.sha256(file).hexdigest()

    parts[1] = b"x" + parts[1][1:]
    upload(**{"cloudmig-parts-sha256": f"{composite.hexdigest()}-2"})
    assert finding(world.see(key)) == "altered"


# ----------------------------------------------------------------------------------- what is bad


def test_other_bytes_under_the_same_metadata_are_altered(world: CloudWorld) -> None:
    study = world.put_study(1, manifested=False)
    world.overwrite(study.keys[0], study.files[0][:-1] + b"x")

    verdict = world.see(study.keys[0])

    assert verdict is not None
    assert verdict.finding == "altered"
    assert world.verdicts.sent == [verdict]
    assert verdict.etag == world.head(study.keys[0])["ETag"]
    assert verdict.version_id == world.head(study.keys[0])["VersionId"]


def test_an_empty_object_is_altered(world: CloudWorld) -> None:
    study = world.put_study(1, manifested=False)
    world.overwrite(study.keys[0], b"")

    assert finding(world.see(study.keys[0])) == "altered"


def test_text_that_says_it_is_text_is_no_dicom_file(world: CloudWorld) -> None:
    study = world.put_study(1, manifested=False)
    torn_in_its_header = study.files[0][: study.files[0].index(b"CANARY")]
    for body in (b"hello", b"", b"x" * 300, b"x" * (5 * MIB), torn_in_its_header):
        world.put(study.keys[0], body, Metadata={"cloudmig-file-sha256": sha256(body)})
        assert finding(world.see(study.keys[0])) == "not DICOM"


@pytest.mark.parametrize("which", ["study", "series", "sop"])
def test_another_objects_uids_are_a_wrong_key(world: CloudWorld, which: str) -> None:
    study = world.put_study(1, manifested=False)
    ref = study.instances[0]
    other = {
        "study": InstanceRef("1.2.9", ref.series_instance_uid, ref.sop_instance_uid),
        "series": InstanceRef(ref.study_instance_uid, "1.2.9", ref.sop_instance_uid),
        "sop": InstanceRef(ref.study_instance_uid, ref.series_instance_uid, "1.2.9"),
    }[which]
    world.put(study.keys[0], a_file(other))

    assert finding(world.see(study.keys[0])) == "wrong key"


def test_a_digest_in_the_key_must_be_that_of_the_content(world: CloudWorld) -> None:
    study = world.put_study(1, manifested=False)
    beside = conflict_key("main", study.instances[0], "0123456789abcdef")
    aside = quarantine_key("main", "ab" * 32)
    for key in (beside, aside):
        world.put(key, study.files[0])

    assert [finding(world.see(key)) for key in (beside, aside)] == ["wrong key", "wrong key"]


def test_an_object_without_our_metadata_is_a_strangers(world: CloudWorld) -> None:
    study = world.put_study(1, manifested=False)
    world.put(study.keys[0], study.files[0], Metadata={})

    assert finding(world.see(study.keys[0])) == "stranger"


def test_a_store_without_metadata_makes_no_strangers(world: CloudWorld) -> None:
    world.expected = replace(world.expected, metadata=False)
    study = world.put_study(1, manifested=False)
    world.put(study.keys[0], study.files[0], Metadata={})

    assert finding(world.see(study.keys[0])) == ""


@pytest.mark.parametrize("name", ["a b", "a+b", "%41", "ü", "\U0001f600", "x/", "../../x", "study"])
def test_a_key_of_no_form_of_ours_is_a_stranger_unread(world: CloudWorld, name: str) -> None:
    study = world.put_study(1, manifested=False)
    key = study.keys[0].rpartition("/")[0].rpartition("/")[0] + f"/{name}"
    world.put(key, b"x" * 100)

    def refuse(**_: object) -> None:
        raise AssertionError("a stranger's object may be a terabyte")

    assert finding(look_through(world, key, "get_object", refuse)) == "stranger"


def test_a_strangers_object_that_is_gone_is_no_finding(world: CloudWorld) -> None:
    assert finding(world.see("v1/notes.txt")) == ""


def test_an_object_that_was_removed_is_missing(world: CloudWorld) -> None:
    study = world.put_study(1, manifested=False)
    world.see(study.keys[0])
    world.delete(study.keys[0])

    verdict = world.see(study.keys[0])

    assert verdict is not None
    assert (verdict.finding, verdict.etag, verdict.version_id) == ("missing", "", None)
    assert world.verdicts.sent == [verdict]


# ---------------------------------------------------------------------------------- how it is kept

KEY_ARN = "arn:aws:kms:us-east-1:123456789012:key/0a1b2c3d"


@pytest.mark.parametrize(
    ("wanted", "stored", "found"),
    [
        (None, {}, ""),
        ("", {}, "not encrypted"),
        ("", {"ServerSideEncryption": "AES256"}, ""),
        ("", {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": KEY_ARN}, ""),
        (KEY_ARN, {}, "not encrypted"),
        (KEY_ARN, {"ServerSideEncryption": "AES256"}, "not encrypted"),
        (KEY_ARN, {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": KEY_ARN}, ""),
        (KEY_ARN, {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": f"{KEY_ARN}9"},
         "not encrypted"),
    ],
)  # fmt: skip
def test_encryption_is_what_it_should_be(
    quick: CloudWorld, wanted: str | None, stored: dict[str, str], found: str
) -> None:
    quick.expected = replace(quick.expected, kms_key_arn=wanted)
    study = quick.put_study(1, manifested=False)
    quick.put(study.keys[0], study.files[0], **stored)

    assert finding(quick.see(study.keys[0])) == found


@pytest.mark.parametrize(
    ("wanted", "held", "found"),
    [
        ("", "", ""),
        ("GOVERNANCE", "", "not locked"),
        ("GOVERNANCE", "GOVERNANCE", ""),
        ("GOVERNANCE", "COMPLIANCE", ""),
        ("COMPLIANCE", "GOVERNANCE", "not locked"),
        ("COMPLIANCE", "COMPLIANCE", ""),
    ],
)
def test_a_lock_is_at_least_the_one_asked_for(
    quick: CloudWorld, wanted: str, held: str, found: str
) -> None:
    quick.expected = replace(quick.expected, lock_mode=wanted)
    study = quick.put_study(1, manifested=False)

    def head(**arguments: str) -> dict[str, Any]:
        answer = quick.s3.head_object(**arguments)
        return answer | ({"ObjectLockMode": held} if held else {})

    assert finding(look_through(quick, study.keys[0], "head_object", head)) == found


# ----------------------------------------------------------------------------------- what is cold


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
def test_what_cannot_be_read_is_judged_by_the_stores_checksum(
    world: CloudWorld, storage_class: str
) -> None:
    study = world.put_study(2, storage_class=storage_class, manifested=False)
    world.overwrite(study.keys[1], study.files[1][:-1] + b"x")

    good, bad = world.see(study.keys[0]), world.see(study.keys[1])

    assert good is not None
    assert bad is not None
    if world.checksums:
        assert (good.finding, good.how) == ("", "STORE_CHECKSUM")
        assert (bad.finding, bad.how) == ("altered", "STORE_CHECKSUM")
    else:
        assert (good.finding, good.how, good.file_sha256) == ("", "UNDECIDED", "")
        assert (bad.finding, bad.how, bad.file_sha256) == ("", "UNDECIDED", "")


def test_a_restored_object_is_read(world: CloudWorld) -> None:
    study = world.put_study(1, storage_class="GLACIER", manifested=False)
    world.s3.restore_object(
        Bucket=world.bucket.name, Key=PREFIX + study.keys[0], RestoreRequest={"Days": 1}
    )

    verdict = world.see(study.keys[0])

    assert verdict is not None
    assert verdict.finding == ""
    item = world.item(study.keys[0])
    assert item is not None
    assert item.modality == "CT"


def test_what_was_read_before_it_cooled_stays_proven(endpoint: str) -> None:
    """A lifecycle moves an object without touching its bytes, ETag or time."""
    world = CloudWorld(Bucket.create(endpoint), MemoryTable(), checksums=False)
    study = world.put_study(1, manifested=False)
    before = world.see(study.keys[0])
    assert before is not None

    def head(**arguments: str) -> dict[str, Any]:
        return world.s3.head_object(**arguments) | {"StorageClass": "DEEP_ARCHIVE"}

    after = look_through(world, study.keys[0], "head_object", head)

    assert after is not None
    assert (after.how, after.finding, after.storage_class) == ("STREAMED", "", "DEEP_ARCHIVE")
    assert after.file_sha256 == before.file_sha256
    item = world.item(study.keys[0])
    assert item is not None
    assert item.modality == "CT"


def test_what_was_read_before_proves_nothing_of_other_bytes(endpoint: str) -> None:
    world = CloudWorld(Bucket.create(endpoint), MemoryTable(), checksums=False)
    study = world.put_study(1, manifested=False)
    world.see(study.keys[0])
    world.overwrite(study.keys[0], study.files[0][:-1] + b"x", StorageClass="GLACIER")

    verdict = world.see(study.keys[0])

    assert verdict is not None
    assert (verdict.how, verdict.file_sha256) == ("UNDECIDED", "")


def test_what_was_said_of_an_object_is_not_said_of_its_successor(endpoint: str) -> None:
    """Without versions, the same bytes put again have the same ETag; their metadata are others."""
    world = CloudWorld(Bucket.create(endpoint, versioned=False), MemoryTable(), checksums=False)
    study = world.put_study(1, manifested=False)
    world.put(study.keys[0], study.files[0], Metadata={})
    world.ahead = dt.timedelta(seconds=-10)
    assert finding(world.see(study.keys[0])) == "stranger"
    world.ahead = dt.timedelta()
    world.put(study.keys[0], study.files[0], StorageClass="GLACIER")

    verdict = world.see(study.keys[0])

    assert verdict is not None
    assert (verdict.finding, verdict.how) == ("", "UNDECIDED")


def test_what_is_cold_and_in_quarantine_cannot_be_read_either(world: CloudWorld) -> None:
    body = b"not a DICOM file at all"
    key = quarantine_key("main", hashlib.sha256(body).hexdigest())
    world.put(key, body, StorageClass="GLACIER")

    assert finding(world.see(key)) == ""


def test_a_class_without_a_name_may_be_cold_too(endpoint: str) -> None:
    """Intelligent-Tiering refuses a GET from its archive tiers."""
    world = CloudWorld(Bucket.create(endpoint), MemoryTable(), checksums=False)
    study = world.put_study(1, manifested=False)

    refuse = refusal(403, "InvalidObjectState")
    verdict = look_through(world, study.keys[0], "get_object", refuse)

    assert verdict is not None
    assert (verdict.how, verdict.finding) == ("UNDECIDED", "")


SSE_C = "The object was stored using a form of Server Side Encryption. The correct parameters ..."


def test_what_a_strangers_own_key_encrypts_is_a_strangers(world: CloudWorld) -> None:
    """SSE-C: S3 answers a HEAD without the key with 400, for ever."""
    study = world.put_study(1, manifested=False)
    refusing = Through(world.s3, "get_object", refusal(400, "InvalidRequest", SSE_C))
    desk = replace(world.desk, s3=Through(refusing, "head_object", refusal(400)))

    assert finding(verify_object(desk, world.bucket.name, PREFIX + study.keys[0])) == "stranger"


@pytest.mark.parametrize("code", ["ExpiredToken", "KMS.DisabledException", "InvalidRequest"])
def test_a_head_refused_for_our_own_fault_says_nothing(world: CloudWorld, code: str) -> None:
    """It has no body: an expired token looks the same."""
    study = world.put_study(1, manifested=False)
    refusing = Through(world.s3, "get_object", refusal(400, code))
    desk = replace(world.desk, s3=Through(refusing, "head_object", refusal(400)))

    with pytest.raises(ClientError):
        verify_object(desk, world.bucket.name, PREFIX + study.keys[0])
    with pytest.raises(ClientError):
        look_through(world, study.keys[0], "head_object", refusal(400))
    assert world.item(study.keys[0]) is None


def test_bytes_that_were_decided_about_are_not_read_again(world: CloudWorld) -> None:
    """Events come twice, and a lifecycle moves objects by the million."""
    study = world.put_study(2, manifested=False)
    world.overwrite(study.keys[1], study.files[1][:-1] + b"x")
    before = [world.see(key) for key in study.keys]

    def refuse(**_: object) -> None:
        raise AssertionError("it was read before")

    after = [look_through(world, key, "get_object", refuse) for key in study.keys]

    assert [finding(each) for each in after] == ["", "altered"]
    assert after[0] != before[0]
    for one, other in zip(before, after, strict=True):
        assert one is not None
        assert other is not None
        assert replace(one, at=other.at) == other
    item = world.item(study.keys[0])
    assert item is not None
    assert item.unsettled


def test_how_an_object_is_kept_is_looked_at_each_time(quick: CloudWorld) -> None:
    quick.expected = replace(quick.expected, kms_key_arn="", lock_mode="GOVERNANCE")
    study = quick.put_study(1, manifested=False)
    kept: dict[str, str] = {}

    def head(**arguments: str) -> dict[str, Any]:
        return quick.s3.head_object(**arguments) | kept

    def look() -> str:
        return finding(look_through(quick, study.keys[0], "head_object", head))

    assert look() == "not encrypted"
    kept["ServerSideEncryption"] = "AES256"
    assert look() == "not locked"
    kept["ObjectLockMode"] = "COMPLIANCE"
    assert look() == ""
    del kept["ObjectLockMode"]
    assert look() == "not locked"


# ------------------------------------------------------------------------- faults, races, repeats


def broken(body: bytes) -> Callable[..., Any]:
    """Answer a GET with other bytes, once."""
    left = [body]

    def get(real: Callable[..., Any], **arguments: str) -> Any:  # noqa: ANN401
        answer = real(**arguments)
        if left:
            answer["Body"] = io.BytesIO(left.pop())
        return answer

    return get


def test_an_answer_damaged_on_its_way_is_read_again(endpoint: str) -> None:
    world = CloudWorld(Bucket.create(endpoint), MemoryTable(), checksums=False)
    study = world.put_study(1, manifested=False)
    damage = broken(study.files[0][:-1] + b"x")

    def get(**arguments: str) -> Any:  # noqa: ANN401
        return damage(world.s3.get_object, **arguments)

    assert finding(look_through(world, study.keys[0], "get_object", get)) == ""


def test_an_answer_that_breaks_off_is_no_truncated_object(endpoint: str) -> None:
    world = CloudWorld(Bucket.create(endpoint), MemoryTable(), checksums=False)
    study = world.put_study(1, manifested=False)
    damage = broken(study.files[0][:-9])

    def get(**arguments: str) -> Any:  # noqa: ANN401
        return damage(world.s3.get_object, **arguments)

    with pytest.raises(DestinationUnavailable, match="broke off"):
        look_through(world, study.keys[0], "get_object", get)
    assert world.item(study.keys[0]) is None
    assert not world.verdicts.sent


class Rotten(io.BytesIO):
    """A body whose checksum boto3 finds wrong at its end, as it does for bit rot."""

    def read(self, amount: int | None = -1) -> bytes:
        piece = super().read(amount)
        if not piece:
            raise FlexibleChecksumError(error_msg="Expected checksum x did not match")
        return piece


def test_bytes_the_store_itself_finds_rotten_are_altered(endpoint: str) -> None:
    world = CloudWorld(
        Bucket.create(endpoint), MemoryTable(), Expectations(prefix=PREFIX, read="stream")
    )
    study = world.put_study(1, manifested=False)

    def get(**arguments: str) -> Any:  # noqa: ANN401
        return world.s3.get_object(**arguments) | {"Body": Rotten(study.files[0][:-1] + b"x")}

    assert finding(look_through(world, study.keys[0], "get_object", get)) == "altered"


@pytest.mark.parametrize("operation", ["head_object", "get_object"])
@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (403, ""), (500, "")])
def test_a_store_in_trouble_says_nothing_of_the_object(
    world: CloudWorld, operation: str, status: int, code: str
) -> None:
    study = world.put_study(1, manifested=False)

    with pytest.raises(ClientError):
        look_through(world, study.keys[0], operation, refusal(status, code))
    assert world.item(study.keys[0]) is None
    assert not world.verdicts.sent


def test_a_store_that_does_not_answer_says_nothing_of_the_object(world: CloudWorld) -> None:
    study = world.put_study(1, manifested=False)

    def fail(**_: object) -> None:
        raise ReadTimeoutError(endpoint_url="http://x")

    with pytest.raises(ReadTimeoutError):
        look_through(world, study.keys[0], "get_object", fail)
    assert world.item(study.keys[0]) is None


def test_one_look_is_about_one_object(world: CloudWorld) -> None:
    """Between HEAD and GET the object is replaced: both are asked again."""
    study = world.put_study(1, manifested=False)
    other = study.files[0][:-1] + b"y"
    heads = 0

    def head(**arguments: str) -> Any:  # noqa: ANN401
        nonlocal heads
        heads += 1
        answer = world.s3.head_object(**arguments)
        if heads == 1:
            world.put(study.keys[0], other)
        return answer

    verdict = look_through(world, study.keys[0], "head_object", head)

    assert verdict is not None
    assert verdict.finding == ""
    assert verdict.file_sha256 == hashlib.sha256(other).hexdigest()
    assert heads == 2


def test_an_object_that_never_holds_still_is_left_for_later(world: CloudWorld) -> None:
    study = world.put_study(1, manifested=False)

    def head(**arguments: str) -> Any:  # noqa: ANN401
        answer = world.s3.head_object(**arguments)
        world.put(study.keys[0], study.files[0] + answer["ETag"].encode())
        return answer

    with pytest.raises(DestinationUnavailable, match="every look"):
        look_through(world, study.keys[0], "head_object", head)


def test_an_object_that_goes_away_under_our_eyes_is_missing(world: CloudWorld) -> None:
    study = world.put_study(1, manifested=False)

    def head(**arguments: str) -> Any:  # noqa: ANN401
        answer = world.s3.head_object(**arguments)
        world.delete(study.keys[0])
        return answer

    assert finding(look_through(world, study.keys[0], "head_object", head)) == "missing"


def test_a_look_that_began_earlier_changes_nothing(world: CloudWorld) -> None:
    """It sees the object as it was, is slow, and comes to the table last."""
    study = world.put_study(1, manifested=False)

    class Slow(MemoryTable):
        def record(self, item: ObjectItem) -> bool:
            world.overwrite(study.keys[0], b"x")
            world.see(study.keys[0])
            return world.table.record(item)

    desk = replace(world.desk, table=Slow())

    assert verify_object(desk, world.bucket.name, PREFIX + study.keys[0]) is None
    item = world.item(study.keys[0])
    assert item is not None
    assert item.finding == "altered"


def test_events_may_come_twice_and_in_any_order(world: CloudWorld) -> None:
    study = world.put_study(1, manifested=False)
    key = study.keys[0]
    for detail_type in ("Object Deleted", "Object Created", "Object Created", "Object Tags Added"):
        [verdict] = verify_objects(
            world.desk, event_bridge_event(world.bucket.name, PREFIX + key, detail_type)
        )
        assert verdict.finding == ""
    assert not world.verdicts.sent


# ------------------------------------------------------------------------------------ who is told


def test_a_manifest_is_passed_on_to_the_studies(world: CloudWorld) -> None:
    study = world.put_study(1)
    body = event_bridge_event(world.bucket.name, PREFIX + study.manifest_key())

    assert verify_objects(world.desk, body) == []

    [request] = world.studies.sent
    assert isinstance(request, StudyRequest)
    assert request.study_instance_uid == study.study_instance_uid
    assert (request.why, request.archive, request.prefix) == ("manifest", "main", PREFIX)


def test_a_request_in_the_wrong_queue_is_passed_on(world: CloudWorld) -> None:
    request = world.request(world.put_study(1))

    assert verify_objects(world.desk, encode(request)) == []
    assert world.studies.sent == [request]


def test_other_objects_of_the_bucket_are_none_of_ours(world: CloudWorld) -> None:
    for key in ("v1/main/x", "some/prefix/other", "inventory/x"):
        assert verify_objects(world.desk, event_bridge_event(world.bucket.name, key)) == []
    assert not world.verdicts.sent


def test_poison_raises(world: CloudWorld) -> None:
    with pytest.raises(EventUnreadable):
        verify_objects(world.desk, '{"hello": 1}')


def test_once_a_manifest_was_judged_the_study_speaks_for_its_objects(world: CloudWorld) -> None:
    study = world.put_study(2)
    world.judge(study)
    told = len(world.verdicts.sent)
    world.overwrite(study.keys[0], b"x")

    assert finding(world.see(study.keys[0])) == "altered"

    assert len(world.verdicts.sent) == told
    [request] = world.studies.sent
    assert isinstance(request, StudyRequest)
    assert request.why == "object changed"
    assert world.findings(study) == {study.keys[0]: "truncated"}


def test_a_judged_object_that_looks_the_same_is_nothing_new(world: CloudWorld) -> None:
    """Most events of a fast agent come after its manifest; each would judge the study again."""
    study = world.put_study(3)
    world.delete(study.keys[2])
    world.overwrite(study.keys[1], b"x")
    world.judge(study)
    told = len(world.verdicts.sent)

    for key in study.keys * 2:
        world.see(key)

    assert not world.studies.sent
    assert len(world.verdicts.sent) == told
    items = [world.item(key) for key in study.keys]
    assert [item and item.finding for item in items] == ["", "truncated", "missing"]
    assert not any(item and item.unsettled for item in items)


def test_a_judged_object_that_moved_is_unsettled_until_it_is_judged_again(
    quick: CloudWorld,
) -> None:
    study = quick.put_study(1)
    quick.judge(study)

    def head(**arguments: str) -> dict[str, Any]:
        return quick.s3.head_object(**arguments) | {"StorageClass": "GLACIER_IR"}

    look_through(quick, study.keys[0], "head_object", head)

    item = quick.item(study.keys[0])
    assert item is not None
    assert item.unsettled
    assert len(quick.studies.sent) == 1


def test_a_bad_object_is_told_again_when_telling_failed(world: CloudWorld) -> None:
    study = world.put_study(1, manifested=False)
    world.overwrite(study.keys[0], b"x")
    quarantined = quarantine_key("main", "ab" * 32)
    world.put(quarantined, b"x")

    class Unreachable:
        def send(self, messages: object) -> None:
            raise DestinationUnavailable("queue: down")

    desk = replace(world.desk, verdicts=Unreachable())
    for key in (study.keys[0], quarantined):
        with pytest.raises(DestinationUnavailable):
            verify_object(desk, world.bucket.name, PREFIX + key)
        world.see(key)

    assert len(world.verdicts.sent) == 2
