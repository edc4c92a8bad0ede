"""The tables of the catalog. Migrations make them; a test compares the two.

Per-instance rows (`open_instance`, `open_receipt`) live only while a study is open; the manifest
in the bucket is their permanent home.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, TypeAlias

import sqlalchemy as sa

__all__ = [
    "REVISION", "AnyRow", "UtcTime", "agent", "agent_ae_title", "bad_instance", "copy",
    "extra_object", "file_tally", "ledger_event", "metadata", "multipart_upload", "open_instance",
    "open_receipt", "quarantine_item", "question", "restore", "study", "study_answer", "sweep",
    "transfer", "unnamed_study", "waiting_verdict",
]  # fmt: skip

#: The migration that makes these tables: the newest, which a test checks.
REVISION = "0006"

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcTime(sa.types.TypeDecorator[dt.datetime]):
    """An aware UTC time. SQLite keeps no zone, so it is taken off and put back."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(
        self, value: dt.datetime | None, dialect: sa.Dialect
    ) -> dt.datetime | None:
        if value is None:
            return None
        assert value.tzinfo is not None, "times are aware"
        value = value.astimezone(dt.UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(
        self,
        value: dt.datetime | None,
        dialect: sa.Dialect,  # noqa: ARG002 - the signature is SQLAlchemy's
    ) -> dt.datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            return value.replace(tzinfo=dt.UTC)
        return value.astimezone(dt.UTC)


#: A row whose columns the type checker need not know.
AnyRow: TypeAlias = sa.Row[*tuple[Any, ...]]

#: A row number. SQLite counts by itself only in a column that is exactly INTEGER.
_Number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_UID = sa.String(64)
_Name = sa.String(128)
_Sha256 = sa.String(64)
_Key = sa.String(1024)


class _ToldText(sa.types.TypeDecorator[str]):
    """Text as a stranger gave it. PostgreSQL takes no NUL, SQLite shows nothing behind one."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:  # noqa: ARG002
        """Mark the places of NULs: values of a fixed length, with the rest of an older one."""
        return None if value is None else value.replace("\0", "\ufffd")


#: Seconds since 1970 by the database's clock: leases do not trust the clocks of agents.
_Epoch = sa.Double


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, _Number, primary_key=True, autoincrement=True)


sweep = sa.Table(
    "sweep",
    metadata,
    _number("sweep_id"),
    sa.Column("source", _Name, nullable=False),
    sa.Column("started_at", UtcTime, nullable=False),
    sa.Column("finished_at", UtcTime),
    sa.Column("notes", sa.JSON, nullable=False),
    sa.Index("ix_sweep_source", "source"),
)
# Two inventories of one source at once would each count the other's questions as answered.
sa.Index(
    "ix_sweep_one_unfinished", sweep.c.source, unique=True,
    sqlite_where=sa.text("finished_at IS NULL"), postgresql_where=sa.text("finished_at IS NULL"),
)  # fmt: skip

question = sa.Table(
    "question",
    metadata,
    sa.Column("sweep_id", sa.ForeignKey("sweep.sweep_id"), primary_key=True),
    sa.Column("question", sa.String(512), primary_key=True),
    sa.Column("answered", sa.Integer, nullable=False),
    sa.Column("verdict", sa.String(16), nullable=False),
    sa.Column("parent", sa.String(512), nullable=False),
    sa.Column("at", UtcTime, nullable=False),
)

study = sa.Table(
    "study",
    metadata,
    _number("study_id"),
    sa.Column("source", _Name, nullable=False),
    sa.Column("study_instance_uid", _UID, nullable=False),
    sa.Column("study_date", sa.Date),
    sa.Column("study_date_text", _ToldText, nullable=False),
    sa.Column("study_time_text", _ToldText, nullable=False),
    sa.Column("modalities", _ToldText, nullable=False),  # CT\SR, as DICOM joins values
    sa.Column("instances_claimed", sa.Integer),
    sa.Column("first_seen_at", UtcTime, nullable=False),
    sa.Column("last_sweep_id", _Number, nullable=False),
    sa.UniqueConstraint("source", "study_instance_uid"),
)

study_answer = sa.Table(
    "study_answer",
    metadata,
    # By number, not by UID: new studies are then appended, and no page is searched for.
    sa.Column("study_id", sa.ForeignKey("study.study_id"), primary_key=True),
    sa.Column("digest", sa.String(32), primary_key=True),
    sa.Column("patient_key", sa.Text, nullable=False),
    sa.Column("answer", sa.Text, nullable=False),  # JSON; patient data
    sa.Column("first_seen_at", UtcTime, nullable=False),
    sqlite_with_rowid=False,
)

# Listed without a usable Study Instance UID; see `cloudmig.catalog.unnamed`.
unnamed_study = sa.Table(
    "unnamed_study",
    metadata,
    _number("unnamed_id"),
    sa.Column("source", _Name, nullable=False),
    sa.Column("answer_sha256", _Sha256, nullable=False),
    sa.Column("study_date", sa.Date),
    sa.Column("instances_claimed", sa.Integer),
    sa.Column("answer", sa.Text, nullable=False),  # JSON; patient data
    sa.Column("first_seen_at", UtcTime, nullable=False),
    sa.Column("last_sweep_id", _Number, nullable=False),
    sa.Column("rule", sa.Text, nullable=False),  # What excludes it, once released.
    sa.Column("released_at", UtcTime),
    sa.Column("note", sa.Text, nullable=False),
    sa.UniqueConstraint("source", "answer_sha256"),
)

transfer = sa.Table(
    "transfer",
    metadata,
    _number("transfer_id"),
    sa.Column("source", _Name, nullable=False),
    sa.Column("study_instance_uid", _UID, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("study_date", sa.Date),
    # Sorts the newest study first and the dateless last on both databases with one index.
    sa.Column("newest_first", sa.Integer, nullable=False),
    sa.Column("spread", _Number, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("lease_owner", _Name),
    sa.Column("lease_until", _Epoch),
    sa.Column("not_before", _Epoch, nullable=False),
    sa.Column("reason", sa.String(64)),
    sa.Column("instances_inventory", sa.Integer),
    # What the source's list of studies said when that of the instances was taken.
    sa.Column("instances_counted", sa.Integer),
    sa.Column("strays", sa.Integer, nullable=False),
    sa.Column("listing_complete", sa.Boolean),
    sa.Column("listing_notes", sa.JSON, nullable=False),
    sa.Column("series_found", sa.Integer, nullable=False),
    sa.UniqueConstraint("source", "study_instance_uid"),
    sa.Index("ix_transfer_state", "state", "transfer_id"),
)
# What claim_next looks at. Rows that wait for their time lie in an index of their own, so that a
# hundred thousand studies in backoff cost a claim nothing.
_READY = sa.text("state = 'planned' AND not_before = 0")
sa.Index(
    "ix_transfer_ready",
    transfer.c.source, transfer.c.priority, transfer.c.newest_first, transfer.c.transfer_id,
    sqlite_where=_READY, postgresql_where=_READY,
)  # fmt: skip
_WAITING = sa.text("state = 'planned' AND not_before > 0")
sa.Index(
    "ix_transfer_waiting", transfer.c.source, transfer.c.not_before,
    sqlite_where=_WAITING, postgresql_where=_WAITING,
)  # fmt: skip
_MOVING = sa.text("state = 'moving'")
sa.Index(
    "ix_transfer_moving", transfer.c.source, transfer.c.lease_until,
    sqlite_where=_MOVING, postgresql_where=_MOVING,
)  # fmt: skip

copy = sa.Table(
    "copy",
    metadata,
    _number("copy_id"),
    sa.Column("transfer_id", sa.ForeignKey("transfer.transfer_id"), nullable=False),
    sa.Column("destination", _Name, nullable=False),
    sa.Column("storage_class", _Name, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("manifest_key", _Key),
    sa.Column("manifest_sha256", _Sha256),
    sa.Column("manifest_revision", sa.Integer, nullable=False),
    sa.Column("instances", sa.Integer),
    sa.Column("bytes", sa.BigInteger),
    sa.Column("completeness", sa.String(8), nullable=False),
    sa.Column("repairs", sa.Integer, nullable=False),
    sa.Column("verdict_how", sa.String(32)),
    sa.Column("verified_at", UtcTime),
    # When the look began that the newest word about this manifest revision comes from.
    sa.Column("judged_at", UtcTime),
    sa.UniqueConstraint("transfer_id", "destination"),
    sa.Index("ix_copy_state", "state", "copy_id"),
)

open_instance = sa.Table(
    "open_instance",
    metadata,
    sa.Column("transfer_id", sa.ForeignKey("transfer.transfer_id"), primary_key=True),
    sa.Column("sop_instance_uid", _UID, primary_key=True),
    sa.Column("series_instance_uid", _UID, nullable=False),
    sa.Column("sop_class_uid", _ToldText, nullable=False),
    sqlite_with_rowid=False,
)

open_receipt = sa.Table(
    "open_receipt",
    metadata,
    sa.Column("transfer_id", sa.ForeignKey("transfer.transfer_id"), primary_key=True),
    sa.Column("destination", _Name, primary_key=True),
    sa.Column("sop_instance_uid", _UID, primary_key=True),
    # Empty for the first content of a SOP Instance UID; a conflict lies beside it, by its digest.
    sa.Column("beside", _Sha256, primary_key=True),
    sa.Column("series_instance_uid", _UID, nullable=False),
    sa.Column("sop_class_uid", _ToldText, nullable=False),
    sa.Column("transfer_syntax_uid", sa.Text, nullable=False),
    sa.Column("slot", sa.String(16), nullable=False),
    sa.Column("key", _Key, nullable=False),
    sa.Column("version_id", sa.Text),
    sa.Column("offset_bytes", sa.BigInteger, nullable=False),
    sa.Column("length_bytes", sa.BigInteger),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("file_sha256", _Sha256, nullable=False),
    sa.Column("dataset_sha256", _Sha256, nullable=False),
    sa.Column("etag", sa.Text, nullable=False),
    sa.Column("storage_class", _Name, nullable=False),
    sa.Column("unexpected", sa.Boolean, nullable=False),
    sa.Column("stored_at", sa.String(40), nullable=False),  # As it stands in the manifest.
    sqlite_with_rowid=False,
)

bad_instance = sa.Table(
    "bad_instance",
    metadata,
    sa.Column("copy_id", sa.ForeignKey("copy.copy_id", ondelete="CASCADE"), primary_key=True),
    sa.Column("sop_instance_uid", _UID, primary_key=True),
    sa.Column("key", _Key, primary_key=True),
    sa.Column("finding", sa.String(64), nullable=False),
    sa.Column("version_id", sa.Text),
    sa.Column("etag", sa.Text, nullable=False),
)

# What the cloud said about a copy that was just being written: heard when its study has settled.
waiting_verdict = sa.Table(
    "waiting_verdict",
    metadata,
    sa.Column("copy_id", sa.ForeignKey("copy.copy_id", ondelete="CASCADE"), primary_key=True),
    sa.Column("manifest_revision", sa.Integer, nullable=False),
    sa.Column("judged_at", UtcTime, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
)

# What lies in a bucket and in no manifest; see `cloudmig.catalog.extra_objects`.
extra_object = sa.Table(
    "extra_object",
    metadata,
    _number("extra_id"),
    sa.Column("source", _Name, nullable=False),  # Empty where its archive is none of ours.
    sa.Column("destination", _Name, nullable=False),
    sa.Column("key", _Key, nullable=False),
    sa.Column("study_instance_uid", _UID, nullable=False),
    sa.Column("reason", sa.String(64), nullable=False),
    sa.Column("version_id", sa.Text),
    sa.Column("etag", sa.Text, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("judged_at", UtcTime, nullable=False),
    sa.Column("released_at", UtcTime),
    sa.Column("note", sa.Text, nullable=False),
    sa.UniqueConstraint("destination", "key"),
    sa.Index("ix_extra_object_study", "source", "study_instance_uid"),
)

# How many files of a directory source are what; see `cloudmig.catalog.file_tallies`.
file_tally = sa.Table(
    "file_tally",
    metadata,
    sa.Column("source", _Name, primary_key=True),
    sa.Column("account", sa.String(16), primary_key=True),
    sa.Column("kind", sa.String(32), primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("fingerprint", _Sha256, nullable=False),
    sa.Column("waits", sa.Boolean, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("released_at", UtcTime),
    sa.Column("note", sa.Text, nullable=False),
)

restore = sa.Table(
    "restore",
    metadata,
    sa.Column("destination", _Name, primary_key=True),
    sa.Column("key", _Key, primary_key=True),
    sa.Column("version_id", sa.String(128), primary_key=True),
    sa.Column("asked_at", UtcTime, primary_key=True),
    sa.Column("source", _Name, nullable=False),
    sa.Column("storage_class", _Name, nullable=False),
    sa.Column("tier", sa.String(32), nullable=False),
    sa.Column("promised_s", sa.Double, nullable=False),
    sa.Column("completed_at", UtcTime),
    sa.Column("took_s", sa.Double),
)

quarantine_item = sa.Table(
    "quarantine_item",
    metadata,
    _number("item_id"),
    sa.Column("source", _Name, nullable=False),
    sa.Column("study_instance_uid", _UID, nullable=False),
    sa.Column("sop_instance_uid", _UID),
    sa.Column("reason", sa.String(64), nullable=False),
    sa.Column("detail", sa.JSON, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("released_at", UtcTime),
    sa.Column("note", sa.Text, nullable=False),
    sa.Index("ix_quarantine_item_study", "source", "study_instance_uid", "sop_instance_uid"),
)

ledger_event = sa.Table(
    "ledger_event",
    metadata,
    _number("event_id"),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("source", _Name, nullable=False),
    sa.Column("study_instance_uid", sa.String(64), nullable=False),
    sa.Column("destination", _Name, nullable=False),
    sa.Column("sop_instance_uid", sa.String(64), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("detail", sa.JSON, nullable=False),
    sa.Index("ix_ledger_event_study", "study_instance_uid", "sop_instance_uid"),
)

multipart_upload = sa.Table(
    "multipart_upload",
    metadata,
    sa.Column("destination", _Name, primary_key=True),
    sa.Column("key", _Key, primary_key=True),
    sa.Column("upload_id", sa.Text, nullable=False),
    sa.Column("begun_at", UtcTime, nullable=False),
)

agent = sa.Table(
    "agent",
    metadata,
    sa.Column("name", _Name, primary_key=True),
    sa.Column("alive_until", _Epoch, nullable=False),
)

agent_ae_title = sa.Table(
    "agent_ae_title",
    metadata,
    sa.Column("ae_title", sa.String(16), primary_key=True),
    sa.Column("name", _Name, nullable=False),
    sa.Column("alive_until", _Epoch, nullable=False),
)
