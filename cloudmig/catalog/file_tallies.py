"""File tallies: how many entries of a disk are what, and which of them wait for a person.

Files that are no instance have no study, so no term of the closing equation counts them: they have
an equation of their own. Those in which images may hide wait in quarantine, all of one kind as one
item; a person's word settles it until other files are of that kind. Names of files stay in the
index of the source.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import sqlalchemy as sa

from cloudmig.catalog import schema
from cloudmig.catalog.database import Database
from cloudmig.catalog.records import FileTallyRow, QuarantineItem
from cloudmig.catalog.schema import AnyRow
from cloudmig.errors import CatalogError
from cloudmig.model.files import Account, FileGroup, FileTally
from cloudmig.model.quarantine import QuarantineReason

__all__ = ["FileTallyCalls"]


class FileTallyCalls(Database):
    """What lies on a disk."""

    def record_tallies(self, source: str, tallies: Sequence[FileTally], at: dt.datetime) -> None:
        """Write down what an inventory counted. What it did not count is there no more: zero."""
        with self._writing() as connection:
            held = {
                (row.tally.account, row.tally.kind): row
                for row in self._tallies(connection, source)
            }
            new = {(tally.account, tally.kind): tally for tally in tallies}
            for account, kind in held.keys() - new.keys():
                new[account, kind] = FileTally(account, kind, 0)
            for key in sorted(new, key=lambda key: (key[0].value, key[1])):
                before = held.get(key)
                if before is None or before.tally != new[key]:
                    self._record_tally(connection, source, new[key], at)

    def file_tallies(self, source: str | None = None) -> list[FileTallyRow]:
        """Return every count, by source, account and kind."""
        with self._reading() as connection:
            return self._tallies(connection, source)

    def release_files(self, group: FileGroup, *, at: dt.datetime, note: str) -> None:
        """Settle the files of one kind by a person's word, until others are of that kind."""
        table = schema.file_tally
        with self._writing() as connection:
            touched = connection.execute(
                sa.update(table)
                .where(
                    table.c.source == group.source,
                    table.c.account == group.account,
                    table.c.kind == group.kind,
                    *_waiting(),
                )
                .values(released_at=at, note=note)
            )
            if touched.rowcount != 1:
                raise CatalogError(
                    "these files are not in quarantine", hint="see `cloudmig quarantine list`"
                )
            self._append(
                connection, "files_released", at=at, source=group.source,
                detail={"account": group.account, "kind": group.kind, "note": note},
            )  # fmt: skip

    def _record_tally(
        self, connection: sa.Connection, source: str, tally: FileTally, at: dt.datetime
    ) -> None:
        told = {
            "account": tally.account.value, "kind": tally.kind, "count": tally.count,
            "size_bytes": tally.size_bytes, "fingerprint": tally.fingerprint,
            "waits": tally.waits,
        }  # fmt: skip
        row = {"source": source, **told, "at": at, "released_at": None, "note": ""}
        self._upsert(
            connection,
            schema.file_tally,
            [row],
            update=lambda new: {name: new[name] for name in row if name != "source"},
        )
        self._append(connection, "files_counted", at=at, source=source, detail=told)

    def _tallies(self, connection: sa.Connection, source: str | None) -> list[FileTallyRow]:
        table = schema.file_tally
        wanted = sa.select(table).order_by(table.c.source, table.c.account, table.c.kind)
        if source is not None:
            wanted = wanted.where(table.c.source == source)
        return [_row(row) for row in connection.execute(wanted)]

    def _file_items(
        self, connection: sa.Connection, source: str | None, *, released: bool
    ) -> list[QuarantineItem]:
        """Return kinds of files as what waits, or waited, for a person."""
        return [
            _item(row)
            for row in self._tallies(connection, source)
            if row.tally.waits and row.tally.count and (released or row.released_at is None)
        ]

    def _file_counts(self, connection: sa.Connection) -> int:
        """Return how many kinds of files wait."""
        counted = sa.select(sa.func.count()).select_from(schema.file_tally).where(*_waiting())
        return int(connection.execute(counted).scalar_one())


def _waiting() -> tuple[sa.ColumnElement[bool], ...]:
    table = schema.file_tally.c
    return (table.waits, table.count > 0, table.released_at.is_(None))


def _row(row: AnyRow) -> FileTallyRow:
    return FileTallyRow(
        source=row.source,
        tally=FileTally(
            Account(row.account), row.kind, row._mapping["count"], row.size_bytes, row.fingerprint,
            row.waits,
        ),
        at=row.at,
        released_at=row.released_at,
        note=row.note,
    )  # fmt: skip


def _item(row: FileTallyRow) -> QuarantineItem:
    tally = row.tally
    return QuarantineItem(
        item_id=0,
        source=row.source,
        study=FileGroup(row.source, tally.account.value, tally.kind),
        sop_instance_uid=None,
        reason=QuarantineReason.BROKEN_FILES,
        detail={
            "of": tally.account.value, "kind": tally.kind, "count": tally.count,
            "size_bytes": tally.size_bytes,
        },
        at=row.at,
        released_at=row.released_at,
        note=row.note,
    )  # fmt: skip
