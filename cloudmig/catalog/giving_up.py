"""Giving-up calls: a person says that a destination, and all that lay there, is gone for good."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import sqlalchemy as sa

from cloudmig.catalog import schema
from cloudmig.catalog.extra_objects import ExtraObjectCalls
from cloudmig.catalog.planning import copies_of, insert_copies
from cloudmig.catalog.schema import AnyRow
from cloudmig.catalog.verifying import VerificationCalls
from cloudmig.model.states import DONE, TransferState
from cloudmig.model.transfer import CopyPlan

__all__ = ["Fate", "GivingUp", "GivingUpCalls", "GivingUpPage"]

_T = TransferState


class Fate(Enum):
    """What becomes of a study that has a copy at a destination that is gone."""

    OTHERS = "others"  #: It has other copies, made or planned: this one leaves its plan.
    INSTEAD = "instead"  #: It had this one alone: another is planned instead.
    ONLY_COPY = "only_copy"  #: The same, and nobody has said where else: left as it is.
    UNDER_WAY = "under_way"  #: A worker has it: left as it is.


@dataclass(frozen=True, slots=True)
class GivingUp:
    """A person's word about a destination."""

    destination: str
    note: str
    #: Where studies go that have no other copy; None: they are left as they are.
    instead: str | None = None
    #: The storage class there, by the rule that decided about the study; of others the store's own.
    storage_classes: Mapping[str, str] = field(default_factory=dict)
    dry_run: bool = False  #: Only say what would become of them.


@dataclass(frozen=True, slots=True)
class GivingUpPage:
    """What became of some copies. `after` is where the next page begins; None: there is none."""

    fates: Counter[Fate]
    after: int | None


class GivingUpCalls(VerificationCalls, ExtraObjectCalls):
    """What a destination that is gone leaves behind."""

    def destinations_held(self) -> list[str]:
        """Name every destination at which a copy is planned or made."""
        copy = schema.copy.c
        with self._reading() as connection:
            named = sa.select(copy.destination).distinct().order_by(copy.destination)
            return list(connection.execute(named).scalars())

    def copies_given_up(self) -> dict[str, int]:
        """Count the copies that were ever given up, by destination."""
        event = schema.ledger_event.c
        counted = (
            sa.select(event.destination, sa.func.count())
            .where(event.kind == "copy_given_up")
            .group_by(event.destination)
            .order_by(event.destination)
        )
        with self._reading() as connection:
            return {row[0]: row[1] for row in connection.execute(counted)}

    def give_up_copies(
        self, word: GivingUp, at: dt.datetime, *, after: int = 0, limit: int = 500
    ) -> GivingUpPage:
        """Take some copies at a destination out of the plan of their studies. Safe to repeat.

        The ledger keeps what each copy was, and where its manifest lay. No study is left without a
        copy: one that has no other gets another planned instead, or keeps this one.
        """
        transfer, copy = schema.transfer, schema.copy
        with self._reading() if word.dry_run else self._writing() as connection:
            now_s = self._clock(connection)
            there = sa.exists().where(
                copy.c.transfer_id == transfer.c.transfer_id,
                copy.c.destination == word.destination,
            )
            wanted = sa.select(transfer).where(transfer.c.transfer_id > after, there)
            wanted = wanted.order_by(transfer.c.transfer_id).limit(limit)
            rows = connection.execute(wanted if word.dry_run else wanted.with_for_update()).all()
            copies = copies_of(connection, [row.transfer_id for row in rows])
            fates: Counter[Fate] = Counter()
            for row in rows:
                held = copies[row.transfer_id]
                fate = _fate_of(row, held, word, now_s)
                fates[fate] += 1
                if fate in (Fate.OTHERS, Fate.INSTEAD) and not word.dry_run:
                    gone = held[word.destination]
                    self._give_up(connection, row, gone, _instead(row, fate, word), word, at)
            return GivingUpPage(fates, rows[-1].transfer_id if len(rows) == limit else None)

    def give_up_extras(self, word: GivingUp, at: dt.datetime) -> int:
        """Settle the objects in no manifest that wait for a person there. Return how many."""
        if word.dry_run:
            return sum(
                each.extra.destination == word.destination
                for each in self.extra_objects(released=False)
            )
        there = schema.extra_object.c.destination == word.destination
        with self._writing() as connection:
            return self._release_extras(connection, there, at=at, note=word.note)

    def _give_up(
        self,
        connection: sa.Connection,
        row: AnyRow,
        gone: AnyRow,
        instead: CopyPlan | None,
        word: GivingUp,
        at: dt.datetime,
    ) -> None:
        state = _T(row.state)
        if state is _T.MOVING:  # Its lease has run out; who had it must not write any more.
            self._put_back(connection, row, "given up", at)
        receipt = schema.open_receipt.c
        connection.execute(
            sa.delete(schema.open_receipt).where(
                receipt.transfer_id == row.transfer_id, receipt.destination == word.destination
            )
        )
        connection.execute(sa.delete(schema.copy).where(schema.copy.c.copy_id == gone.copy_id))
        if instead is not None:
            insert_copies(connection, [(row.transfer_id, instead)])
        self._append(
            connection,
            "copy_given_up",
            at=at,
            source=row.source,
            study_instance_uid=row.study_instance_uid,
            destination=word.destination,
            attempt=row.attempt,
            detail={
                "note": word.note,
                "state": gone.state,
                "manifest_key": gone.manifest_key,
                "manifest_sha256": gone.manifest_sha256,
                "instead": {instead.destination: instead.storage_class} if instead else {},
            },
        )
        if instead is not None and state in DONE:
            self._put_back(connection, row, "given up", at)
        elif state is _T.STORED and self._all_verified(connection, row.transfer_id):
            self._set_verified(connection, row.transfer_id, row.source, row.study_instance_uid)


def _fate_of(row: AnyRow, held: Mapping[str, AnyRow], word: GivingUp, now_s: float) -> Fate:
    if _T(row.state) is _T.MOVING and row.lease_until > now_s:
        return Fate.UNDER_WAY
    if len(held) > 1:
        return Fate.OTHERS
    return Fate.ONLY_COPY if word.instead is None else Fate.INSTEAD


def _instead(row: AnyRow, fate: Fate, word: GivingUp) -> CopyPlan | None:
    """Return the copy that takes the place of an only one."""
    if fate is not Fate.INSTEAD:
        return None
    assert word.instead is not None, "else the only copy is kept"
    return CopyPlan(word.instead, word.storage_classes.get(row.rule, ""))
