"""Quarantine calls: what waits for a person, and what a person decided."""

from __future__ import annotations

import datetime as dt
import json

import sqlalchemy as sa

from cloudmig.catalog import schema
from cloudmig.catalog.extra_objects import ExtraObjectCalls
from cloudmig.catalog.file_tallies import FileTallyCalls
from cloudmig.catalog.planning import make_copies_again
from cloudmig.catalog.records import Detail, QuarantineItem
from cloudmig.catalog.schema import AnyRow
from cloudmig.catalog.unnamed import UnnamedCalls
from cloudmig.errors import CatalogError
from cloudmig.model.quarantine import QuarantineReason
from cloudmig.model.references import StudyRef
from cloudmig.model.states import TransferState, advance

__all__ = ["SETTLED", "QuarantineCalls", "is_same", "quarantine_item"]

#: What is noted of a finding that a later attempt has put right. No person has let it pass.
SETTLED = "settled by a later attempt"


class QuarantineCalls(UnnamedCalls, ExtraObjectCalls, FileTallyCalls):
    """What waits for a person."""

    def quarantine_items(
        self, source: str | None = None, released: bool = False
    ) -> list[QuarantineItem]:
        """Return what waits for a person, oldest first; with `released`, what once did, too."""
        table = schema.quarantine_item
        wanted = sa.select(table).order_by(table.c.item_id)
        if source is not None:
            wanted = wanted.where(table.c.source == source)
        if not released:
            wanted = wanted.where(table.c.released_at.is_(None))
        with self._reading() as connection:
            items = [quarantine_item(row) for row in connection.execute(wanted)]
            items += self._unnamed_items(connection, source, released=released)
            items += self._extra_items(connection, source, released=released)
            items += self._file_items(connection, source, released=released)
        return sorted(items, key=lambda item: item.at)

    def release(
        self,
        source: str,
        study: StudyRef,
        *,
        at: dt.datetime,
        note: str,
        exclude_rule: str | None = None,
    ) -> None:
        """Let a study out of quarantine: to be moved again, or excluded by a named rule.

        Moved again means every copy: what is stored already is found to be the same and kept.
        What a person has released is not raised again by an equal finding.
        """
        with self._writing() as connection:
            row = self._lock_study(connection, source, study)
            if row is None or TransferState(row.state) is not TransferState.QUARANTINED:
                raise CatalogError(
                    "this study is not in quarantine", hint="see `cloudmig quarantine list`"
                )
            new = TransferState.EXCLUDED if exclude_rule is not None else TransferState.PLANNED
            advance(TransferState.QUARANTINED, new)
            rule = exclude_rule if exclude_rule is not None else row.rule
            transfer, copy, item = schema.transfer, schema.copy, schema.quarantine_item
            connection.execute(
                sa.update(transfer)
                .where(transfer.c.transfer_id == row.transfer_id)
                .values(state=new.value, rule=rule, failures=0, not_before=0.0, reason=None)
            )
            if new is TransferState.EXCLUDED:
                connection.execute(sa.delete(copy).where(copy.c.transfer_id == row.transfer_id))
            else:
                make_copies_again(connection, row.transfer_id)
            connection.execute(
                sa.update(item)
                .where(
                    item.c.source == source,
                    item.c.study_instance_uid == study.study_instance_uid,
                    item.c.released_at.is_(None),
                )
                .values(released_at=at, note=note)
            )
            self._append(
                connection,
                "study_released",
                at=at,
                source=source,
                study_instance_uid=study.study_instance_uid,
                attempt=row.attempt,
                detail={"note": note, "rule": rule, "excluded": exclude_rule is not None},
            )

    def _lock_study(self, connection: sa.Connection, source: str, study: StudyRef) -> AnyRow | None:
        table = schema.transfer
        return connection.execute(
            sa.select(table)
            .where(
                table.c.source == source,
                table.c.study_instance_uid == study.study_instance_uid,
            )
            .with_for_update()
        ).one_or_none()

    def _standing_item(
        self,
        connection: sa.Connection,
        source: str,
        study: StudyRef,
        sop_instance_uid: str | None,
        reason: QuarantineReason,
        detail: Detail,
    ) -> QuarantineItem | None:
        """Return the newest equal item, released by a person or not."""
        table = schema.quarantine_item
        rows = connection.execute(
            sa.select(table)
            .where(
                table.c.source == source,
                table.c.study_instance_uid == study.study_instance_uid,
                # IS NULL for None; PostgreSQL searches no index for IS NOT DISTINCT FROM.
                table.c.sop_instance_uid == sop_instance_uid,
                table.c.reason == reason.value,
                table.c.note != SETTLED,
            )
            .order_by(table.c.item_id.desc())
        )
        return next((quarantine_item(row) for row in rows if is_same(row.detail, detail)), None)

    def _add_item(
        self,
        connection: sa.Connection,
        source: str,
        study: StudyRef,
        sop_instance_uid: str | None,
        reason: QuarantineReason,
        detail: Detail,
        at: dt.datetime | None = None,
    ) -> None:
        connection.execute(
            sa.insert(schema.quarantine_item),
            {
                "source": source,
                "study_instance_uid": study.study_instance_uid,
                "sop_instance_uid": sop_instance_uid,
                "reason": reason.value,
                "detail": dict(detail),
                "at": at or self._now(),
                "note": "",
            },
        )


def is_same(told: Detail, detail: Detail) -> bool:
    """Say whether two details are equal as JSON, where a tuple and a list are one."""
    return json.dumps(told, sort_keys=True) == json.dumps(dict(detail), sort_keys=True)


def quarantine_item(row: AnyRow) -> QuarantineItem:
    """Return a quarantine item as it stands in its row."""
    return QuarantineItem(
        item_id=row.item_id,
        source=row.source,
        study=StudyRef(row.study_instance_uid),
        sop_instance_uid=row.sop_instance_uid,
        reason=QuarantineReason(row.reason),
        detail=row.detail,
        at=row.at,
        released_at=row.released_at,
        note=row.note,
    )
