"""Reconciles one partition: its rows, study by study, against manifests fetched ahead."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, fields

from cloudmig.cloud.reconcile_judging import ReconcileFinding, judge_loose
from cloudmig.cloud.reconcile_plan import ReconcilePlan
from cloudmig.cloud.reconcile_shelf import Address, Shelf
from cloudmig.cloud.reconcile_spill import LOOSE, ObjectRow, read_partition
from cloudmig.cloud.reconcile_study import ManifestRow, compare_study, newest_manifest

__all__ = ["PartitionResult", "reconcile_partition"]


@dataclass(slots=True)
class PartitionResult:
    """What came of one partition."""

    studies: int = 0  #: With a manifest.
    studies_without: int = 0
    objects: int = 0
    bytes: int = 0
    quarantined: int = 0  #: Objects below `quarantine/`: no manifest names them, by design.
    superseded: int = 0
    younger: int = 0
    elsewhere: int = 0
    overtaken: int = 0  #: Findings of studies that have a newer manifest than the inventory lists.
    differing_studies: int = 0
    not_asked: int = 0  #: Differing studies beyond the number a run may ask for.
    found: list[ReconcileFinding] = field(default_factory=list)
    #: Archive and Study Instance UID of what shall be looked at again.
    asked_again: list[tuple[str, str]] = field(default_factory=list)

    @property
    def findings(self) -> Counter[str]:
        """Return how often each finding was made."""
        return Counter(each.finding for each in self.found)

    def document(self) -> dict[str, object]:
        """Return the JSON shape: counts only."""
        numbers = {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if each.name not in {"found", "asked_again"}
        }
        return numbers | {
            "findings": dict(self.findings),
            "found": len(self.found),
            "asked_again": len(self.asked_again),
        }


@dataclass(frozen=True, slots=True)
class _Due:
    """A study whose manifest is under way."""

    prefix: str
    lines: list[str]
    newest: ManifestRow | None
    body: Future[bytes | None] | bytes | None


def reconcile_partition(
    plan: ReconcilePlan, number: int, shelf: Shelf, *, fetches: int
) -> PartitionResult:
    """Return what came of one partition. `fetches` manifests are asked for at once; 0: in turn."""
    spills = [plan.spill(unit) for unit in range(len(plan.files))]
    studies = read_partition(shelf, spills, number)
    result = PartitionResult()
    loose = (ObjectRow.of(line) for line in studies.pop(LOOSE, ()))
    for row, findings in judge_loose(loose, plan.rules, plan.snapshot_at):
        result.objects += 1
        result.bytes += row.size_bytes
        result.quarantined += "/quarantine/" in row.rest
        result.found += findings
    for due in _fetched(plan, studies, shelf, fetches):
        _reconcile_study(plan, due, shelf, result)
    asked_max = max(1, plan.requests_max // plan.partitions)
    result.not_asked = max(0, len(result.asked_again) - asked_max)
    del result.asked_again[asked_max:]
    return result


def _fetched(
    plan: ReconcilePlan, studies: dict[str, list[str]], shelf: Shelf, fetches: int
) -> Iterator[_Due]:
    """Yield every study with its newest manifest, fetched a few studies ahead.

    Studies leave the mapping as they come: a partition's rows are most of what memory holds.
    """
    if not fetches:
        while studies:
            prefix, lines = studies.popitem()
            newest = _newest(lines)
            held = _read(plan, shelf, prefix, newest) if newest else None
            yield _Due(prefix, lines, newest, held)
        return
    waiting: deque[_Due] = deque()
    with ThreadPoolExecutor(fetches) as pool:
        while studies or waiting:
            while studies and len(waiting) < 2 * fetches:
                prefix, lines = studies.popitem()
                newest = _newest(lines)
                body = pool.submit(_read, plan, shelf, prefix, newest) if newest else None
                waiting.append(_Due(prefix, lines, newest, body))
            yield waiting.popleft()


def _newest(lines: list[str]) -> ManifestRow | None:
    return newest_manifest(ObjectRow.of(line) for line in lines if line.startswith("manifest/"))


def _read(plan: ReconcilePlan, shelf: Shelf, prefix: str, wanted: ManifestRow) -> bytes | None:
    address = Address(plan.bucket, f"{plan.prefix}{prefix}{wanted.row.rest}")
    return shelf.get(address, wanted.row.version_id)


def _reconcile_study(plan: ReconcilePlan, due: _Due, shelf: Shelf, result: PartitionResult) -> None:
    body = due.body.result() if isinstance(due.body, Future) else due.body

    def read(wanted: ManifestRow) -> bytes | None:
        return body if wanted == due.newest else _read(plan, shelf, due.prefix, wanted)

    rows = [ObjectRow.of(line) for line in due.lines]
    outcome = compare_study(due.prefix, rows, read, rules=plan.rules, snapshot_at=plan.snapshot_at)
    result.studies += outcome.has_manifest
    result.studies_without += not outcome.has_manifest
    result.objects += outcome.objects
    result.bytes += outcome.bytes
    result.superseded += outcome.superseded
    result.younger += outcome.younger
    result.elsewhere += outcome.elsewhere
    if not outcome.findings:
        return
    if _is_overtaken(plan, due, shelf):
        result.overtaken += len(outcome.findings)
        return
    result.found += outcome.findings
    result.differing_studies += 1
    _, archive, _, study_instance_uid, _ = due.prefix.split("/")
    result.asked_again.append((archive, study_instance_uid))


def _is_overtaken(plan: ReconcilePlan, due: _Due, shelf: Shelf) -> bool:
    """Say whether a manifest came after the inventory: then the study was judged by that one.

    Asked for differing studies only, of the store as it is now.
    """
    revision = due.newest.revision + 1 if due.newest else 1
    listed = {line.partition("\t")[0] for line in due.lines}
    rest = f"manifest/{revision}.json.gz"
    if rest in listed:
        return False  # Listed as deleted.
    return shelf.get(Address(plan.bucket, f"{plan.prefix}{due.prefix}{rest}")) is not None
