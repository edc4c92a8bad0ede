"""Hearing calls: what the functions of the cloud side said, and what that changes here.

A message may come twice, late, out of order, or while its study is being written. Each call is one
transaction and may be repeated; the message is let go of only after it. A later look outweighs an
earlier one, and a word about a manifest revision that is no more changes nothing.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import sqlalchemy as sa

from cloudmig import messages
from cloudmig.catalog import schema
from cloudmig.catalog.extra_objects import FoundExtra
from cloudmig.catalog.quarantining import is_same
from cloudmig.catalog.records import BadInstance, Detail
from cloudmig.catalog.schema import AnyRow
from cloudmig.catalog.verifying import Judgement, VerificationCalls
from cloudmig.messages import ObjectFinding, ObjectVerdict, StudyVerdict
from cloudmig.model.extra_object import ExtraObject
from cloudmig.model.quarantine import QuarantineReason
from cloudmig.model.references import StudyRef
from cloudmig.model.states import CopyState, TransferState

__all__ = ["EXTRAS", "CloudVerdictCalls", "Heard", "HeardLate", "Word"]

#: Findings about objects that no manifest names.
EXTRAS: Mapping[str, QuarantineReason] = {
    "stranger": QuarantineReason.STRANGER,
    "orphan": QuarantineReason.ORPHAN,
}
_ALTERED = "manifest altered"
#: `cloudmig doctor` tries a store out there. It may not be allowed to delete what it put.
_OF_DOCTOR = re.compile(r"v1/[a-z0-9-]+/doctor/[^/]+")
#: How a look went that could decide nothing: archived, and the store has no checksum.
_UNDECIDED = "UNDECIDED"


class Word(Enum):
    """What a verdict came to."""

    AGREED = "agreed"  #: The copy is VERIFIED by it.
    DIFFERS = "differs"  #: Findings are recorded; the copy is to be repaired, or with a person.
    NOTED = "noted"  #: A single object: in the ledger, or in quarantine as one too many.
    EXPLAINED = "explained"  #: In no manifest, and ours: its study is still open, say.
    WAITS = "waits"  #: The copy is just being written: heard again when it is settled.
    UNDECIDED = "undecided"  #: Nothing is known to spoil the copy, and not all of it is known.
    SUPERSEDED = "superseded"  #: About a manifest that is no more, or a copy under repair.
    OLDER = "older"  #: A later look was heard before, or the same one.
    UNKNOWN = "unknown"  #: About a study or a copy that this catalog does not have.


@dataclass(frozen=True, slots=True)
class Heard:
    """What became of one message."""

    word: Word
    findings: tuple[BadInstance, ...] = ()  #: What spoils the copy.
    extras: tuple[FoundExtra, ...] = ()  #: What was raised as one too many.
    state: TransferState | None = None  #: Where the study stands now.


@dataclass(frozen=True, slots=True)
class HeardLate:
    """What became of a verdict that waited for its study."""

    source: str
    study: StudyRef
    destination: str
    heard: Heard


class CloudVerdictCalls(VerificationCalls):
    """What the cloud said."""

    def hear_study_verdict(
        self,
        destination: str,
        source: str,
        verdict: StudyVerdict,
        *,
        at: dt.datetime,
        detail: Detail | None = None,
    ) -> Heard:
        """Apply a verdict to the copy it is about, if it is still about it."""
        with self._writing() as connection:
            study = StudyRef(verdict.study_instance_uid)
            transfer = self._lock_study(connection, source, study)
            if transfer is None:
                return Heard(Word.UNKNOWN)
            table = schema.copy.c
            held = connection.execute(
                sa.select(schema.copy).where(
                    table.transfer_id == transfer.transfer_id, table.destination == destination
                )
            ).one_or_none()
            if held is None:
                return Heard(Word.UNKNOWN)
            return self._hear(connection, transfer, held, verdict, at, detail or {})

    def hear_waiting(self, at: dt.datetime) -> list[HeardLate]:
        """Apply the verdicts whose study was being written when they came, and is settled now."""
        waiting, copy, transfer = schema.waiting_verdict, schema.copy, schema.transfer
        is_settled = sa.and_(
            copy.c.manifest_revision == waiting.c.manifest_revision,
            copy.c.state.not_in([CopyState.PLANNED.value, CopyState.OWED.value]),
            transfer.c.state != TransferState.MOVING.value,
        )
        ready = (
            sa.select(waiting, transfer.c.source, transfer.c.study_instance_uid)
            .join(copy, copy.c.copy_id == waiting.c.copy_id)
            .join(transfer, transfer.c.transfer_id == copy.c.transfer_id)
            .where(sa.or_(copy.c.manifest_revision > waiting.c.manifest_revision, is_settled))
            .order_by(waiting.c.copy_id)
        )
        with self._reading() as connection:
            rows = connection.execute(ready).all()
        return [self._hear_late(row, at) for row in rows]

    def hear_object_verdict(
        self, destination: str, source: str, verdict: ObjectVerdict, *, at: dt.datetime
    ) -> Heard:
        """Note what is wrong with one object. Only what no manifest names waits for a person."""
        assert verdict.finding, "a good object has nothing to be noted"
        with self._writing() as connection:
            if verdict.finding in EXTRAS:
                found = _extra_of(destination, source, verdict)
                if self._is_explained(connection, source, found):
                    return Heard(Word.EXPLAINED)
                is_news = self._note_extra(connection, found, at)
                return Heard(Word.NOTED, extras=(found,)) if is_news else Heard(Word.OLDER)
            study = verdict.study_instance_uid
            if not source or (study and not self._knows(connection, source, study)):
                return Heard(Word.UNKNOWN)
            return self._note_object(connection, destination, source, verdict, at)

    def _hear_late(self, row: AnyRow, at: dt.datetime) -> HeardLate:
        study, waiting = StudyRef(row.study_instance_uid), schema.waiting_verdict
        verdict = messages.decode(row.message)
        assert isinstance(verdict, StudyVerdict), "nothing else waits"
        with self._writing() as connection:
            transfer = self._lock_study(connection, row.source, study)
            held = connection.execute(
                sa.select(schema.copy).where(schema.copy.c.copy_id == row.copy_id)
            ).one_or_none()
            taken = connection.execute(
                sa.delete(waiting).where(
                    waiting.c.copy_id == row.copy_id, waiting.c.judged_at == row.judged_at
                )
            )
            if transfer is None or held is None or not taken.rowcount:
                return HeardLate(row.source, study, "", Heard(Word.UNKNOWN))
            heard = self._hear(connection, transfer, held, verdict, at, {})
        return HeardLate(row.source, study, held.destination, heard)

    def _hear(
        self,
        connection: sa.Connection,
        transfer: AnyRow,
        held: AnyRow,
        verdict: StudyVerdict,
        at: dt.datetime,
        detail: Detail,
    ) -> Heard:
        judged_at = _moment(verdict.at)
        findings, extras = _sorted_out(held, transfer, verdict, judged_at)
        standing = _standing(held, verdict, judged_at)
        # A worker that has begun would take what is found now for repaired.
        is_moving = transfer.state == TransferState.MOVING.value
        if standing is Word.WAITS or (standing is None and findings and is_moving):
            return self._let_wait(connection, held, verdict, judged_at)
        if standing is not None:
            return Heard(standing)
        raised = tuple(one for one in extras if self._note_extra(connection, one, at))
        is_whole = verdict.differing == len(verdict.findings)
        if is_whole:
            self._explain_extras(
                connection, held.destination, transfer.source, transfer.study_instance_uid,
                but={one.extra.key for one in extras}, judged_at=judged_at, at=at,
            )  # fmt: skip
        if not findings and held.state == CopyState.FAILED.value:
            return Heard(Word.SUPERSEDED, extras=raised)  # Its repair is planned already.
        is_clean = verdict.agreed or bool(extras)
        if not findings and not (is_whole and is_clean and verdict.how != _UNDECIDED):
            return Heard(Word.UNDECIDED, extras=raised)
        said = Judgement("CLOUD", findings, at, judged_at, {"looked": verdict.how, **detail})
        stands = self._judge(connection, transfer, held, said)
        word = Word.DIFFERS if findings else Word.AGREED
        return Heard(word, findings, raised, stands)

    def _let_wait(
        self,
        connection: sa.Connection,
        held: AnyRow,
        verdict: StudyVerdict,
        judged_at: dt.datetime,
    ) -> Heard:
        """Keep the newest word about a copy that is not settled."""
        table = schema.waiting_verdict
        values = {
            "copy_id": held.copy_id,
            "manifest_revision": verdict.manifest_revision,
            "judged_at": judged_at,
            "message": messages.encode(verdict),
        }
        connection.execute(
            self._insert(connection, table)
            .values(values)
            .on_conflict_do_update(
                index_elements=["copy_id"],
                set_=values,
                where=sa.or_(
                    table.c.manifest_revision < verdict.manifest_revision,
                    sa.and_(
                        table.c.manifest_revision == verdict.manifest_revision,
                        table.c.judged_at < judged_at,
                    ),
                ),
            )
        )
        return Heard(Word.WAITS)

    def _note_object(
        self,
        connection: sa.Connection,
        destination: str,
        source: str,
        verdict: ObjectVerdict,
        at: dt.datetime,
    ) -> Heard:
        """Write down what was found, once. The verdict on its study decides what is done."""
        detail: Detail = {
            "finding": verdict.finding, "key": verdict.key, "version_id": verdict.version_id,
            "etag": verdict.etag, "looked": verdict.how, "judged_at": verdict.at,
        }  # fmt: skip
        table = schema.ledger_event.c
        told = connection.execute(
            sa.select(table.detail).where(
                table.study_instance_uid == verdict.study_instance_uid,
                table.kind == "object_found_bad",
                table.source == source,
                table.destination == destination,
                table.sop_instance_uid == verdict.sop_instance_uid,
            )
        ).scalars()
        if any(is_same(each, detail) for each in told):
            return Heard(Word.OLDER)
        self._append(
            connection,
            "object_found_bad",
            at=at,
            source=source,
            study_instance_uid=verdict.study_instance_uid,
            destination=destination,
            sop_instance_uid=verdict.sop_instance_uid,
            detail=detail,
        )
        bad = BadInstance(
            verdict.sop_instance_uid, verdict.finding, verdict.key, verdict.version_id, verdict.etag
        )
        return Heard(Word.NOTED, (bad,))

    def _knows(self, connection: sa.Connection, source: str, study_instance_uid: str) -> bool:
        table = schema.transfer.c
        return (
            connection.execute(
                sa.select(table.transfer_id).where(
                    table.source == source, table.study_instance_uid == study_instance_uid
                )
            ).first()
            is not None
        )

    def _is_explained(self, connection: sa.Connection, source: str, found: FoundExtra) -> bool:
        """Say whether it is ours: of an open study, kept for a person, or left by the doctor."""
        if _OF_DOCTOR.fullmatch(found.extra.key):
            return True
        receipt, transfer = schema.open_receipt.c, schema.transfer.c
        of_open_study = (
            sa.select(receipt.key)
            .join(schema.transfer, transfer.transfer_id == receipt.transfer_id)
            .where(
                transfer.source == source,
                transfer.study_instance_uid == found.study_instance_uid,
                receipt.destination == found.extra.destination,
                receipt.key == found.extra.key,
            )
        )
        if connection.execute(of_open_study).first() is not None:
            return True
        if "/quarantine/" not in found.extra.key:
            return False
        digest = found.extra.key.rsplit("/", 1)[-1].removesuffix(".dcm")
        item = schema.quarantine_item.c
        kept = connection.execute(sa.select(item.detail).where(item.source == source)).scalars()
        return any(each.get("file_sha256") == digest for each in kept)


def _standing(held: AnyRow, verdict: StudyVerdict, judged_at: dt.datetime) -> Word | None:
    """Say why a verdict cannot be applied to a copy as it stands, or None when it can."""
    if verdict.manifest_revision < held.manifest_revision:
        return Word.SUPERSEDED
    is_open = CopyState(held.state) in {CopyState.PLANNED, CopyState.OWED}
    if is_open or verdict.manifest_revision > held.manifest_revision:
        return Word.WAITS
    if held.judged_at is not None and judged_at <= held.judged_at:
        return Word.OLDER
    return None


def _sorted_out(
    held: AnyRow, transfer: AnyRow, verdict: StudyVerdict, judged_at: dt.datetime
) -> tuple[tuple[BadInstance, ...], tuple[FoundExtra, ...]]:
    """Tell what spoils the copy from what is one too many beside it."""
    reasons = {one.key: _spares_the_copy(one, held) for one in verdict.findings}
    findings = [_bad(one) for one in verdict.findings if reasons[one.key] is None]
    is_ours = verdict.manifest_sha256 == held.manifest_sha256
    if not is_ours and all(one.sop_instance_uid for one in findings):
        # Whatever it agrees with is not what we wrote.
        findings.insert(0, BadInstance("", _ALTERED, held.manifest_key))
    extras = [
        FoundExtra(
            extra=ExtraObject(held.destination, one.key),
            source=transfer.source,
            study_instance_uid=transfer.study_instance_uid,
            reason=reason,
            version_id=one.version_id,
            etag=one.etag,
            judged_at=judged_at,
        )
        for one in verdict.findings
        if (reason := reasons[one.key]) is not None
    ]
    return tuple(findings), tuple(extras)


def _spares_the_copy(one: ObjectFinding, held: AnyRow) -> QuarantineReason | None:
    """Return why a finding is a person's business and not the copy's, None when it spoils that."""
    if one.finding in EXTRAS:
        return EXTRAS[one.finding]
    if one.sop_instance_uid:
        return None
    if not one.finding.startswith("manifest"):
        return QuarantineReason.STRANGER  # No manifest names it, whatever is wrong with it.
    # What the newest manifest says is proven by itself; no repair brings an older one back.
    return QuarantineReason.EVIDENCE_DAMAGED if one.key != held.manifest_key else None


def _moment(text: str) -> dt.datetime:
    time = dt.datetime.fromisoformat(text)
    assert time.tzinfo is not None, "whoever read the message has checked it"
    return time.astimezone(dt.UTC)


def _bad(one: ObjectFinding) -> BadInstance:
    return BadInstance(one.sop_instance_uid, one.finding, one.key, one.version_id, one.etag)


def _extra_of(destination: str, source: str, verdict: ObjectVerdict) -> FoundExtra:
    return FoundExtra(
        extra=ExtraObject(destination, verdict.key),
        source=source,
        study_instance_uid=verdict.study_instance_uid,
        reason=EXTRAS[verdict.finding],
        version_id=verdict.version_id,
        etag=verdict.etag,
        judged_at=_moment(verdict.at),
    )
