"""What the catalog hands out: frozen rows, named like the tables they come from."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from cloudmig.model.extra_object import ExtraObject
from cloudmig.model.files import FileGroup, FileTally
from cloudmig.model.instance import ExpectedInstance, Receipt, Slot
from cloudmig.model.quarantine import QuarantineReason
from cloudmig.model.references import InstanceRef, StudyRef
from cloudmig.model.states import CopyState, TransferState
from cloudmig.model.study import UnnamedStudy
from cloudmig.model.transfer import CopyPlan

if TYPE_CHECKING:
    from cloudmig.telemetry import Pseudonyms

__all__ = [
    "BadInstance", "CatalogedStudy", "CopyRow", "CopyToVerify", "Coverage", "Detail",
    "ExpectedSet", "ExtraObjectRow", "FileTallyRow", "LedgerEvent", "MultipartUpload", "OpenWork",
    "PlanCounts", "QuarantineItem", "ReceiptRow", "RestoreCounts", "RestoreRow", "StandingDecision",
    "StatusCounts", "StudyAnswer", "Sweep", "TransferRow", "UnexplainedStudy", "UnnamedStudyRow",
]  # fmt: skip

_TIME = re.compile(r"[0-9]{2,6}(\.[0-9]{1,6})?")
#: Nearly all codes of PS3.3 C.7.3.1.1.1; longer text could be anything.
_MODALITY = re.compile(r"[A-Z]{2,4}")

#: What stands beside an event or a quarantine item: JSON, without patient data beyond UIDs.
Detail = Mapping[str, object]


class ExpectedSet(Protocol):
    """What `record_expected` needs of a listing (`cloudmig.ports.Listing` is one)."""

    @property
    def instances(self) -> tuple[ExpectedInstance, ...]: ...

    @property
    def complete(self) -> bool: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    @property
    def series_found(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Sweep:
    """One pass over a source's studies; unfinished ones are taken up again."""

    sweep_id: int
    source: str
    started_at: dt.datetime
    finished_at: dt.datetime | None = None
    notes: Detail = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the latest sweep of a source asked and was answered."""

    source: str
    sweep: Sweep | None  #: The unfinished one if there is one, else the last finished.
    questions: int
    answered: int  #: Answers over all complete questions, duplicates included.
    splits: int  #: Questions that had to be split.
    failed: int  #: Questions that failed: while any is left, coverage is not whole.
    universal_count: int | None  #: Answers to the universal question, None if it was not asked.
    first_date: dt.date | None  #: Earliest and latest day that a complete question covered.
    last_date: dt.date | None
    last_finished_at: dt.datetime | None
    studies: int  #: Distinct studies of this source in the catalog, unnamed ones included.


@dataclass(frozen=True, slots=True)
class CatalogedStudy:
    """One study of the inventory."""

    study_id: int  #: Position for `studies(after=...)`.
    source: str
    study: StudyRef
    study_date: dt.date | None
    study_date_text: str
    study_time_text: str
    modalities: tuple[str, ...]
    instances_claimed: int | None
    answers: int  #: Distinct answers kept; more than one is a duplicate or a change.
    patients: int  #: Distinct patients named; more than one is for the quality report.
    last_sweep_id: int


@dataclass(frozen=True, slots=True)
class StudyAnswer:
    """One distinct answer about a study. Patient data: never log it."""

    digest: str
    patient_key: str
    answer: Mapping[str, str]
    first_seen_at: dt.datetime


@dataclass(frozen=True, slots=True)
class PlanCounts:
    """What `record_plan` did. `changed` counts those planned or excluded that are new or differ."""

    planned: int = 0
    excluded: int = 0
    changed: int = 0
    under_way: int = 0  #: Moving, stored, verified, quarantined or closed: left alone.
    grown: int = 0  #: Of those planned: done before, and the source counts more instances now.


@dataclass(frozen=True, slots=True)
class StandingDecision:
    """What was decided about a study and where it stands."""

    source: str
    study: StudyRef
    rule: str
    priority: int
    state: TransferState
    copies: tuple[CopyPlan, ...]


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """A receipt of one instance at one destination, while its study is open."""

    destination: str
    instance: InstanceRef
    sop_class_uid: str
    transfer_syntax_uid: str
    slot: Slot
    receipt: Receipt
    unexpected: bool = False
    stored_at: str = ""  #: ISO 8601, UTC: when the receipt was noted first.


@dataclass(frozen=True, slots=True)
class BadInstance:
    """An instance that a verdict found wrong at one destination."""

    sop_instance_uid: str
    finding: str  #: missing | altered | truncated | ...
    key: str
    version_id: str | None = None
    etag: str = ""
    differences: tuple[str, ...] = ()  #: Tags, where elements were compared; in the ledger only.


@dataclass(frozen=True, slots=True)
class CopyRow:
    """One copy as it stands."""

    copy_id: int
    destination: str
    storage_class: str
    state: CopyState
    manifest_key: str | None = None
    manifest_sha256: str | None = None
    manifest_revision: int = 0
    instances: int | None = None
    bytes: int | None = None
    completeness: str = ""  #: SET or WEAK once stored.
    repairs: int = 0
    verdict_how: str | None = None
    verified_at: dt.datetime | None = None
    judged_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class TransferRow:
    """One transfer as it stands, for status and the command line."""

    transfer_id: int
    source: str
    study: StudyRef
    state: TransferState
    rule: str
    priority: int
    study_date: dt.date | None
    attempt: int
    failures: int
    lease_owner: str | None
    reason: str | None
    instances_inventory: int | None
    copies: tuple[CopyRow, ...]


@dataclass(frozen=True, slots=True)
class UnnamedStudyRow:
    """A study that its source lists under no usable Study Instance UID."""

    source: str
    study: UnnamedStudy
    study_date: dt.date | None
    instances_claimed: int | None
    answer: Mapping[str, str]  #: The newest. Patient data: never log it.
    first_seen_at: dt.datetime
    last_listed_at: dt.datetime  #: When the last sweep that found it began.
    rule: str = ""  #: What excludes it, once released.
    released_at: dt.datetime | None = None
    note: str = ""

    @property
    def uid_problem(self) -> str:
        """Say what is wrong with the UID, without the text itself: it could be anything."""
        text = self.answer.get("StudyInstanceUID", "")
        if not text:
            return "empty"
        return "too long" if len(text) > 64 else "no UID"

    @property
    def study_time(self) -> str | None:
        """Return the time of day as answered (PS3.5 6.2, TM), None where it is none."""
        text = self.answer.get("StudyTime", "").strip()
        return text if _TIME.fullmatch(text) else None

    @property
    def modalities(self) -> tuple[str, ...]:
        """Return ModalitiesInStudy as answered, without what is no such code."""
        listed = self.answer.get("ModalitiesInStudy", "").split("\\")
        return tuple(each for each in listed if _MODALITY.fullmatch(each))


@dataclass(frozen=True, slots=True)
class QuarantineItem:
    """What waits, or waited, for a person: a study, one instance of it, or an extra object."""

    item_id: int  #: 0 for an unnamed study or an extra object: they have tables of their own.
    source: str
    study: StudyRef | UnnamedStudy | ExtraObject | FileGroup
    sop_instance_uid: str | None
    reason: QuarantineReason
    detail: Detail
    at: dt.datetime
    released_at: dt.datetime | None = None
    note: str = ""

    @property
    def known_by(self) -> str:
        """What its pseudonym is made of: a UID, the digest of an answer, or where it lies."""
        match self.study:
            case UnnamedStudy():
                return self.study.answer_sha256
            case ExtraObject() | FileGroup():
                return self.study.known_by
        return self.study.study_instance_uid

    def shown_as(self, pseudonyms: Pseudonyms) -> str:
        """Return its pseudonym: `st-...`; `un-...` without UID, `ob-...` object, `fi-...` files."""
        prefixes = {UnnamedStudy: "un", ExtraObject: "ob", FileGroup: "fi"}
        prefix = prefixes.get(type(self.study), "st")
        return pseudonyms.of(self.known_by, prefix)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTallyRow:
    """How many files of a directory source are of one kind."""

    source: str
    tally: FileTally
    at: dt.datetime  #: When an inventory first counted it so.
    released_at: dt.datetime | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class ExtraObjectRow:
    """An object that lies in a bucket and in no manifest."""

    extra: ExtraObject
    source: str  #: Empty where its archive is none of ours.
    study_instance_uid: str  #: From its key; empty where that names no study.
    reason: QuarantineReason
    version_id: str | None
    etag: str
    at: dt.datetime  #: When we heard of it.
    released_at: dt.datetime | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreRow:
    """One restore from an archive class."""

    destination: str
    source: str  #: Empty where its archive is none of ours.
    key: str
    version_id: str  #: Empty where the bucket is not versioned.
    storage_class: str
    tier: str
    promised_s: float
    asked_at: dt.datetime
    completed_at: dt.datetime | None = None
    took_s: float | None = None


@dataclass(frozen=True, slots=True)
class RestoreCounts:
    """Restores from archive classes."""

    asked: int = 0  #: And not yet completed.
    completed: int = 0
    late: int = 0  #: Of those completed: slower than their tier promises.


@dataclass(frozen=True, slots=True)
class OpenWork:
    """What earlier attempts of a claimed transfer already know. Empty on the first."""

    expected: tuple[ExpectedInstance, ...]
    listing_complete: bool | None  #: None where nothing was listed yet.
    notes: tuple[str, ...]
    series_found: int
    receipts: Mapping[str, Mapping[str, ReceiptRow]]  #: destination -> SOP Instance UID -> primary
    beside: Mapping[str, Sequence[ReceiptRow]]  #: destination -> conflicts stored beside the first
    bad: Mapping[str, Sequence[BadInstance]]  #: destination -> what its last verdict named
    copies: Mapping[str, CopyRow]  #: destination -> the copy, with its last manifest revision
    released: Sequence[QuarantineItem]  #: Findings that a person has looked at and let pass.
    waiting: Sequence[QuarantineItem]  #: Findings that wait for a person.


@dataclass(frozen=True, slots=True)
class CopyToVerify:
    """A stored copy and the manifest it must agree with."""

    copy_id: int  #: Position for `copies_to_verify(after=...)`.
    transfer_id: int
    source: str
    study: StudyRef
    destination: str
    storage_class: str
    manifest_key: str
    manifest_sha256: str
    manifest_revision: int


@dataclass(frozen=True, slots=True)
class UnexplainedStudy:
    """A study that keeps a wave from closing, and why."""

    source: str
    study: StudyRef
    why: str  #: undecided | planned | moving | stored | short (fewer verified than listed)
    owed_to: tuple[str, ...] = ()  #: Destinations that were down when its copies were made.

    def __str__(self) -> str:
        owed = f", owed to {', '.join(self.owed_to)}" if self.owed_to else ""
        return f"{self.why}{owed}"


@dataclass(frozen=True, slots=True)
class StatusCounts:
    """Where everything stands, for `cloudmig status`."""

    studies: Mapping[str, int]  #: source -> studies in the inventory, unnamed ones included
    #: source -> state -> studies; unnamed ones are quarantined, or excluded once released.
    transfers: Mapping[str, Mapping[TransferState, int]]
    copies: Mapping[str, Mapping[CopyState, int]]  #: destination -> state -> copies
    instances_held: int  #: In stored and verified copies.
    bytes_held: int
    quarantine: Mapping[QuarantineReason, int]  #: Open items by reason.
    verdicts: Mapping[str, int] = field(default_factory=dict)  #: How copies are verified.
    restores: RestoreCounts = field(default_factory=RestoreCounts)


@dataclass(frozen=True, slots=True)
class LedgerEvent:
    """One line of the audit truth."""

    event_id: int
    at: dt.datetime
    kind: str  #: Past tense: study_planned, study_claimed, copy_stored ...
    source: str
    study_instance_uid: str
    destination: str
    sop_instance_uid: str
    attempt: int
    detail: Detail


@dataclass(frozen=True, slots=True)
class MultipartUpload:
    """An upload that was begun and not yet completed or aborted."""

    destination: str
    key: str
    upload_id: str
    begun_at: dt.datetime
