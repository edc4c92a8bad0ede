"""Between records and database rows: the conversions and conditions that several concerns need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from cloudmig.catalog import schema
from cloudmig.catalog.records import CopyRow, TransferRow
from cloudmig.catalog.schema import AnyRow
from cloudmig.model.references import StudyRef
from cloudmig.model.states import CopyState, TransferState

__all__ = ["copy_row", "of_study", "rows_answered", "transfer_row", "with_copies"]


def copy_row(row: AnyRow) -> CopyRow:
    """Return a copy as it stands in its row."""
    return CopyRow(
        copy_id=row.copy_id,
        destination=row.destination,
        storage_class=row.storage_class,
        state=CopyState(row.state),
        manifest_key=row.manifest_key,
        manifest_sha256=row.manifest_sha256,
        manifest_revision=row.manifest_revision,
        instances=row.instances,
        bytes=row.bytes,
        completeness=row.completeness,
        repairs=row.repairs,
        verdict_how=row.verdict_how,
        verified_at=row.verified_at,
        judged_at=row.judged_at,
    )


def transfer_row(row: AnyRow, copies: Sequence[CopyRow]) -> TransferRow:
    """Return a transfer as it stands in its row, with its copies."""
    return TransferRow(
        transfer_id=row.transfer_id,
        source=row.source,
        study=StudyRef(row.study_instance_uid),
        state=TransferState(row.state),
        rule=row.rule,
        priority=row.priority,
        study_date=row.study_date,
        attempt=row.attempt,
        failures=row.failures,
        lease_owner=row.lease_owner,
        reason=row.reason,
        instances_inventory=row.instances_inventory,
        copies=tuple(copies),
    )


def of_study(
    table: sa.Table, source: str, study: StudyRef
) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    """Return the condition that a row is of this study of this source."""
    return (
        table.c.source == source,
        table.c.study_instance_uid == study.study_instance_uid,
    )


def rows_answered(rows: Iterable[dict[str, Any]], *, key: str) -> list[dict[str, Any]]:
    """Return one row for each study that was answered, told apart by one of its columns.

    Where a study is answered twice, the later answer wins, but the higher count is kept.
    """
    kept: dict[str, dict[str, Any]] = {}
    for row in rows:
        claims = [each["instances_claimed"] for each in (kept.get(row[key], row), row)]
        claimed = max((claim for claim in claims if claim is not None), default=None)
        kept[row[key]] = {**row, "instances_claimed": claimed}
    # In the order of the index: a page is then touched once and not once for every row.
    return [kept[name] for name in sorted(kept)]


def with_copies(connection: sa.Connection, rows: Sequence[AnyRow]) -> list[TransferRow]:
    """Return transfers with their copies, in the order of their rows."""
    table = schema.copy
    copies: dict[int, list[CopyRow]] = {row.transfer_id: [] for row in rows}
    for copy in connection.execute(
        sa.select(table).where(table.c.transfer_id.in_(list(copies))).order_by(table.c.copy_id)
    ):
        copies[copy.transfer_id].append(copy_row(copy))
    return [transfer_row(row, copies[row.transfer_id]) for row in rows]
