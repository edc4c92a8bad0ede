"""Made-up studies for `bench/reconcile.py`: as manifests record and an S3 Inventory lists them.

Some carry one difference (`KINDS`), noted as it is made; others what must not be taken for one
(`DECOYS`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

BUCKET, PREFIX, ARCHIVE = "images", "hospital/", "main"
SNAPSHOT = dt.datetime(2026, 3, 1, 1, tzinfo=dt.UTC)
#: Long before the snapshot, and half an hour before it.
OLD, YOUNG = "2026-02-01T10:00:00.000Z", "2026-03-01T00:30:00.000Z"
SERIES_PER_STUDY = 4

COLUMNS = (
    "Bucket", "Key", "VersionId", "IsLatest", "IsDeleteMarker", "Size", "LastModifiedDate", "ETag",
    "StorageClass", "IsMultipartUploaded", "ReplicationStatus", "EncryptionStatus",
    "ObjectLockRetainUntilDate", "ObjectLockMode", "ObjectLockLegalHoldStatus",
    "ChecksumAlgorithm",
)  # fmt: skip


@dataclass(slots=True)
class Instance:
    """One instance: a record in the manifest and a row in the inventory, equal until changed."""

    series: int
    key: str
    sop: str
    size: int
    file_sha256: str
    dataset_sha256: str
    etag: str
    version: str
    modified: str = OLD
    stored_at: str = OLD
    storage_class: str = "STANDARD_IA"
    listed_class: str = "STANDARD_IA"
    encryption: str = "SSE-KMS"
    lock: str = "COMPLIANCE"
    is_recorded: bool = True  #: By the newest manifest revision.
    was_recorded: bool = True  #: By those before.
    is_listed: bool = True
    is_deleted: bool = False  #: The latest version is a delete marker.
    is_latest: bool = True
    listed_size: int | None = None
    listed_etag: str = ""
    listed_version: str = ""

    def row(self) -> str:
        """Return the line of the inventory."""
        key, version = self.key.replace("~", "%7E"), self.listed_version or self.version
        if self.is_deleted:
            return (
                f'"{BUCKET}","{PREFIX}{key}","{version}","true","true","","{self.modified}","",""'
                ',"","","","","","",""\n'
            )
        size = self.size if self.listed_size is None else self.listed_size
        return (
            f'"{BUCKET}","{PREFIX}{key}","{version}","{str(self.is_latest).lower()}","false",'
            f'"{size}","{self.modified}","{self.listed_etag or self.etag}","{self.listed_class}",'
            f'"false","","{self.encryption}","2031-03-01T00:00:00.000Z","{self.lock}","Off",'
            '"SHA256"\n'
        )

    def record(self, study: str) -> str:
        """Return the JSON of the manifest's record."""
        return (
            f'{{"series_instance_uid":"{study}.{self.series}","sop_instance_uid":"{self.sop}",'
            '"sop_class_uid":"1.2.840.10008.5.1.4.1.1.2",'
            f'"transfer_syntax_uid":"1.2.840.10008.1.2.1","size_bytes":{self.size},'
            f'"file_sha256":"{self.file_sha256}","dataset_sha256":"{self.dataset_sha256}",'
            f'"etag":"\\"{self.etag}\\"","storage_class":"{self.storage_class}","slot":"primary",'
            f'"unexpected":false,"stored_at":"{self.stored_at}","location":{{"key":"{self.key}",'
            f'"version_id":"{self.version}","offset":0,"length":null}}}}'
        )


@dataclass(slots=True)
class Study:
    """One study on its way into the world."""

    uid: str
    prefix: str
    instances: list[Instance]
    expected: list[tuple[str, str]] = field(default_factory=list)  #: finding, key
    revisions: int = 1
    #: Revisions of which there is no row, or a delete marker for a row.
    unlisted: set[int] = field(default_factory=set)
    deleted: set[int] = field(default_factory=set)
    damage: bool = False

    def expect(self, finding: str, instance: Instance) -> None:
        """Note a difference."""
        self.expected.append((finding, instance.key))

    def another(self, name: str) -> Instance:
        """Add an object that no manifest names."""
        first = self.instances[0]
        added = Instance(
            1, f"{self.prefix}{self.uid}.1/{name}", "", 1000, "", "", first.etag[::-1],
            first.version[::-1], is_recorded=False, was_recorded=False,
        )  # fmt: skip
        self.instances.append(added)
        return added


def _missing(study: Study) -> None:
    study.instances[1].is_listed = False
    study.expect("missing", study.instances[1])


def _deleted(study: Study) -> None:
    study.instances[0].is_deleted = True
    study.expect("missing", study.instances[0])


def _truncated(study: Study) -> None:
    study.instances[2].listed_size = 132
    study.expect("truncated", study.instances[2])


def _longer(study: Study) -> None:
    study.instances[2].listed_size = study.instances[2].size + 1
    study.expect("altered", study.instances[2])


def _other_etag(study: Study) -> None:
    study.instances[3].listed_etag = study.instances[3].etag[::-1]
    study.expect("altered", study.instances[3])


def _other_version(study: Study) -> None:
    study.instances[-1].listed_version = study.instances[-1].version[::-1]
    study.expect("altered", study.instances[-1])


def _stranger(study: Study) -> None:
    study.expect("stranger", study.another("9.9.dcm"))


def _wrong_class(study: Study) -> None:
    study.instances[1].listed_class = "DEEP_ARCHIVE"
    study.expect("wrong class", study.instances[1])


def _not_encrypted(study: Study) -> None:
    study.instances[0].encryption = "SSE-S3"
    study.expect("not encrypted", study.instances[0])


def _not_locked(study: Study) -> None:
    study.instances[0].lock = ""
    study.expect("not locked", study.instances[0])


def _gap(study: Study) -> None:
    study.revisions, study.unlisted = 2, {1}
    study.expected.append(("manifest missing", f"{study.prefix}manifest/1.json.gz"))


def _manifest_deleted(study: Study) -> None:
    study.deleted = {1}
    study.expected.append(("manifest missing", f"{study.prefix}manifest/1.json.gz"))


def _manifest_altered(study: Study) -> None:
    study.damage = True
    study.expected.append(("manifest altered", f"{study.prefix}manifest/1.json.gz"))


def _orphan(study: Study) -> None:
    study.unlisted, study.revisions = {1}, 0
    del study.instances[1:]
    study.expect("orphan", study.instances[0])


#: A difference each.
KINDS: Sequence[Callable[[Study], None]] = (
    _missing, _deleted, _truncated, _longer, _other_etag, _other_version, _stranger, _wrong_class,
    _not_encrypted, _not_locked, _gap, _manifest_deleted, _manifest_altered, _orphan,
)  # fmt: skip


def _superseded(study: Study) -> None:
    """An object that only the first of two revisions names."""
    study.revisions = 2
    study.another("8.8.dcm").was_recorded = True


def _repaired(study: Study) -> None:
    """A repair in a bucket without versions: the bad object stays, and is nobody's."""
    bad, good = study.instances[0], study.another("")
    good.key, good.is_recorded = f"{bad.key}~r1", True
    good.sop, good.file_sha256, good.dataset_sha256 = bad.sop, bad.file_sha256, bad.dataset_sha256
    bad.is_recorded = False


def _not_yet_listed(study: Study) -> None:
    study.instances[0].is_listed, study.instances[0].stored_at = False, YOUNG


def _not_yet_named(study: Study) -> None:
    study.another("7.7.dcm").modified = YOUNG


def _just_replaced(study: Study) -> None:
    study.instances[0].listed_etag = study.instances[0].etag[::-1]
    study.instances[0].modified = YOUNG


def _moved_by_lifecycle(study: Study) -> None:
    for each in study.instances:
        each.listed_class = "GLACIER_IR"


def _older_versions(study: Study) -> None:
    for name in ("6.6.dcm", "5.5.dcm"):
        study.another(name).is_latest = False


def _without_manifest_yet(study: Study) -> None:
    study.unlisted, study.revisions = {1}, 0
    for each in study.instances:
        each.modified = "2026-02-28T20:00:00.000Z"


def _overtaken(study: Study) -> None:
    """An object is gone, and the manifest that says so came after the inventory."""
    study.instances[0].is_listed = False
    study.revisions, study.unlisted = 2, {2}


#: What must not be taken for a difference.
DECOYS: Sequence[Callable[[Study], None]] = (
    _superseded, _repaired, _not_yet_listed, _not_yet_named, _just_replaced, _moved_by_lifecycle,
    _older_versions, _without_manifest_yet, _overtaken,
)  # fmt: skip


def make_study(number: int, instances: int) -> Study:
    """Return one study, always the same for one number."""
    uid = f"1.2.826.0.1.3680043.8.498.{number + 10**9}"
    spread = hashlib.sha256(uid.encode()).hexdigest()[:2]
    study = Study(uid, f"v1/{ARCHIVE}/{spread}/{uid}/", [])
    chance = random.Random(number)
    digits = chance.randbytes(96 * instances).hex()
    for at in range(instances):
        own = digits[192 * at : 192 * at + 192]
        series = at % SERIES_PER_STUDY + 1
        sop = f"{uid}.{series}.{at}"
        study.instances.append(
            Instance(
                series,
                f"{study.prefix}{uid}.{series}/{sop}.dcm",
                sop,
                524_288 + int(own[160:164], 16),
                own[:64],
                own[64:128],
                own[128:160],
                own[160:],
            )
        )
    return study


def manifest_text(study: Study, revision: int, previous_sha256: str) -> str:
    """Return the JSON of a manifest revision, as `cloudmig.manifest` writes it."""
    is_newest = revision == study.revisions
    records = ",".join(
        each.record(study.uid)
        for each in study.instances
        if (each.is_recorded if is_newest else each.was_recorded)
    )
    return (
        f'{{"schema":"cloudmig/manifest/1","archive":"{ARCHIVE}",'
        f'"study_instance_uid":"{study.uid}","revision":{revision},'
        f'"previous_sha256":"{previous_sha256}",'
        '"source":{"name":"main","aet":"PACS","retrieve":"c-move"},"destination":"archive",'
        f'"created_at":"{OLD}","completeness":"SET","instances":[{records}],"missing":[]}}'
    )


def manifest_row(study: Study, revision: int, size: int, etag: str) -> str:
    """Return the line of the inventory for a manifest revision."""
    version = f"{revision:032x}"
    key = f"{PREFIX}{study.prefix}manifest/{revision}.json.gz"
    if revision in study.deleted:
        return (
            f'"{BUCKET}","{key}","{version}","true","true","","{OLD}","","","","","","","","",""\n'
        )
    return (
        f'"{BUCKET}","{key}","{version}","true","false","{size}","{OLD}","{etag}","STANDARD",'
        '"false","","SSE-KMS","2031-03-01T00:00:00.000Z","COMPLIANCE","Off","SHA256"\n'
    )
