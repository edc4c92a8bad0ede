"""Compares what an inventory lists of one study with what its manifests say.

The newest manifest revision in the inventory counts; objects that only an earlier revision names
are superseded, not extra. What may be in flight is no finding (`Horizon`): S3 lists what was
written or deleted shortly before an inventory, or does not.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from cloudmig import manifest
from cloudmig.cloud.reconcile_judging import (
    Horizon,
    ReconcileFinding,
    ReconcileRules,
    keeping_faults,
    moment_of,
)
from cloudmig.cloud.reconcile_spill import ObjectRow
from cloudmig.manifest import InstanceRecord, Manifest, ManifestUnreadable
from cloudmig.model.references import StudyRef
from cloudmig.objects import study_prefix

__all__ = ["ManifestRow", "ReadManifest", "StudyOutcome", "compare_study", "newest_manifest"]

_MANIFEST = re.compile(r"manifest/([1-9][0-9]{0,8})\.json\.gz")
_REPAIR = re.compile(r"(.+)~r[1-9][0-9]*")
_MANIFEST_CLASS = "STANDARD"


@dataclass(slots=True)
class StudyOutcome:
    """What came of one study."""

    findings: list[ReconcileFinding] = field(default_factory=list)
    objects: int = 0
    bytes: int = 0
    superseded: int = 0  #: Named by an earlier revision only, or repaired.
    younger: int = 0  #: Differences that the horizon excuses.
    elsewhere: int = 0  #: Records of objects outside the study's prefix: nothing is said of them.
    has_manifest: bool = False


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """A manifest revision as the inventory lists it."""

    revision: int
    row: ObjectRow


#: Returns the bytes of a manifest revision, or None where they cannot be had.
ReadManifest = Callable[[ManifestRow], bytes | None]


def newest_manifest(rows: Iterable[ObjectRow]) -> ManifestRow | None:
    """Return the newest manifest revision that is not deleted."""
    revisions = [each for each in _manifest_rows(rows) if not each.row.is_delete_marker]
    return max(revisions, key=lambda each: each.revision, default=None)


def _manifest_rows(rows: Iterable[ObjectRow]) -> Iterator[ManifestRow]:
    for row in rows:
        # Most rows are images: a cheap test first.
        if row.rest.startswith("manifest/") and (found := _MANIFEST.fullmatch(row.rest)):
            yield ManifestRow(int(found[1]), row)


def compare_study(
    prefix: str,
    rows: list[ObjectRow],
    read: ReadManifest,
    *,
    rules: ReconcileRules,
    snapshot_at: dt.datetime,
) -> StudyOutcome:
    """Compare the rows below a study's prefix with its manifests."""
    return _Comparison(prefix, rows, rules, Horizon.of(snapshot_at, rules), snapshot_at).run(read)


class _Comparison:
    """One study on its way to an outcome."""

    def __init__(
        self,
        prefix: str,
        rows: list[ObjectRow],
        rules: ReconcileRules,
        horizon: Horizon,
        snapshot_at: dt.datetime,
    ) -> None:
        self._prefix = prefix
        _, self._archive, _, self._study_instance_uid, _ = prefix.split("/")
        self._rules = rules
        self._horizon = horizon
        self._snapshot_at = snapshot_at
        self._revisions = {each.revision: each for each in _manifest_rows(rows)}
        names = {each.row.rest for each in self._revisions.values()}
        self._images = {row.rest: row for row in rows if row.rest not in names}
        self._unnamed = dict(self._images)
        held = [row for row in rows if not row.is_delete_marker]
        self.outcome = StudyOutcome(objects=len(held), bytes=sum(row.size_bytes for row in held))

    def run(self, read: ReadManifest) -> StudyOutcome:
        """Return what came of it."""
        held = [each for each in self._revisions.values() if not each.row.is_delete_marker]
        newest = max(held, key=lambda each: each.revision, default=None)
        self.outcome.has_manifest = newest is not None
        self._check_revisions()
        if newest is None:
            if not self._revisions:
                self._judge_orphans()
            return self.outcome
        listed = self._decoded(newest, read)
        if listed is None:
            return self.outcome
        for record in listed.instances:
            self._judge(record)
        extra = [row for row in self._unnamed.values() if not row.is_delete_marker]
        if extra:
            self._judge_extra(extra, listed, read)
        return self.outcome

    def _check_revisions(self) -> None:
        """Miss revisions that are deleted or that no row names, and look at those there are."""
        expected = 1
        for revision, held in sorted(self._revisions.items()):
            if revision > expected:  # One finding for a gap: a stranger's name may make it wide.
                detail = f"revisions {expected} to {revision - 1}"
                self._find("manifest missing", f"manifest/{expected}.json.gz", None, detail=detail)
            expected = revision + 1
            if held.row.is_delete_marker:
                self._find("manifest missing", held.row.rest, held.row, detail="delete marker")
            else:
                self._judge_keeping(held.row, _MANIFEST_CLASS)

    def _decoded(self, listed: ManifestRow, read: ReadManifest) -> Manifest | None:
        body = read(listed)
        if body is None:
            self._find("manifest missing", listed.row.rest, listed.row, detail="not readable")
            return None
        if len(body) != listed.row.size_bytes:
            self._find("manifest altered", listed.row.rest, listed.row, detail="size")
            return None
        try:
            found = manifest.decode(body)
        except ManifestUnreadable:
            self._find("manifest altered", listed.row.rest, listed.row, detail="unreadable")
            return None
        said = (found.archive, found.study_instance_uid, found.revision)
        if said != (self._archive, self._study_instance_uid, listed.revision) or (
            self._prefix != study_prefix(self._archive, StudyRef(self._study_instance_uid))
        ):
            self._find("manifest altered", listed.row.rest, listed.row, detail="of another study")
            return None
        return found

    def _judge(self, record: InstanceRecord) -> None:
        """Compare one record with its row. Runs once for every object of a bucket."""
        place = record.location
        rest = place.key[len(self._prefix) :]
        row = self._images.get(rest)
        if row is None or row.is_delete_marker:
            if place.key.startswith(self._prefix):
                self._miss(record, rest, row)
            else:
                self.outcome.elsewhere += 1
            return
        self._unnamed.pop(rest, None)
        if (
            (row.size != str(record.size_bytes) and place.length is None)
            or (record.etag and row.etag and row.etag != record.etag.strip('"'))
            or (place.version_id and row.version_id and row.version_id != place.version_id)
        ):
            self._judge_change(record, row)
        self._judge_keeping(row, record.storage_class, record)

    def _miss(self, record: InstanceRecord, rest: str, row: ObjectRow | None) -> None:
        then = row.modified_at if row else record.stored_at
        if moment_of(then) > self._horizon.settled:
            self.outcome.younger += 1
            return
        self._find("missing", rest, row, record, "delete marker" if row else "")

    def _judge_change(self, record: InstanceRecord, row: ObjectRow) -> None:
        if moment_of(row.modified_at) > self._horizon.settled:
            self.outcome.younger += 1
            return
        size = 0 if record.location.length is not None else row.size_bytes - record.size_bytes
        etag = record.etag.strip('"')
        detail = "size" if size else "etag" if etag and etag != row.etag else "version"
        self._find("truncated" if size < 0 else "altered", row.rest, row, record, detail)

    def _judge_keeping(
        self, row: ObjectRow, storage_class: str, record: InstanceRecord | None = None
    ) -> None:
        for finding, detail in keeping_faults(row, storage_class, self._rules, self._snapshot_at):
            self._find(finding, row.rest, row, record, detail)

    def _judge_extra(self, extra: list[ObjectRow], newest: Manifest, read: ReadManifest) -> None:
        named = self._names_of_earlier(newest, read)
        repairs = (_REPAIR.fullmatch(each.location.key) for each in newest.instances)
        bases = {found[1] for found in repairs if found}
        created_at = moment_of(newest.created_at)
        for row in extra:
            repair = _REPAIR.fullmatch(self._prefix + row.rest)
            first = repair[1] if repair else self._prefix + row.rest
            if row.rest in named or first in bases:
                self.outcome.superseded += 1
                continue
            modified_at = moment_of(row.modified_at)
            # What came after the manifest may belong to a revision that is being made.
            limit = self._horizon.settled
            if modified_at > created_at:
                limit = min(limit, self._horizon.orphaned)
            if modified_at > limit:
                self.outcome.younger += 1
            else:
                self._find("stranger", row.rest, row)

    def _names_of_earlier(self, newest: Manifest, read: ReadManifest) -> set[str]:
        """Return what earlier revisions name. Read only where something is extra: that is rare."""
        names: set[str] = set()
        expected = newest.previous_sha256
        for revision in range(newest.revision - 1, 0, -1):
            held = self._revisions.get(revision)
            if held is None or held.row.is_delete_marker:
                break  # It is named as missing; further back the chain proves nothing.
            body = read(held)
            if body is None or hashlib.sha256(body).hexdigest() != expected:
                self._find("manifest altered", held.row.rest, held.row, detail="chain")
                break
            earlier = manifest.decode(body)
            expected = earlier.previous_sha256
            names |= {each.location.key[len(self._prefix) :] for each in earlier.instances}
        return names

    def _judge_orphans(self) -> None:
        for row in self._images.values():
            if row.is_delete_marker:
                continue
            if moment_of(row.modified_at) > self._horizon.orphaned:
                self.outcome.younger += 1
            else:
                self._find("orphan", row.rest, row)

    def _find(
        self,
        finding: str,
        rest: str,
        row: ObjectRow | None,
        record: InstanceRecord | None = None,
        detail: str = "",
    ) -> None:
        self.outcome.findings.append(
            ReconcileFinding(
                finding=finding,
                key=self._prefix + rest,
                study_instance_uid=self._study_instance_uid,
                sop_instance_uid=record.sop_instance_uid if record else "",
                version_id=(row.version_id or None) if row else None,
                etag=row.etag if row else "",
                detail=detail,
            )
        )
