"""Rebuild transfers, copies and what has tables of its own from the ledger: the whole truth."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cloudmig.catalog.extra_objects import EXPLAINED
from cloudmig.catalog.records import (
    ExtraObjectRow,
    FileTallyRow,
    LedgerEvent,
    RestoreRow,
    TransferRow,
    UnnamedStudyRow,
)
from cloudmig.model.extra_object import ExtraObject
from cloudmig.model.files import Account, FileGroup, FileTally
from cloudmig.model.states import CopyState, TransferState, advance, advance_copy

__all__ = [
    "ReplayedCopy", "ReplayedExtra", "ReplayedFiles", "ReplayedTransfer", "ReplayedUnnamed",
    "StudyKey", "as_replayed", "as_replayed_extra", "as_replayed_files",
    "as_replayed_unnamed", "rebuild", "rebuild_extras", "rebuild_files", "rebuild_restores",
    "rebuild_unnamed",
]  # fmt: skip

#: Source and Study Instance UID.
StudyKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ReplayedCopy:
    """A copy as the ledger tells it."""

    storage_class: str
    state: CopyState = CopyState.PLANNED
    manifest_key: str | None = None
    manifest_sha256: str | None = None
    manifest_revision: int = 0
    instances: int | None = None
    bytes: int | None = None
    completeness: str = ""
    repairs: int = 0
    verdict_how: str | None = None
    judged_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class ReplayedTransfer:
    """A transfer as the ledger tells it."""

    state: TransferState
    rule: str
    priority: int
    attempt: int = 0
    failures: int = 0
    reason: str | None = None
    instances_inventory: int | None = None
    copies: Mapping[str, ReplayedCopy] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReplayedUnnamed:
    """A study without a usable UID as the ledger tells it: quarantined, or excluded by a rule."""

    state: TransferState = TransferState.QUARANTINED
    rule: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class ReplayedExtra:
    """An object in no manifest as the ledger tells it."""

    source: str
    study_instance_uid: str
    reason: str
    version_id: str | None
    etag: str
    waits: bool = True
    note: str = ""


@dataclass(frozen=True, slots=True)
class ReplayedFiles:
    """How many files of a disk are of one kind, as the ledger tells it."""

    tally: FileTally
    released: bool = False
    note: str = ""


def rebuild_extras(events: Iterable[LedgerEvent]) -> dict[ExtraObject, ReplayedExtra]:
    """Return every object in no manifest, from events in the order of the ledger."""
    extras: dict[ExtraObject, ReplayedExtra] = {}
    for event in events:
        detail: Mapping[str, Any] = event.detail
        extra = ExtraObject(event.destination, detail.get("key", ""))
        match event.kind:
            case "extra_object_found":
                extras[extra] = ReplayedExtra(
                    event.source, event.study_instance_uid, detail["reason"],
                    detail["version_id"], detail["etag"],
                )  # fmt: skip
            case "extra_object_released":
                assert extras[extra].waits, "it is settled once"
                extras[extra] = replace(extras[extra], waits=False, note=detail["note"])
            case "extra_object_explained":
                assert extras[extra].waits, "it is settled once"
                extras[extra] = replace(
                    extras[extra], waits=False, note=EXPLAINED, version_id=None, etag=""
                )
    return extras


def as_replayed_extra(row: ExtraObjectRow) -> ReplayedExtra:
    """Return a row of the table in the shape of a replay, to compare the two."""
    return ReplayedExtra(
        row.source, row.study_instance_uid, row.reason.value, row.version_id, row.etag,
        row.released_at is None, row.note,
    )  # fmt: skip


def rebuild_files(events: Iterable[LedgerEvent]) -> dict[FileGroup, ReplayedFiles]:
    """Return every count of files, from events in the order of the ledger."""
    counts: dict[FileGroup, ReplayedFiles] = {}
    for event in events:
        if event.kind not in {"files_counted", "files_released"}:
            continue
        told: dict[str, Any] = dict(event.detail)
        group = FileGroup(event.source, told.pop("account"), told.pop("kind"))
        if event.kind == "files_counted":
            tally = FileTally(Account(group.account), group.kind, **told)
            counts[group] = ReplayedFiles(tally)
        else:
            assert not counts[group].released, "it is settled once"
            counts[group] = replace(counts[group], released=True, note=told["note"])
    return counts


def as_replayed_files(row: FileTallyRow) -> ReplayedFiles:
    """Return a row of the table in the shape of a replay, to compare the two."""
    return ReplayedFiles(row.tally, row.released_at is not None, row.note)


def rebuild_restores(events: Iterable[LedgerEvent]) -> set[RestoreRow]:
    """Return every restore, from events in the order of the ledger."""
    restores: dict[tuple[str, ...], RestoreRow] = {}
    for event in events:
        if event.kind not in {"restore_asked", "restore_completed"}:
            continue
        told: dict[str, Any] = dict(event.detail)
        which = (event.destination, told["key"], told["version_id"], told["asked_at"])
        for name in ("asked_at", "completed_at"):
            told[name] = told[name] and dt.datetime.fromisoformat(told[name])
        restores[which] = RestoreRow(destination=event.destination, source=event.source, **told)
    return set(restores.values())


def rebuild_unnamed(events: Iterable[LedgerEvent]) -> dict[tuple[str, str], ReplayedUnnamed]:
    """Return every unnamed study by source and digest, from events in the order of the ledger."""
    unnamed: dict[tuple[str, str], ReplayedUnnamed] = {}
    for event in events:
        detail: Mapping[str, Any] = event.detail
        if event.kind == "unnamed_study_quarantined":
            key = (event.source, detail["answer_sha256"])
            assert key not in unnamed, "it is raised once"
            unnamed[key] = ReplayedUnnamed()
        elif event.kind == "unnamed_study_released":
            key = (event.source, detail["answer_sha256"])
            state = advance(unnamed[key].state, TransferState.EXCLUDED)
            unnamed[key] = ReplayedUnnamed(state, detail["rule"], detail["note"])
    return unnamed


def as_replayed_unnamed(row: UnnamedStudyRow) -> ReplayedUnnamed:
    """Return a row of the table in the shape of a replay, to compare the two."""
    waits = row.released_at is None
    state = TransferState.QUARANTINED if waits else TransferState.EXCLUDED
    return ReplayedUnnamed(state, row.rule, row.note)


def rebuild(events: Iterable[LedgerEvent]) -> dict[StudyKey, ReplayedTransfer]:
    """Return every transfer with its copies, from events in the order they were appended."""
    transfers: dict[StudyKey, ReplayedTransfer] = {}
    for event in events:
        key = (event.source, event.study_instance_uid)
        if event.kind in _COPY_STEPS:
            transfers[key] = _on_copy(transfers[key], event)
        elif event.kind in _STUDY_STATES:
            transfers[key] = _on_study(transfers.get(key), event)
        elif event.kind in {"copy_planned", "copy_forgone", "copy_given_up"}:
            transfers[key] = _on_plan_of_copy(transfers[key], event)
        elif event.kind == "study_counted":
            counted: Any = event.detail["instances_inventory"]
            transfers[key] = replace(transfers[key], instances_inventory=counted)
    return transfers


def as_replayed(row: TransferRow) -> ReplayedTransfer:
    """Return a row of the tables in the shape of a replay, to compare the two."""
    return ReplayedTransfer(
        state=row.state,
        rule=row.rule,
        priority=row.priority,
        attempt=row.attempt,
        failures=row.failures,
        reason=row.reason,
        instances_inventory=row.instances_inventory,
        copies={
            copy.destination: ReplayedCopy(
                storage_class=copy.storage_class,
                state=copy.state,
                manifest_key=copy.manifest_key,
                manifest_sha256=copy.manifest_sha256,
                manifest_revision=copy.manifest_revision,
                instances=copy.instances,
                bytes=copy.bytes,
                completeness=copy.completeness,
                repairs=copy.repairs,
                verdict_how=copy.verdict_how,
                judged_at=copy.judged_at,
            )
            for copy in row.copies
        },
    )


_STUDY_STATES = {
    "study_planned": TransferState.PLANNED,
    "study_excluded": TransferState.EXCLUDED,
    "study_claimed": TransferState.MOVING,
    "study_put_back": TransferState.PLANNED,
    "study_stored": TransferState.STORED,
    "study_quarantined": TransferState.QUARANTINED,
    "study_released": TransferState.PLANNED,  # or EXCLUDED, says its detail
    "study_reopened": TransferState.PLANNED,
    "study_verified": TransferState.VERIFIED,
    "study_closed": TransferState.CLOSED,
}
_COPY_STEPS = {
    "copy_stored": CopyState.STORED,
    "copy_owed": CopyState.OWED,
    "copy_verified": CopyState.VERIFIED,
    "copy_failed": CopyState.FAILED,
    "copy_reopened": CopyState.PLANNED,
    "copy_unreadable": CopyState.STORED,
}
#: Kinds that change the decision itself; the same state again is no illegal move for them.
_DECISIONS = {"study_planned", "study_excluded"}


def _on_study(before: ReplayedTransfer | None, event: LedgerEvent) -> ReplayedTransfer:
    detail: Mapping[str, Any] = event.detail
    new = _STUDY_STATES[event.kind]
    if event.kind == "study_released" and detail["excluded"]:
        new = TransferState.EXCLUDED
    if before is None:
        assert event.kind in _DECISIONS, "a study begins with a decision"
        before = ReplayedTransfer(new, detail["rule"], detail["priority"])
    elif not (event.kind in _DECISIONS and before.state is new):
        advance(before.state, new)
    after = replace(
        before,
        state=new,
        rule=detail.get("rule", before.rule),
        priority=detail.get("priority", before.priority),
        failures=detail.get("failures", before.failures),
        instances_inventory=detail.get("instances_inventory", before.instances_inventory),
        reason=detail.get("reason"),
    )
    match event.kind:
        case "study_claimed":
            return replace(after, attempt=event.attempt)
        case "study_planned":
            return replace(after, copies=_planned_copies(before, detail["copies"]))
        case "study_released" | "study_reopened":
            copies = {} if new is TransferState.EXCLUDED else _released_copies(before)
            return replace(after, failures=0, copies=copies)
        case "study_excluded":
            return replace(after, copies={})
    return after


def _on_copy(before: ReplayedTransfer, event: LedgerEvent) -> ReplayedTransfer:
    detail: Mapping[str, Any] = event.detail
    copy = before.copies[event.destination]
    copy = replace(copy, state=advance_copy(copy.state, _COPY_STEPS[event.kind]))
    match event.kind:
        case "copy_stored":
            if (copy.manifest_key, copy.manifest_sha256) != (
                detail["manifest_key"], detail["manifest_sha256"],
            ):  # fmt: skip
                copy = replace(copy, judged_at=None)
            copy = replace(
                copy,
                manifest_key=detail["manifest_key"],
                manifest_sha256=detail["manifest_sha256"],
                manifest_revision=detail["manifest_revision"],
                instances=detail["instances"],
                bytes=detail["bytes"],
                completeness=detail["completeness"],
                repairs=detail["repairs"],
                verdict_how=None,
            )
        case "copy_verified":
            copy = replace(copy, verdict_how=detail["how"], repairs=0, judged_at=_judged_at(event))
        case "copy_reopened" | "copy_unreadable":
            copy = replace(copy, verdict_how=None)
        case "copy_failed":
            copy = replace(copy, verdict_how=detail["how"], judged_at=_judged_at(event))
    return replace(before, copies={**before.copies, event.destination: copy})


def _on_plan_of_copy(before: ReplayedTransfer, event: LedgerEvent) -> ReplayedTransfer:
    """A copy of a study that was done is planned, or one is taken out of the plan."""
    copies = dict(before.copies)
    if event.kind == "copy_given_up":
        del copies[event.destination]
        instead: Any = event.detail["instead"]
        copies |= {name: ReplayedCopy(storage_class) for name, storage_class in instead.items()}
        assert copies, "no study is left without a copy"
        return replace(before, copies=copies)
    if event.kind == "copy_forgone":
        assert copies.pop(event.destination).manifest_key is None, "what is made is not forgone"
        return replace(before, copies=copies)
    assert event.destination not in copies, "it is planned once"
    detail: Mapping[str, Any] = event.detail
    copies[event.destination] = ReplayedCopy(detail["storage_class"])
    state = advance(before.state, TransferState.PLANNED)
    return replace(before, state=state, reason=None, copies=copies)


def _judged_at(event: LedgerEvent) -> dt.datetime:
    """Return when the look began. Events of older versions say only when they were told."""
    told = event.detail.get("judged_at")
    return dt.datetime.fromisoformat(told) if isinstance(told, str) else event.at


def _planned_copies(
    before: ReplayedTransfer, planned: Mapping[str, str]
) -> dict[str, ReplayedCopy]:
    """Keep what is planned still. What is stored keeps its class, whatever the rules say now."""
    copies = {}
    for destination, storage_class in planned.items():
        held = before.copies.get(destination, ReplayedCopy(storage_class))
        if held.manifest_key is None:
            held = replace(held, storage_class=storage_class)
        copies[destination] = held
    return copies


def _released_copies(before: ReplayedTransfer) -> dict[str, ReplayedCopy]:
    return {
        destination: copy
        if copy.state is CopyState.OWED
        else replace(copy, state=CopyState.PLANNED, repairs=0, verdict_how=None)
        for destination, copy in before.copies.items()
    }
