"""Copying calls: studies that can get a copy from another copy, and who makes it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from cloudmig.catalog import schema
from cloudmig.catalog.planning import insert_copies
from cloudmig.catalog.records import BadInstance, CopyRow, TransferRow
from cloudmig.catalog.rows import copy_row, with_copies
from cloudmig.catalog.schema import AnyRow
from cloudmig.catalog.verifying import Judgement, VerificationCalls, repairs_are_spent
from cloudmig.model.states import DONE, TO_MAKE, CopyState, TransferState, advance
from cloudmig.model.transfer import CopyPlan, TransferJob

__all__ = ["CopyClaim", "CopyOrder", "CopyingCalls"]

_T = TransferState
#: Where nobody works on a study, or nobody may any more.
_WAITING = (_T.PLANNED, _T.MOVING)


@dataclass(frozen=True, slots=True)
class CopyOrder:
    """Which copies to make from other copies."""

    sources: tuple[str, ...]
    destination: str | None  #: Where to; None: wherever a copy is planned and not made.
    origin: str | None = None  #: Where from; None: any other destination.
    #: Studies that are done, were decided by one of these rules and have no copy planned there get
    #: one planned. None: those of every rule.
    rules: tuple[str, ...] | None = ()


@dataclass(frozen=True, slots=True)
class CopyClaim:
    """A claimed transfer whose copies are made from another copy of the study."""

    job: TransferJob
    planned: bool  #: The copy was planned with the claim: nothing asked for it before.
    instances_inventory: int | None  #: As the PACS listed them; None where nothing is written down.


class CopyingCalls(VerificationCalls):
    """What can be copied without its source."""

    def copies_to_make(
        self, order: CopyOrder, *, after: int = 0, limit: int = 500
    ) -> list[TransferRow]:
        """Return studies after a position that lack the copy and have a verified one elsewhere."""
        table = schema.transfer
        wanted = (
            self._lacking(order)
            .where(table.c.transfer_id > after, _has_origin(order))
            .order_by(table.c.transfer_id)
            .limit(limit)
        )
        with self._reading() as connection:
            return with_copies(connection, connection.execute(wanted).all())

    def copies_without_origin(self, order: CopyOrder) -> int:
        """Count studies that lack the copy and have no verified one elsewhere."""
        lacking = self._lacking(order).where(sa.not_(_has_origin(order))).subquery()
        with self._reading() as connection:
            count = sa.select(sa.func.count()).select_from(lacking)
            return int(connection.execute(count).scalar_one())

    def claim_copy(
        self,
        owner: str,
        row: TransferRow,
        origin: CopyRow,
        plan: CopyPlan | None,
        *,
        lease_s: float,
    ) -> CopyClaim | None:
        """Lease a study whose copy `plan` is to be made from its copy `origin`.

        Plans the copy where a study that is done has none there; without a `plan` every copy that
        is to be made is. When it is to be tried again does not matter: that is about the source.
        Returns None when the study, or the origin, is not any more what it was.
        """
        table = schema.transfer.c
        with self._writing(durable=False) as connection:
            now_s = self._clock(connection)
            found = connection.execute(
                sa.select(schema.transfer)
                .where(table.transfer_id == row.transfer_id, table.attempt == row.attempt)
                .with_for_update(skip_locked=True)
            ).one_or_none()
            if found is None or not self._is_verified(connection, origin):
                return None
            planned = plan is not None and self._may_be_planned(connection, found, plan)
            if plan is not None and planned:
                found = self._plan_copy(connection, found, plan)
            state = TransferState(found.state)
            if state not in _WAITING or (state is _T.MOVING and found.lease_until > now_s):
                return None
            if not self._to_make(connection, row.transfer_id, plan) and self._to_make(
                connection, row.transfer_id, None
            ):
                return None
            job = self._claim(connection, found, owner, now_s + lease_s)
            if plan is not None:
                wanted = tuple(each for each in job.copies if each.destination == plan.destination)
                job = replace(job, copies=wanted)
            return CopyClaim(job, planned, found.instances_inventory)

    def fail_origin(
        self, job: TransferJob, destination: str, findings: Sequence[BadInstance], at: dt.datetime
    ) -> bool:
        """Note what differs in the copy that a claimed study was to be copied from.

        It is to be repaired, like a copy that a verdict found bad. Returns True when repair has
        failed as often as it may, so that a person must look.
        """
        with self._writing() as connection:
            transfer = self._fence(connection, job)
            held = self._copy_at(connection, job.transfer_id, destination)
            assert held is not None, "a study is copied from a copy"
            self._mark(connection, transfer, held, Judgement("READ_BACK", tuple(findings), at, at))
            return repairs_are_spent(held)

    def forgo_copy(self, job: TransferJob, destination: str, reason: str) -> None:
        """Take a copy out of the plan again of which nothing has been made."""
        copy = schema.copy.c
        with self._writing() as connection:
            self._fence(connection, job)
            held = self._copy_at(connection, job.transfer_id, destination)
            assert held is not None, "what is forgone was planned"
            assert held.manifest_key is None, "what is made is not forgone"
            connection.execute(sa.delete(schema.copy).where(copy.copy_id == held.copy_id))
            self._append_for(
                connection, job, "copy_forgone", destination=destination, detail={"reason": reason}
            )

    def _lacking(self, order: CopyOrder) -> sa.Select[tuple[object, ...]]:
        """Select transfers that lack the copy, planned or not, and that can be claimed for it."""
        transfer, made = schema.transfer, schema.copy.alias("made")
        of_transfer = made.c.transfer_id == transfer.c.transfer_id
        to_make = _unindexed(made.c.state).in_([state.value for state in TO_MAKE])
        waiting = transfer.c.state.in_([state.value for state in _WAITING])
        wanted = sa.select(transfer).where(_unindexed(transfer.c.source).in_(order.sources))
        # Made, and killed before that was written down: it only wants to be finished.
        whole = sa.not_(sa.exists().where(of_transfer, to_make))
        if order.destination is None:
            return wanted.where(waiting, sa.or_(sa.exists().where(of_transfer, to_make), whole))
        there = sa.and_(of_transfer, made.c.destination == order.destination)
        lacks = sa.or_(sa.exists().where(there, to_make), sa.and_(sa.exists().where(there), whole))
        if order.rules == ():
            return wanted.where(waiting, lacks)
        state = _unindexed(transfer.c.state)
        done = sa.and_(
            state.in_([each.value for each in DONE]),
            sa.not_(sa.exists().where(there)),
            sa.true() if order.rules is None else transfer.c.rule.in_(order.rules),
        )
        waiting = state.in_([each.value for each in _WAITING])
        return wanted.where(sa.or_(sa.and_(waiting, lacks), done))

    def _may_be_planned(self, connection: sa.Connection, found: AnyRow, plan: CopyPlan) -> bool:
        """Say whether a study is done and has no copy planned there."""
        return (
            TransferState(found.state) in DONE
            and self._copy_at(connection, found.transfer_id, plan.destination) is None
        )

    def _to_make(self, connection: sa.Connection, transfer_id: int, plan: CopyPlan | None) -> bool:
        """Say whether the copy, or without a plan any copy, is still to be made."""
        copy = schema.copy.c
        wanted = sa.select(copy.copy_id).where(
            copy.transfer_id == transfer_id, copy.state.in_([state.value for state in TO_MAKE])
        )
        if plan is not None:
            wanted = wanted.where(copy.destination == plan.destination)
        return connection.execute(wanted.limit(1)).first() is not None

    def _plan_copy(self, connection: sa.Connection, found: AnyRow, plan: CopyPlan) -> AnyRow:
        """Plan one more copy of a study that is done, and return its row as it stands now."""
        table = schema.transfer
        advance(TransferState(found.state), _T.PLANNED)
        connection.execute(
            sa.update(table)
            .where(table.c.transfer_id == found.transfer_id)
            .values(state=_T.PLANNED.value, not_before=0.0, reason=None)
        )
        insert_copies(connection, [(found.transfer_id, plan)])
        self._append(
            connection,
            "copy_planned",
            source=found.source,
            study_instance_uid=found.study_instance_uid,
            destination=plan.destination,
            attempt=found.attempt,
            detail={"storage_class": plan.storage_class},
        )
        return connection.execute(
            sa.select(table).where(table.c.transfer_id == found.transfer_id)
        ).one()

    def _is_verified(self, connection: sa.Connection, origin: CopyRow) -> bool:
        """Say whether a copy is what it was when it was chosen to be copied from."""
        copy = schema.copy.c
        held = connection.execute(
            sa.select(schema.copy).where(
                copy.copy_id == origin.copy_id, copy.state == CopyState.VERIFIED.value
            )
        ).one_or_none()
        return held is not None and copy_row(held).manifest_sha256 == origin.manifest_sha256

    def _copy_at(
        self, connection: sa.Connection, transfer_id: int, destination: str
    ) -> AnyRow | None:
        copy = schema.copy.c
        return connection.execute(
            sa.select(schema.copy).where(
                copy.transfer_id == transfer_id, copy.destination == destination
            )
        ).one_or_none()


def _has_origin(order: CopyOrder) -> sa.ColumnElement[bool]:
    """Return the condition that a transfer has a verified copy to copy from."""
    origin = schema.copy.alias("origin")
    found = sa.exists().where(
        origin.c.transfer_id == schema.transfer.c.transfer_id,
        _unindexed(origin.c.state) == CopyState.VERIFIED.value,
    )
    if order.destination is not None:
        found = found.where(origin.c.destination != order.destination)
    if order.origin is not None:
        found = found.where(origin.c.destination == order.origin)
    return found


def _unindexed(column: sa.Column[str]) -> sa.ColumnElement[str]:
    """Return a column that no index is searched for.

    SQLite took the index of states for every study anew, through all copies of that state: a
    hundred thousand studies took hours. A study has a few copies, and they are found by its number.
    And for every page it took all studies of a source and sorted them: they are sorted by number.
    """
    return sa.func.coalesce(column, "")
