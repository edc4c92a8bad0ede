"""Standing calls: where things are, who is alive, what is in flight, and the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from cloudmig.catalog import schema
from cloudmig.catalog.extra_objects import ExtraObjectCalls
from cloudmig.catalog.file_tallies import FileTallyCalls
from cloudmig.catalog.records import (
    LedgerEvent,
    MultipartUpload,
    StatusCounts,
    TransferRow,
)
from cloudmig.catalog.restores import RestoreCalls
from cloudmig.catalog.rows import of_study, with_copies
from cloudmig.catalog.schema import AnyRow
from cloudmig.catalog.unnamed import UnnamedCalls
from cloudmig.errors import CatalogError
from cloudmig.model.quarantine import QuarantineReason
from cloudmig.model.references import StudyRef
from cloudmig.model.states import CopyState, TransferState

__all__ = ["StandingCalls"]

_Key = TypeVar("_Key")


class StandingCalls(UnnamedCalls, ExtraObjectCalls, FileTallyCalls, RestoreCalls):
    """Where things are."""

    def status_counts(self) -> StatusCounts:
        """Count studies, transfers, copies and open quarantine items."""
        study, transfer, copy = schema.study.c, schema.transfer.c, schema.copy.c
        item = schema.quarantine_item.c
        with self._reading() as connection:
            studies = _counts(connection, study.source)
            transfers: dict[str, dict[TransferState, int]] = {}
            for source, state, count in _grouped(connection, transfer.source, transfer.state):
                transfers.setdefault(source, {})[TransferState(state)] = count
            copies: dict[str, dict[CopyState, int]] = {}
            for destination, state, count in _grouped(connection, copy.destination, copy.state):
                copies.setdefault(destination, {})[CopyState(state)] = count
            held = connection.execute(
                sa.select(
                    sa.func.coalesce(sa.func.sum(copy.instances), 0),
                    sa.func.coalesce(sa.func.sum(copy.bytes), 0),
                ).where(copy.state.in_([CopyState.STORED.value, CopyState.VERIFIED.value]))
            ).one()
            waiting = _counts(connection, item.reason, item.released_at.is_(None))
            for (source, released), count in self._unnamed_counts(connection).items():
                state = TransferState.EXCLUDED if released else TransferState.QUARANTINED
                _add(studies, source, count)
                _add(transfers.setdefault(source, {}), state, count)
                if not released:
                    _add(waiting, QuarantineReason.UNUSABLE_UID.value, count)
            for reason, count in self._extra_counts(connection).items():
                _add(waiting, reason, count)
            if kinds := self._file_counts(connection):
                _add(waiting, QuarantineReason.BROKEN_FILES.value, kinds)
            is_verified = copy.state == CopyState.VERIFIED.value
            verdicts = _counts(connection, copy.verdict_how, is_verified)
            restores = self._restore_counts(connection)
        return StatusCounts(
            studies=studies,
            transfers=transfers,
            copies=copies,
            instances_held=int(held[0]),
            bytes_held=int(held[1]),
            quarantine={QuarantineReason(reason): count for reason, count in waiting.items()},
            verdicts=verdicts,
            restores=restores,
        )

    def transfers(
        self,
        state: TransferState | None = None,
        *,
        source: str | None = None,
        after: int | None = None,
        limit: int = 100,
    ) -> list[TransferRow]:
        """Return transfers after a position, with their copies."""
        table = schema.transfer.c
        wanted = sa.select(schema.transfer).order_by(table.transfer_id).limit(limit)
        if state is not None:
            wanted = wanted.where(table.state == state.value)
        if source is not None:
            wanted = wanted.where(table.source == source)
        if after is not None:
            wanted = wanted.where(table.transfer_id > after)
        with self._reading() as connection:
            return with_copies(connection, connection.execute(wanted).all())

    def transfer(self, source: str, study: StudyRef) -> TransferRow | None:
        """Return one transfer, or None where nothing was decided about the study."""
        with self._reading() as connection:
            rows = connection.execute(
                sa.select(schema.transfer).where(*of_study(schema.transfer, source, study))
            ).all()
            return next(iter(with_copies(connection, rows)), None)

    def ledger(
        self, after: int = 0, limit: int = 1000, *, study: StudyRef | None = None
    ) -> list[LedgerEvent]:
        """Return events after a position, oldest first; of one study if asked."""
        table = schema.ledger_event
        wanted = (
            sa.select(table).where(table.c.event_id > after).order_by(table.c.event_id).limit(limit)
        )
        if study is not None:
            wanted = wanted.where(table.c.study_instance_uid == study.study_instance_uid)
        with self._reading() as connection:
            return _events(connection, wanted)

    def instances_named(self, after: int = 0, limit: int = 1000) -> list[LedgerEvent]:
        """Return events that name an instance, after a position, oldest first."""
        table = schema.ledger_event
        in_detail = table.c.kind.in_(("copy_failed", "copy_unreadable"))
        names = sa.or_(table.c.sop_instance_uid != "", in_detail)
        with self._reading() as connection:
            wanted = sa.select(table).where(table.c.event_id > after, names)
            return _events(connection, wanted.order_by(table.c.event_id).limit(limit))

    def register_agent(self, name: str, ae_titles: Sequence[str], ttl_s: float) -> None:
        """Enter an agent as alive. Two live agents never share an AE title (design section 5)."""
        with self._writing() as connection:
            now_s = self._clock(connection)
            self._upsert(
                connection,
                schema.agent,
                [{"name": name, "alive_until": now_s + ttl_s}],
                update=lambda new: {"alive_until": new.alive_until},
            )
            title = schema.agent_ae_title
            connection.execute(
                sa.delete(title).where(title.c.name == name, title.c.ae_title.not_in(ae_titles))
            )
            for ae_title in sorted(ae_titles):
                self._take_title(connection, name, ae_title, now_s, now_s + ttl_s)

    def heartbeat(self, name: str, ttl_s: float, *, ae_titles: int = 1) -> None:
        """Say that an agent is alive. Refuses when another has taken over one of its AE titles.

        `ae_titles` is how many it has: none where no source is a PACS.
        """
        agent, title = schema.agent.c, schema.agent_ae_title.c
        with self._writing() as connection:
            now_s = self._clock(connection)
            for table, column, rows in (
                (schema.agent, agent.name, 1),
                (schema.agent_ae_title, title.name, ae_titles),
            ):
                touched = connection.execute(
                    sa.update(table).where(column == name).values(alive_until=now_s + ttl_s)
                )
                if touched.rowcount < rows:
                    raise CatalogError(
                        f"another agent has taken the AE titles of {name}",
                        hint="give every agent AE titles of its own, then start this one again",
                    )

    def sign_off(self, name: str) -> None:
        """Take an agent off the list, so that its AE titles are free at once."""
        with self._writing() as connection:
            for table in (schema.agent_ae_title, schema.agent):
                connection.execute(sa.delete(table).where(table.c.name == name))

    def remember_upload(self, destination: str, key: str, upload_id: str) -> None:
        """Remember a multipart upload before its first part is sent."""
        with self._writing() as connection:
            self._upsert(
                connection,
                schema.multipart_upload,
                [
                    {
                        "destination": destination,
                        "key": key,
                        "upload_id": upload_id,
                        "begun_at": self._now(),
                    }
                ],
                update=lambda new: {"upload_id": new.upload_id, "begun_at": new.begun_at},
            )

    def forget_upload(self, destination: str, key: str) -> None:
        """Forget a multipart upload that was completed or aborted."""
        table = schema.multipart_upload
        with self._writing() as connection:
            connection.execute(
                sa.delete(table).where(table.c.destination == destination, table.c.key == key)
            )

    def uploads(self, destination: str) -> list[MultipartUpload]:
        """Return the multipart uploads that were begun and not ended."""
        table = schema.multipart_upload
        with self._reading() as connection:
            rows = connection.execute(
                sa.select(table)
                .where(table.c.destination == destination)
                .order_by(table.c.begun_at, table.c.key)
            )
            return [
                MultipartUpload(row.destination, row.key, row.upload_id, row.begun_at)
                for row in rows
            ]

    def _take_title(
        self, connection: sa.Connection, name: str, ae_title: str, now_s: float, until: float
    ) -> None:
        table = schema.agent_ae_title
        insert = self._insert(connection, table)
        # One statement, so two agents that start at once cannot both take it.
        taken = connection.execute(
            insert.values(ae_title=ae_title, name=name, alive_until=until)
            .on_conflict_do_update(
                index_elements=["ae_title"],
                set_={"name": name, "alive_until": until},
                where=sa.or_(table.c.name == name, table.c.alive_until <= now_s),
            )
            .returning(table.c.ae_title)
        )
        if taken.one_or_none() is None:
            raise CatalogError(
                f"another live agent uses the AE title {ae_title}",
                hint="give every agent AE titles of its own in [sources.<name>] ae_titles",
            )


def _events(connection: sa.Connection, wanted: sa.Select[tuple[Any, ...]]) -> list[LedgerEvent]:
    return [
        LedgerEvent(
            row.event_id, row.at, row.kind, row.source, row.study_instance_uid,
            row.destination, row.sop_instance_uid, row.attempt, row.detail,
        )
        for row in connection.execute(wanted)
    ]  # fmt: skip


def _grouped(
    connection: sa.Connection, first: sa.Column[Any], second: sa.Column[Any]
) -> Sequence[AnyRow]:
    return connection.execute(
        sa.select(first, second, sa.func.count()).group_by(first, second).order_by(first, second)
    ).all()


def _counts(
    connection: sa.Connection, column: sa.Column[Any], *where: sa.ColumnElement[bool]
) -> dict[str, int]:
    rows = connection.execute(
        sa.select(column, sa.func.count()).where(*where).group_by(column).order_by(column)
    )
    return {row[0]: row[1] for row in rows}


def _add(counts: dict[_Key, int], key: _Key, count: int) -> None:
    counts[key] = counts.get(key, 0) + count
