"""Compares what lies under a study's prefix with what its manifests say: pure rules.

a record, and under its key      nothing                         missing
                                 another record's data set       swapped
                                 fewer bytes                     truncated
                                 other bytes                     altered
                                 bytes nobody can decide about   undecided, which is no finding
                                 its bytes, badly kept           wrong class, not encrypted ...
no record, and under a key       an earlier revision named it    superseded: its time is over
                                 it looks like the agent's       pending: for a later revision,
                                                                 or an orphan after a day
                                 it does not                     stranger
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cloudmig.cloud.looking import UNDECIDED
from cloudmig.cloud.verdict_table import ObjectItem
from cloudmig.manifest import InstanceRecord, Manifest
from cloudmig.messages import ObjectFinding

__all__ = ["Comparison", "compare", "is_mere_claim"]

#: What a look says of an object stands although its bytes are those of its record: the agent may
#: have written the wrong ones. What its metadata say does not matter then.
_STANDING = frozenset({"not DICOM", "wrong key", "not encrypted", "not locked"})


@dataclass(frozen=True, slots=True)
class Comparison:
    """What became of every object of a study."""

    findings: tuple[ObjectFinding, ...]
    #: Items that are done with and not yet kept so: named by a manifest, or by a finding.
    settled: tuple[ObjectItem, ...]
    undecided: int


def compare(
    listed: Manifest,
    superseded: frozenset[str],
    seen: Mapping[str, ObjectItem],
    later_classes: frozenset[str],
) -> Comparison:
    """Compare a manifest with the items of all objects of its study, by their keys.

    Every record has an item, be it one that says "missing".
    """
    # A checksum tells the file's digest only, and another writer's group 0002 makes another file.
    others = {record.dataset_sha256: record for record in listed.instances}
    others |= {record.file_sha256: record for record in listed.instances}
    findings: list[ObjectFinding] = []
    settled: list[ObjectItem] = []
    undecided = 0
    records: dict[str, InstanceRecord] = {}
    for record in listed.instances:
        key = record.location.key
        records[key] = record
        item = seen[key]
        finding = _of_member(record, item, others, later_classes)
        undecided += _is_undecided(record, item) and not finding
        settled += _unless_settled(item, finding)
        if finding:
            findings.append(_named(finding, key, item, record.sop_instance_uid))
    for key in sorted(seen.keys() - records.keys()):
        item = seen[key]
        if key in superseded:
            settled += _unless_settled(item, "")
        elif item.finding and item.own_finding != "missing":
            settled += _unless_settled(item, item.finding)
            findings.append(_named(item.finding, key, item, ""))
    return Comparison(tuple(findings), tuple(settled), undecided)


def is_mere_claim(record: InstanceRecord, item: ObjectItem) -> bool:
    """Say whether an item's digest is what the object's own metadata claim, and no more.

    The parts' digests were compared with metadata. It is the very upload of the record if the ETag
    is; whoever forges an upload can forge its metadata, not the ETag.
    """
    return item.by_parts and item.etag.strip('"') != record.etag.strip('"')


def _is_undecided(record: InstanceRecord, item: ObjectItem) -> bool:
    return item.how == UNDECIDED or is_mere_claim(record, item)


def _of_member(
    record: InstanceRecord,
    item: ObjectItem,
    others: Mapping[str, InstanceRecord],
    later_classes: frozenset[str],
) -> str:
    if item.own_finding == "missing":
        return "missing"
    if finding := _of_content(record, item, others):
        return finding
    if item.storage_class not in {record.storage_class or item.storage_class, *later_classes}:
        return "wrong class"
    return item.own_finding if item.own_finding in _STANDING else ""


def _of_content(
    record: InstanceRecord, item: ObjectItem, others: Mapping[str, InstanceRecord]
) -> str:
    differs = "truncated" if item.size_bytes < record.size_bytes else "altered"
    if _is_undecided(record, item):
        if item.own_finding == "stranger":
            return "altered"  # The agent did not put what lies there, and nobody can read it.
        # Its bytes may be anything; not so its size.
        return differs if item.size_bytes != record.size_bytes else ""
    if _has_bytes_of(record, item):
        return ""
    other = others.get(item.dataset_sha256) or others.get(item.file_sha256)
    if other is not None and other.sop_instance_uid != record.sop_instance_uid:
        return "swapped"
    return differs


def _has_bytes_of(record: InstanceRecord, item: ObjectItem) -> bool:
    """Compare digests. Equal files have equal data sets, where only the file's is known."""
    return item.file_sha256 == record.file_sha256 and item.dataset_sha256 in {
        "", record.dataset_sha256,
    }  # fmt: skip


def _unless_settled(item: ObjectItem, finding: str) -> list[ObjectItem]:
    if item.finding == finding and not item.unsettled:
        return []
    return [replace(item, finding=finding)]


def _named(finding: str, key: str, item: ObjectItem, sop_instance_uid: str) -> ObjectFinding:
    return ObjectFinding(
        finding=finding,
        key=key,
        sop_instance_uid=sop_instance_uid,
        version_id=item.version_id or None,
        etag=item.etag,
    )
