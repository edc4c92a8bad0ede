"""Claiming calls: leases on transfers, and the fence that keeps late workers out.

A lease uses the database's clock, never an agent's. `attempt` is the fence: it grows with every
claim, every worker write names it and must find its row, else `LeaseLost`.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from cloudmig.catalog import schema
from cloudmig.catalog.database import Database
from cloudmig.catalog.schema import AnyRow
from cloudmig.errors import LeaseLost
from cloudmig.model.references import StudyRef
from cloudmig.model.states import TO_MAKE, TransferState, advance
from cloudmig.model.transfer import CopyPlan, TransferJob

__all__ = ["ClaimCalls"]

_TO_MAKE = [state.value for state in TO_MAKE]

# States stand as literals in these statements: only so can both databases prove that a partial
# index covers them. SKIP LOCKED is PostgreSQL's; a SQLite writer is alone anyway.
_SKIP_LOCKED = {"sqlite": "", "postgresql": " FOR UPDATE SKIP LOCKED"}

# Rows whose time has come move into the index of ready rows, a few hundred per claim.
_WAKE_DUE = """
UPDATE transfer SET not_before = 0
 WHERE transfer_id IN (
       SELECT transfer_id FROM transfer
        WHERE source = :source AND state = 'planned' AND not_before > 0 AND not_before <= :now_s
        ORDER BY not_before
        LIMIT 200{skip_locked})
"""

#: No failure and no outage puts a study off for longer.
_WAIT_MAX_S = 86_400.0
_WAKE_FAR = sa.text("""
UPDATE transfer SET not_before = 0
 WHERE state = 'planned' AND not_before > 0 AND not_before > :limit_s
""")

_FIRST_READY = """
SELECT transfer_id, priority, newest_first, state, attempt, lease_owner FROM transfer
 WHERE source = :source AND state = 'planned' AND not_before = 0
 ORDER BY priority, newest_first, transfer_id
 LIMIT 1{skip_locked}
"""

_FIRST_EXPIRED = """
SELECT transfer_id, priority, newest_first, state, attempt, lease_owner FROM transfer
 WHERE source = :source AND state = 'moving' AND lease_until <= :now_s
 ORDER BY priority, newest_first, transfer_id
 LIMIT 1{skip_locked}
"""

# The attempt is compared once more: whoever else got here first has raised it.
_CLAIM = sa.text("""
UPDATE transfer
   SET state = 'moving', lease_owner = :owner, lease_until = :lease_until,
       attempt = attempt + 1, not_before = 0
 WHERE transfer_id = :transfer_id AND attempt = :attempt
RETURNING source, study_instance_uid, attempt, failures
""")

_RENEW = sa.text("""
UPDATE transfer SET lease_until = :lease_until
 WHERE transfer_id = :transfer_id AND attempt = :attempt AND state = 'moving'
""")

_SOONEST = sa.text("""
SELECT (SELECT min(not_before) FROM transfer
         WHERE source = :source AND state = 'planned' AND not_before = 0) AS ready,
       (SELECT min(not_before) FROM transfer
         WHERE source = :source AND state = 'planned' AND not_before > 0) AS waiting,
       (SELECT min(lease_until) FROM transfer
         WHERE source = :source AND state = 'moving') AS moving
""")


class _Candidate(NamedTuple):
    """Sorts by what goes first."""

    priority: int
    newest_first: int
    transfer_id: int
    source: str
    expired: bool


class ClaimCalls(Database):
    """Who works on what."""

    def claim_next(
        self, owner: str, *, lease_s: float, sources: Sequence[str]
    ) -> TransferJob | None:
        """Lease the most urgent transfer of these sources, or return None where there is none.

        By priority, then the newest study first, the dateless last. A moving transfer whose lease
        has run out is claimed like a planned one, and the ledger says from whom.
        """
        with self._writing(durable=False) as connection:
            now_s = self._clock(connection)
            for candidate in self._candidates(connection, sources, now_s):
                found = self._lock_first(connection, candidate, now_s)
                if found is not None:
                    return self._claim(connection, found, owner, now_s + lease_s)
            return None

    def seconds_until_work(self, sources: Sequence[str]) -> float | None:
        """Say how long until `claim_next` can find something: 0 now, None never (all is done)."""
        with self._reading() as connection:
            moments: list[float] = []
            for source in sources:
                soonest = connection.execute(_SOONEST, {"source": source}).one()
                moments += [moment for moment in soonest if moment is not None]
            if not moments:
                return None
            return max(0.0, min(moments) - self._clock(connection))

    def renew(self, job: TransferJob, lease_s: float) -> None:
        """Prolong the lease from now on, or raise `LeaseLost`."""
        with self._writing(durable=False) as connection:
            lease_until = self._clock(connection) + lease_s
            touched = connection.execute(_RENEW, {"lease_until": lease_until, **_fence_of(job)})
            if touched.rowcount != 1:
                raise _lost()

    def put_back_all(self, owner: str) -> int:
        """Put back what this owner holds, for a clean stop. Return how many there were."""
        table = schema.transfer.c
        with self._writing() as connection:
            rows = connection.execute(
                sa.select(schema.transfer)
                .where(table.state == TransferState.MOVING.value, table.lease_owner == owner)
                .order_by(table.transfer_id)
                .with_for_update()
            ).all()
            for row in rows:
                self._put_back(connection, row, "stopped")
            return len(rows)

    def wake_far(self) -> int:
        """Let no study wait longer than it can have been told to. Return how many had to.

        A clock that was ahead, a restored machine's say, would hold them back for as long.
        """
        with self._writing() as connection:
            limit_s = self._clock(connection) + _WAIT_MAX_S
            return connection.execute(_WAKE_FAR, {"limit_s": limit_s}).rowcount

    def _put_back(
        self, connection: sa.Connection, row: AnyRow, cause: str, at: dt.datetime | None = None
    ) -> None:
        """Plan a study as it stands; whoever had it comes late."""
        advance(TransferState(row.state), TransferState.PLANNED)
        connection.execute(
            sa.update(schema.transfer)
            .where(schema.transfer.c.transfer_id == row.transfer_id)
            .values(
                state=TransferState.PLANNED.value, lease_owner=None, lease_until=None,
                not_before=0.0, reason=None,
            )
        )  # fmt: skip
        self._append(
            connection,
            "study_put_back",
            at=at,
            source=row.source,
            study_instance_uid=row.study_instance_uid,
            attempt=row.attempt,
            detail={"cause": cause, "failures": row.failures},
        )

    def _candidates(
        self, connection: sa.Connection, sources: Sequence[str], now_s: float
    ) -> list[_Candidate]:
        """Return the first ready and the first expired transfer of each source, sorted."""
        dialect = connection.dialect.name
        found = []
        for source in sources:
            moment = {"source": source, "now_s": now_s}
            connection.execute(_locking(_WAKE_DUE, dialect), moment)
            for expired, statement in ((False, _FIRST_READY), (True, _FIRST_EXPIRED)):
                row = connection.execute(_looking(statement), moment).one_or_none()
                if row is not None:
                    found.append(
                        _Candidate(row.priority, row.newest_first, row.transfer_id, source, expired)
                    )
        return sorted(found)

    def _lock_first(
        self, connection: sa.Connection, candidate: _Candidate, now_s: float
    ) -> AnyRow | None:
        """Lock the first transfer of the candidate's kind that nobody else is just claiming."""
        statement = _FIRST_EXPIRED if candidate.expired else _FIRST_READY
        return connection.execute(
            _locking(statement, connection.dialect.name),
            {"source": candidate.source, "now_s": now_s},
        ).one_or_none()

    def _claim(
        self, connection: sa.Connection, found: AnyRow, owner: str, lease_until: float
    ) -> TransferJob:
        advance(TransferState(found.state), TransferState.MOVING)
        row = connection.execute(
            _CLAIM,
            {
                "owner": owner,
                "lease_until": lease_until,
                "transfer_id": found.transfer_id,
                "attempt": found.attempt,
            },
        ).one()
        study, copy = schema.study.c, schema.copy.c
        instances_claimed = connection.execute(
            sa.select(study.instances_claimed).where(
                study.source == row.source, study.study_instance_uid == row.study_instance_uid
            )
        ).scalar_one_or_none()
        copies = connection.execute(
            sa.select(copy.destination, copy.storage_class)
            .where(copy.transfer_id == found.transfer_id, copy.state.in_(_TO_MAKE))
            .order_by(copy.copy_id)
        )
        lapsed = TransferState(found.state) is TransferState.MOVING
        self._append(
            connection,
            "study_claimed",
            source=row.source,
            study_instance_uid=row.study_instance_uid,
            attempt=row.attempt,
            detail={"owner": owner} | ({"lapsed_owner": found.lease_owner} if lapsed else {}),
        )
        return TransferJob(
            transfer_id=found.transfer_id,
            source=row.source,
            study=StudyRef(row.study_instance_uid),
            attempt=row.attempt,
            failures=row.failures,
            instances_claimed=instances_claimed,
            copies=tuple(CopyPlan(one.destination, one.storage_class) for one in copies),
        )

    def _fence(self, connection: sa.Connection, job: TransferJob) -> AnyRow:
        """Lock the job's transfer for this transaction, or raise `LeaseLost`."""
        table = schema.transfer.c
        row = connection.execute(
            sa.select(schema.transfer)
            .where(
                table.transfer_id == job.transfer_id,
                table.attempt == job.attempt,
                table.state == TransferState.MOVING.value,
            )
            .with_for_update()
        ).one_or_none()
        if row is None:
            raise _lost()
        return row

    def _append_for(
        self,
        connection: sa.Connection,
        job: TransferJob,
        kind: str,
        *,
        destination: str = "",
        sop_instance_uid: str = "",
        detail: dict[str, object] | None = None,
    ) -> None:
        self._append(
            connection,
            kind,
            source=job.source,
            study_instance_uid=job.study.study_instance_uid,
            destination=destination,
            sop_instance_uid=sop_instance_uid,
            attempt=job.attempt,
            detail=detail,
        )


@functools.cache
def _locking(statement: str, dialect: str) -> sa.TextClause:
    return sa.text(statement.format(skip_locked=_SKIP_LOCKED[dialect]))


@functools.cache
def _looking(statement: str) -> sa.TextClause:
    return sa.text(statement.format(skip_locked=""))


def _fence_of(job: TransferJob) -> dict[str, int]:
    return {"transfer_id": job.transfer_id, "attempt": job.attempt}


def _lost() -> LeaseLost:
    return LeaseLost(
        "another worker owns this transfer now",
        hint="nothing is lost; if it happens often, look for a slow disk or a paused machine",
    )
