"""What counts as a difference, how it is written down, and which moments excuse one.

What may be in flight is no finding: S3 lists what was written or deleted shortly before an
inventory, or does not.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import ClassVar

from cloudmig.cloud.reconcile_spill import ObjectRow

__all__ = [
    "Horizon", "ReconcileFinding", "ReconcileRules", "judge_loose", "keeping_faults", "moment_of",
]  # fmt: skip

_KMS = frozenset({"SSE-KMS", "DSSE-KMS"})
_QUARANTINED = re.compile(r"v1/[a-z0-9][a-z0-9-]{0,62}/quarantine/[0-9a-f]{64}\.dcm(~r[0-9]+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileRules:
    """What counts as a difference."""

    later_classes: tuple[str, ...] = ()  #: Classes that lifecycle may have moved objects to.
    kms: bool = False  #: Encrypted by a KMS key, not only encrypted.
    lock_mode: str = ""  #: GOVERNANCE or COMPLIANCE: the least that every object must have.
    settle_s: float = 3600.0  #: What happened so shortly before the snapshot may not be listed.
    orphan_after_s: float = 86400.0  #: How long objects may wait for their manifest.


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileFinding:
    """One difference, as a line of a findings file."""

    SCHEMA: ClassVar[str] = "cloudmig/reconcile-finding/1"

    finding: str  #: The names of `messages.ObjectFinding`.
    key: str  #: Relative to the destination's prefix.
    study_instance_uid: str = ""
    sop_instance_uid: str = ""
    version_id: str | None = None
    etag: str = ""
    detail: str = ""  #: What differs: size, etag, version, delete marker, the class found ...

    def document(self) -> dict[str, object]:
        """Return the JSON shape."""
        return {"schema": self.SCHEMA} | asdict(self)


@dataclass(frozen=True, slots=True)
class Horizon:
    """Which moments are too close to the snapshot to say anything."""

    settled: dt.datetime
    orphaned: dt.datetime

    @classmethod
    def of(cls, snapshot_at: dt.datetime, rules: ReconcileRules) -> Horizon:
        """Return the two moments before a snapshot that the rules set."""
        return cls(
            snapshot_at - dt.timedelta(seconds=rules.settle_s),
            snapshot_at - dt.timedelta(seconds=rules.orphan_after_s),
        )


def keeping_faults(
    row: ObjectRow, storage_class: str, rules: ReconcileRules, snapshot_at: dt.datetime
) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with how an object is kept: class, encryption, lock.

    A column that the inventory does not have is empty, and says nothing.
    """
    found = row.storage_class
    if found and storage_class and found != storage_class and found not in rules.later_classes:
        yield "wrong class", found
    crypt = row.encryption
    if crypt and (crypt == "NOT-SSE" or (rules.kms and crypt not in _KMS)):
        yield "not encrypted", crypt
    if rules.lock_mode and not _locked(row, rules.lock_mode, snapshot_at):
        yield "not locked", row.lock_mode


def _locked(row: ObjectRow, mode: str, snapshot_at: dt.datetime) -> bool:
    strong = row.lock_mode in {mode, "COMPLIANCE"}
    return strong and bool(row.retain_until) and moment_of(row.retain_until) > snapshot_at


def judge_loose(
    rows: Iterable[ObjectRow], rules: ReconcileRules, snapshot_at: dt.datetime
) -> Iterator[tuple[ObjectRow, list[ReconcileFinding]]]:
    """Yield rows that belong to no study with their findings: quarantine, or nobody's."""
    horizon = Horizon.of(snapshot_at, rules)
    for row in rows:
        if row.is_delete_marker:
            continue
        if _QUARANTINED.fullmatch(row.rest):
            faults = list(keeping_faults(row, "", rules, snapshot_at))
        elif moment_of(row.modified_at) > horizon.settled:
            faults = []
        else:
            faults = [("stranger", "")]
        yield row, [
            ReconcileFinding(
                finding=finding, key=row.rest, version_id=row.version_id or None, etag=row.etag,
                detail=detail,
            )
            for finding, detail in faults
        ]  # fmt: skip


def moment_of(text: str) -> dt.datetime:
    """Return an instant; what has none is as old as can be, and excuses nothing."""
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        return dt.datetime.min.replace(tzinfo=dt.UTC)
    return found if found.tzinfo else found.replace(tzinfo=dt.UTC)
