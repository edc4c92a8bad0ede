"""Studies in a bucket as the agent leaves them, and the functions' desk over them.

    world = CloudWorld(Bucket.create(endpoint), MemoryTable())
    study = world.put_study(instances=3)
    world.overwrite(study.keys[0], b"...")
    assert world.judge(study).findings[0].finding == "altered"

The objects are put by boto3, as the agent would put them: same keys, metadata and checksums.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import itertools
import json
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import boto3

from cloudmig import manifest
from cloudmig.cloud.dynamo_table import DynamoTable, table_arguments
from cloudmig.cloud.expectations import Expectations
from cloudmig.cloud.verdict_queue import MemoryOutbox
from cloudmig.cloud.verdict_table import ObjectItem, StudyItem, VerdictTable
from cloudmig.cloud.verify_object import Desk, verify_object
from cloudmig.cloud.verify_study import verify_study
from cloudmig.dicom.part10 import file_prefix
from cloudmig.manifest import InstanceRecord, Manifest
from cloudmig.messages import ObjectVerdict, StudyRequest, StudyVerdict
from cloudmig.model.instance import Location
from cloudmig.model.references import InstanceRef, StudyRef
from cloudmig.objects import instance_key, manifest_key
from tests.contract.moto_bucket import Bucket

__all__ = ["PREFIX", "CloudWorld", "PutStudy", "Through", "a_file", "dynamo_table", "to_the_second"]

PREFIX = "some/prefix/"
_SOP_CLASS = "1.2.840.10008.5.1.4.1.1.7"
_EXPLICIT = "1.2.840.10008.1.2.1"


def _element(tag: int, vr: bytes, value: bytes) -> bytes:
    value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def a_file(instance: InstanceRef, *, pixels: bytes = b"\1" * 200, modality: bytes = b"CT") -> bytes:
    """Make a small Part 10 file, with a patient whose name must appear nowhere."""
    data_set = b"".join(
        (
            _element(0x00080016, b"UI", _SOP_CLASS.encode()),
            _element(0x00080018, b"UI", instance.sop_instance_uid.encode()),
            _element(0x00080020, b"DA", b"20190317"),
            _element(0x00080060, b"CS", modality),
            _element(0x00100010, b"PN", b"CANARY^NAME"),
            _element(0x0020000D, b"UI", instance.study_instance_uid.encode()),
            _element(0x0020000E, b"UI", instance.series_instance_uid.encode()),
            struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, len(pixels)) + pixels,
        )
    )
    return file_prefix(_SOP_CLASS, instance.sop_instance_uid, _EXPLICIT) + data_set


def data_set_of(file: bytes) -> bytes:
    """Return what follows group 0002."""
    start = file.index(struct.pack("<HH2sH", 0x0008, 0x0016, b"UI", 26)[:6])
    return file[start:]


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def digests_of(file: bytes) -> dict[str, str]:
    return {
        "cloudmig-file-sha256": _sha256(file),
        "cloudmig-dataset-sha256": _sha256(data_set_of(file)),
    }


@dataclass(frozen=True)
class PutStudy:
    """A study as it was put."""

    study_instance_uid: str
    instances: tuple[InstanceRef, ...]
    keys: tuple[str, ...]
    files: tuple[bytes, ...]
    records: tuple[InstanceRecord, ...]

    @property
    def ref(self) -> StudyRef:
        return StudyRef(self.study_instance_uid)

    def manifest_key(self, revision: int = 1) -> str:
        return manifest_key("main", self.ref, revision)


def dynamo_table(endpoint: str, name: str, page_items: int | None = None) -> DynamoTable:
    """Make a table on a moto server, as Terraform would."""
    client = boto3.client(
        "dynamodb", endpoint_url=endpoint, region_name="us-east-1",
        aws_access_key_id="testing", aws_secret_access_key="testing",
    )  # fmt: skip
    client.create_table(**table_arguments(name))
    return DynamoTable(client, name, page_items=page_items)


class Through:
    """An S3 client with one operation replaced."""

    def __init__(self, client: Any, operation: str, does: Callable[..., Any]) -> None:  # noqa: ANN401
        self._client = client
        self._operation = operation
        self._does = does

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        if name == self._operation:
            return self._does
        return getattr(self._client, name)


@dataclass
class CloudWorld:
    """One bucket, one table, and what the functions sent."""

    bucket: Bucket
    table: VerdictTable
    expected: Expectations = field(default_factory=lambda: Expectations(prefix=PREFIX))
    threads: int = 4
    page_keys: int = 1000
    verdicts: MemoryOutbox = field(default_factory=MemoryOutbox)
    studies: MemoryOutbox = field(default_factory=MemoryOutbox)
    ahead: dt.timedelta = dt.timedelta()  #: How far the functions' clock is ahead of ours.
    checksums: bool = True  #: The store keeps a SHA-256 of its own.
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def s3(self) -> Any:  # noqa: ANN401 - a boto3 client
        return self.bucket.client

    @property
    def desk(self) -> Desk:
        return Desk(
            s3=self.s3,
            table=self.table,
            verdicts=self.verdicts,
            studies=self.studies,
            expected=self.expected,
            now=self.now,
            threads=self.threads,
            page_keys=self.page_keys,
        )

    def now(self) -> dt.datetime:
        # A moto bucket stamps objects with the real time: the functions live in it, too.
        return dt.datetime.now(dt.UTC) + self.ahead

    # The agent

    def put(self, key: str, body: bytes, **arguments: object) -> str | None:
        """Put one object with the metadata of its content; return its version."""
        sent: dict[str, Any] = {
            "Bucket": self.bucket.name, "Key": PREFIX + key, "Body": body,
            "Metadata": digests_of(body) if b"DICM" in body[128:132]
            else {"cloudmig-file-sha256": _sha256(body)},
        }  # fmt: skip
        if self.checksums:
            sent["ChecksumAlgorithm"] = "SHA256"
        answer = self.s3.put_object(**sent | arguments)
        version: str | None = answer.get("VersionId")
        return version

    def put_study(
        self, instances: int = 2, *, storage_class: str = "STANDARD", manifested: bool = True
    ) -> PutStudy:
        """Put a study as the agent does: objects, then the manifest."""
        study_instance_uid = f"1.2.826.0.1.3680043.2.1125.{next(self._numbers)}"
        refs = tuple(
            InstanceRef(
                study_instance_uid,
                f"{study_instance_uid}.{1 + number % 2}",
                f"{study_instance_uid}.{1 + number % 2}.{number}",
            )
            for number in range(instances)
        )
        files = tuple(a_file(ref, pixels=bytes([i % 250]) * 300) for i, ref in enumerate(refs))
        keys = tuple(instance_key("main", ref) for ref in refs)
        records = tuple(
            self.put_instance(ref, file, storage_class=storage_class)
            for ref, file in zip(refs, files, strict=True)
        )
        study = PutStudy(study_instance_uid, refs, keys, files, records)
        if manifested:
            self.put_manifest(study)
        return study

    def put_instance(
        self, ref: InstanceRef, file: bytes, *, key: str = "", storage_class: str = "STANDARD"
    ) -> InstanceRecord:
        key = key or instance_key("main", ref)
        version_id = self.put(key, file, StorageClass=storage_class)
        return InstanceRecord(
            series_instance_uid=ref.series_instance_uid,
            sop_instance_uid=ref.sop_instance_uid,
            sop_class_uid=_SOP_CLASS,
            transfer_syntax_uid=_EXPLICIT,
            size_bytes=len(file),
            file_sha256=_sha256(file),
            dataset_sha256=_sha256(data_set_of(file)),
            location=Location(key, version_id),
            storage_class=storage_class,
        )

    def put_manifest(
        self,
        study: PutStudy,
        records: Sequence[InstanceRecord] | None = None,
        *,
        revision: int = 1,
        previous_sha256: str = "",
        **changes: Any,  # noqa: ANN401 - fields of a manifest
    ) -> str:
        """Put a revision; return its SHA-256."""
        made = Manifest(
            archive="main",
            study_instance_uid=study.study_instance_uid,
            revision=revision,
            previous_sha256=previous_sha256,
            source={"name": "main", "aet": "PACS"},
            destination="archive",
            created_at="2026-11-22T09:00:00+00:00",
            completeness="SET",
            instances=tuple(study.records if records is None else records),
        )
        body, sha256 = manifest.encode(replace(made, **changes))
        self.put(study.manifest_key(revision), body)
        return sha256

    # What happens to objects behind the agent's back

    def head(self, key: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.s3.head_object(Bucket=self.bucket.name, Key=PREFIX + key)
        return answer

    def overwrite(self, key: str, body: bytes, **arguments: object) -> None:
        """Put other bytes with the metadata that were there."""
        held = self.head(key)
        told = {"Metadata": held["Metadata"], "StorageClass": held.get("StorageClass", "STANDARD")}
        self.put(key, body, **told | arguments)

    def delete(self, key: str) -> None:
        self.s3.delete_object(Bucket=self.bucket.name, Key=PREFIX + key)

    def move(self, key: str, storage_class: str) -> None:
        self.s3.copy_object(
            Bucket=self.bucket.name, Key=PREFIX + key, StorageClass=storage_class,
            CopySource={"Bucket": self.bucket.name, "Key": PREFIX + key},
        )  # fmt: skip

    # The functions

    def see(self, key: str) -> ObjectVerdict | None:
        return verify_object(self.desk, self.bucket.name, PREFIX + key)

    def request(self, study: PutStudy, why: str = "asked") -> StudyRequest:
        return StudyRequest(
            bucket=self.bucket.name,
            prefix=PREFIX,
            archive="main",
            study_instance_uid=study.study_instance_uid,
            why=why,
            at=self.now().isoformat(),
        )

    def judge(self, study: PutStudy) -> StudyVerdict:
        verdict = verify_study(self.desk, self.request(study))
        assert verdict is not None
        return verdict

    def findings(self, study: PutStudy) -> dict[str, str]:
        """Judge, and return the findings by key."""
        return {each.key: each.finding for each in self.judge(study).findings}

    def item(self, key: str) -> ObjectItem | None:
        group = key.rpartition("/")[0].rpartition("/")[0] + "/"
        return self.table.find(f"{self.bucket.name}/{PREFIX}{group}", key.removeprefix(group))

    def study_item(self, study: PutStudy) -> StudyItem | None:
        group = study.manifest_key().removesuffix("manifest/1.json.gz")
        return self.table.find_study(f"{self.bucket.name}/{PREFIX}{group}")


def to_the_second(time: dt.datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def event_bridge_event(bucket: str, key: str, detail_type: str = "Object Created") -> str:
    """Return an event as EventBridge brings it."""
    return json.dumps({
        "version": "0", "source": "aws.s3", "detail-type": detail_type,
        "time": to_the_second(dt.datetime.now(dt.UTC)),
        "detail": {"bucket": {"name": bucket}, "object": {"key": key, "size": 1}},
    })  # fmt: skip


def base64_of(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
