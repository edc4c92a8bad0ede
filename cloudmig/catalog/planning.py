"""Planning calls: what the rules decided about each study."""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum, auto

import sqlalchemy as sa

from cloudmig.catalog import schema
from cloudmig.catalog.database import Database
from cloudmig.catalog.records import PlanCounts, StandingDecision
from cloudmig.catalog.rows import of_study
from cloudmig.catalog.schema import AnyRow
from cloudmig.model.references import StudyRef
from cloudmig.model.states import DONE, CopyState, TransferState, advance
from cloudmig.model.transfer import CopyPlan, Decision

__all__ = ["PlanningCalls", "copies_of", "insert_copies", "make_copies_again", "spread_of"]

#: Decisions per transaction: a plan of a million studies must not lock the workers out.
_CHUNK = 1000
_OPEN = (TransferState.PLANNED, TransferState.EXCLUDED)


class _Did(Enum):
    """What planning did about a study."""

    CHANGED = auto()  #: Planned or excluded, for the first time or otherwise than before.
    LEFT_AS_PLANNED = auto()
    LEFT_ALONE = auto()  #: A worker or a person has it, or it is done.
    REOPENED = auto()  #: It was done, and has grown.


def spread_of(study: StudyRef) -> int:
    """Return a stable number that spreads studies evenly, for parts and rotations."""
    return int(hashlib.sha256(study.study_instance_uid.encode("ascii")).hexdigest()[:8], 16)


class PlanningCalls(Database):
    """What is to be done."""

    def record_plan(
        self,
        decisions: Iterable[Decision],
        at: dt.datetime,
        destinations: AbstractSet[str] | None = None,
    ) -> PlanCounts:
        """Create transfers, or change those that are planned or excluded.

        Of others it touches only those that are done and have grown since: they are planned as
        they are, so that what is new is moved; not where a copy lies at none of `destinations`
        (all there are, if given), for it could not be made. Committed in chunks, each repeatable:
        an interrupted plan is simply made again.
        """
        counts: Counter[_Did] = Counter()
        excluded = 0
        rest = iter(decisions)
        while chunk := list(itertools.islice(rest, _CHUNK)):
            assert len({(one.source, one.study) for one in chunk}) == len(chunk), "decided twice"
            with self._writing() as connection:
                did = self._record_chunk(connection, chunk, at, destinations)
            counts.update(what for _, what in did)
            excluded += sum(
                not decision.copies for decision, what in did if what is not _Did.LEFT_ALONE
            )
        under_way = counts[_Did.LEFT_ALONE]
        return PlanCounts(
            planned=counts.total() - under_way - excluded,
            excluded=excluded,
            changed=counts[_Did.CHANGED],
            under_way=under_way,
            grown=counts[_Did.REOPENED],
        )

    def decision_of(self, source: str, study: StudyRef) -> StandingDecision | None:
        """Return what was decided about a study, or None where nothing was."""
        with self._reading() as connection:
            row = connection.execute(
                sa.select(schema.transfer).where(*of_study(schema.transfer, source, study))
            ).one_or_none()
            if row is None:
                return None
            copies = copies_of(connection, [row.transfer_id])
        plans = tuple(
            CopyPlan(copy.destination, copy.storage_class)
            for copy in copies.get(row.transfer_id, {}).values()
        )
        return StandingDecision(
            source, study, row.rule, row.priority, TransferState(row.state), plans
        )

    def _record_chunk(
        self,
        connection: sa.Connection,
        chunk: Sequence[Decision],
        at: dt.datetime,
        destinations: AbstractSet[str] | None,
    ) -> list[tuple[Decision, _Did]]:
        """Record decisions, and say what that did about each study."""
        by_source: dict[str, list[str]] = {}
        for decision in chunk:
            by_source.setdefault(decision.source, []).append(decision.study.study_instance_uid)
        listed: dict[tuple[str, str], AnyRow] = {}
        standing: dict[tuple[str, str], AnyRow] = {}
        for source, uids in by_source.items():
            study, table = schema.study.c, schema.transfer.c
            for row in connection.execute(
                sa.select(
                    study.study_instance_uid, study.study_date, study.instances_claimed
                ).where(study.source == source, study.study_instance_uid.in_(uids))
            ):
                listed[source, row.study_instance_uid] = row
            for row in connection.execute(
                sa.select(schema.transfer)
                .where(table.source == source, table.study_instance_uid.in_(uids))
                .order_by(table.transfer_id)
                .with_for_update()
            ):
                standing[source, row.study_instance_uid] = row
        copies = copies_of(connection, [row.transfer_id for row in standing.values()])
        did: list[tuple[Decision, _Did]] = []
        fresh: list[Decision] = []
        for decision in chunk:
            key = (decision.source, decision.study.study_instance_uid)
            assert key in listed, "a plan covers studies of the inventory"
            if key not in standing:
                fresh.append(decision)
                did.append((decision, _Did.CHANGED))
                continue
            row, claimed = standing[key], listed[key].instances_claimed
            held = copies.get(row.transfer_id, {})
            was_done = _was_done(row, held)
            can_be_made = destinations is None or held.keys() <= destinations
            if decision.copies and can_be_made and _has_grown(row, claimed):
                self._reopen(connection, row, claimed, at)
                did.append((decision, _Did.REOPENED))
            elif TransferState(row.state) not in _OPEN or (was_done and not decision.copies):
                did.append((decision, _Did.LEFT_ALONE))
            elif was_done or _is_as_before(row, held, decision):
                did.append((decision, _Did.LEFT_AS_PLANNED))
            else:
                self._change(connection, row, held, decision)
                did.append((decision, _Did.CHANGED))
        self._create(connection, fresh, {key: row.study_date for key, row in listed.items()})
        _append_decisions(connection, [one for one, what in did if what is _Did.CHANGED], at)
        return did

    def _reopen(
        self, connection: sa.Connection, row: AnyRow, claimed: int, at: dt.datetime
    ) -> None:
        """Plan a study that is done once more, as it is: what its copies hold is not pulled."""
        advance(TransferState(row.state), TransferState.PLANNED)
        connection.execute(
            sa.update(schema.transfer)
            .where(schema.transfer.c.transfer_id == row.transfer_id)
            .values(state=TransferState.PLANNED.value, failures=0, not_before=0.0, reason=None)
        )
        make_copies_again(connection, row.transfer_id)
        self._append(
            connection,
            "study_reopened",
            at=at,
            source=row.source,
            study_instance_uid=row.study_instance_uid,
            attempt=row.attempt,
            detail={"instances_claimed": claimed, "instances_inventory": row.instances_inventory},
        )

    def _create(
        self,
        connection: sa.Connection,
        decisions: Sequence[Decision],
        dates: Mapping[tuple[str, str], dt.date | None],
    ) -> None:
        if not decisions:
            return
        rows: list[dict[str, object]] = []
        for decision in decisions:
            uid = decision.study.study_instance_uid
            study_date = dates[decision.source, uid]
            rows.append(
                {
                    "source": decision.source,
                    "study_instance_uid": uid,
                    "state": _state_of(decision).value,
                    "rule": decision.rule,
                    "priority": decision.priority,
                    "study_date": study_date,
                    "newest_first": -study_date.toordinal() if study_date else 0,
                    "spread": spread_of(decision.study),
                    "attempt": 0,
                    "failures": 0,
                    "not_before": 0.0,
                    "strays": 0,
                    "listing_notes": [],
                    "series_found": 0,
                }
            )
        connection.execute(sa.insert(schema.transfer), rows)
        table = schema.transfer.c
        numbers: dict[tuple[str, str], int] = {}
        for source in {decision.source for decision in decisions}:
            uids = [one.study.study_instance_uid for one in decisions if one.source == source]
            for row in connection.execute(
                sa.select(table.transfer_id, table.study_instance_uid).where(
                    table.source == source, table.study_instance_uid.in_(uids)
                )
            ):
                numbers[source, row.study_instance_uid] = row.transfer_id
        insert_copies(
            connection,
            [
                (numbers[one.source, one.study.study_instance_uid], plan)
                for one in decisions
                for plan in one.copies
            ],
        )

    def _change(
        self,
        connection: sa.Connection,
        row: AnyRow,
        held: Mapping[str, AnyRow],
        decision: Decision,
    ) -> None:
        state, new = TransferState(row.state), _state_of(decision)
        if new is not state:
            advance(state, new)
        connection.execute(
            sa.update(schema.transfer)
            .where(schema.transfer.c.transfer_id == row.transfer_id)
            .values(
                state=new.value, rule=decision.rule, priority=decision.priority,
                not_before=0.0, reason=None,
            )
        )  # fmt: skip
        copy = schema.copy
        wanted = {plan.destination: plan for plan in decision.copies}
        # A copy that is planned no more leaves the tables; what it left in the bucket is told by
        # the ledger and by its manifest.
        dropped = [copy.copy_id for copy in held.values() if copy.destination not in wanted]
        connection.execute(sa.delete(copy).where(copy.c.copy_id.in_(dropped)))
        for destination in wanted.keys() & held.keys():
            if held[destination].manifest_key is None:  # What is stored keeps its class.
                connection.execute(
                    sa.update(copy)
                    .where(copy.c.copy_id == held[destination].copy_id)
                    .values(storage_class=wanted[destination].storage_class)
                )
        insert_copies(
            connection,
            [(row.transfer_id, wanted[name]) for name in wanted if name not in held],
        )


def _has_grown(row: AnyRow, claimed: int | None) -> bool:
    """Say whether a study is done, and its source counts more instances than it did then.

    A number that was there when its instances were listed says nothing: some count otherwise.
    """
    if TransferState(row.state) not in DONE or claimed is None or row.instances_inventory is None:
        return False
    return bool(claimed > max(row.instances_inventory, row.instances_counted or 0))


def _was_done(row: AnyRow, held: Mapping[str, AnyRow]) -> bool:
    """Say whether a planned study was done before: no rule takes a copy that was made from it."""
    is_planned = TransferState(row.state) is TransferState.PLANNED
    return is_planned and bool(held) and all(each.manifest_key for each in held.values())


def _state_of(decision: Decision) -> TransferState:
    return TransferState.PLANNED if decision.copies else TransferState.EXCLUDED


def _is_as_before(row: AnyRow, held: Mapping[str, AnyRow], decision: Decision) -> bool:
    same_copies = held.keys() == {plan.destination for plan in decision.copies} and all(
        held[plan.destination].storage_class == plan.storage_class
        # What is stored already keeps its class, whatever the rules say now.
        or held[plan.destination].manifest_key is not None
        for plan in decision.copies
    )
    return (
        same_copies
        and row.state == _state_of(decision).value
        and row.rule == decision.rule
        and row.priority == decision.priority
    )


def copies_of(
    connection: sa.Connection, transfer_ids: Sequence[int]
) -> dict[int, dict[str, AnyRow]]:
    """Return the copies of these transfers by destination, in the order they were planned."""
    copies: dict[int, dict[str, AnyRow]] = {}
    if transfer_ids:
        table = schema.copy
        for row in connection.execute(
            sa.select(table).where(table.c.transfer_id.in_(transfer_ids)).order_by(table.c.copy_id)
        ):
            copies.setdefault(row.transfer_id, {})[row.destination] = row
    return copies


def make_copies_again(connection: sa.Connection, transfer_id: int) -> None:
    """Plan the copies of a study anew: what they hold is found to be the same, and kept."""
    copy = schema.copy.c
    connection.execute(
        sa.update(schema.copy)
        .where(copy.transfer_id == transfer_id, copy.state != CopyState.OWED.value)
        .values(state=CopyState.PLANNED.value, repairs=0, verdict_how=None, verified_at=None)
    )


def insert_copies(connection: sa.Connection, plans: Sequence[tuple[int, CopyPlan]]) -> None:
    """Insert planned copies by the number of their transfer."""
    rows = [
        {
            "transfer_id": transfer_id,
            "destination": plan.destination,
            "storage_class": plan.storage_class,
            "state": CopyState.PLANNED.value,
            "manifest_revision": 0,
            "completeness": "",
            "repairs": 0,
        }
        for transfer_id, plan in plans
    ]
    if rows:
        connection.execute(sa.insert(schema.copy), rows)


def _append_decisions(
    connection: sa.Connection, decisions: Sequence[Decision], at: dt.datetime
) -> None:
    rows = [
        {
            "at": at,
            "kind": "study_planned" if decision.copies else "study_excluded",
            "source": decision.source,
            "study_instance_uid": decision.study.study_instance_uid,
            "destination": "",
            "sop_instance_uid": "",
            "attempt": 0,
            "detail": {
                "rule": decision.rule,
                "priority": decision.priority,
                "copies": {plan.destination: plan.storage_class for plan in decision.copies},
            },
        }
        for decision in decisions
    ]
    if rows:
        connection.execute(sa.insert(schema.ledger_event), rows)
