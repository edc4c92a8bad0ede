"""Make the first catalog, with a ledger that can only grow."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cloudmig.catalog.schema import UtcTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

#: The ledger is the audit truth: the database itself refuses to change it.
SEALS = {
    "sqlite": [
        f"""
        CREATE TRIGGER ledger_event_refuses_{verb.lower()} BEFORE {verb} ON ledger_event
        BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END
        """
        for verb in ("UPDATE", "DELETE")
    ],
    "postgresql": [
        """
        CREATE FUNCTION refuse_ledger_change() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$
        """,
        """
        CREATE TRIGGER ledger_event_refuses_change BEFORE UPDATE OR DELETE ON ledger_event
        FOR EACH ROW EXECUTE FUNCTION refuse_ledger_change()
        """,
        """
        CREATE TRIGGER ledger_event_refuses_truncate BEFORE TRUNCATE ON ledger_event
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change()
        """,
    ],
}


def upgrade() -> None:
    """Make every table, then seal the ledger."""
    _make_inventory()
    _make_transfers()
    _make_copies()
    _make_open_rows()
    _make_ledger()
    _make_agents()
    for statement in SEALS[op.get_bind().dialect.name]:
        op.execute(statement)


def downgrade() -> None:
    """Refuse: the first catalog has nothing to go back to."""
    raise NotImplementedError("the first revision cannot be undone")


def _make_inventory() -> None:
    op.create_table(
        "sweep",
        sa.Column("sweep_id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("source", sa.String(length=128), nullable=False),
        sa.Column("started_at", UtcTime(), nullable=False),
        sa.Column("finished_at", UtcTime(), nullable=True),
        sa.Column("notes", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("sweep_id", name=op.f("pk_sweep")),
    )
    op.create_index(
        "ix_sweep_one_unfinished",
        "sweep",
        ["source"],
        unique=True,
        sqlite_where=sa.text("finished_at IS NULL"),
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_index("ix_sweep_source", "sweep", ["source"], unique=False)
    op.create_table(
        "question",
        sa.Column("sweep_id", NUMBER, nullable=False),
        sa.Column("question", sa.String(length=512), nullable=False),
        sa.Column("answered", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("parent", sa.String(length=512), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["sweep_id"], ["sweep.sweep_id"], name=op.f("fk_question_sweep_id")
        ),
        sa.PrimaryKeyConstraint("sweep_id", "question", name=op.f("pk_question")),
    )
    op.create_table(
        "study",
        sa.Column("study_id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("source", sa.String(length=128), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("study_date", sa.Date(), nullable=True),
        sa.Column("study_date_text", sa.Text(), nullable=False),
        sa.Column("study_time_text", sa.Text(), nullable=False),
        sa.Column("modalities", sa.Text(), nullable=False),
        sa.Column("instances_claimed", sa.Integer(), nullable=True),
        sa.Column("first_seen_at", UtcTime(), nullable=False),
        sa.Column("last_sweep_id", NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("study_id", name=op.f("pk_study")),
        sa.UniqueConstraint(
            "source", "study_instance_uid", name=op.f("uq_study_source_study_instance_uid")
        ),
    )
    op.create_table(
        "study_answer",
        sa.Column("study_id", NUMBER, nullable=False),
        sa.Column("digest", sa.String(length=32), nullable=False),
        sa.Column("patient_key", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("first_seen_at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.study_id"], name=op.f("fk_study_answer_study_id")
        ),
        sa.PrimaryKeyConstraint("study_id", "digest", name=op.f("pk_study_answer")),
        sqlite_with_rowid=False,
    )


def _make_transfers() -> None:
    op.create_table(
        "transfer",
        sa.Column("transfer_id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("source", sa.String(length=128), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("study_date", sa.Date(), nullable=True),
        sa.Column("newest_first", sa.Integer(), nullable=False),
        sa.Column("spread", NUMBER, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String(length=128), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("not_before", sa.Double(), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=True),
        sa.Column("instances_inventory", sa.Integer(), nullable=True),
        sa.Column("strays", sa.Integer(), nullable=False),
        sa.Column("listing_complete", sa.Boolean(), nullable=True),
        sa.Column("listing_notes", sa.JSON(), nullable=False),
        sa.Column("series_found", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("transfer_id", name=op.f("pk_transfer")),
        sa.UniqueConstraint(
            "source", "study_instance_uid", name=op.f("uq_transfer_source_study_instance_uid")
        ),
    )
    op.create_index(
        "ix_transfer_moving",
        "transfer",
        ["source", "lease_until"],
        unique=False,
        sqlite_where=sa.text("state = 'moving'"),
        postgresql_where=sa.text("state = 'moving'"),
    )
    op.create_index(
        "ix_transfer_ready",
        "transfer",
        ["source", "priority", "newest_first", "transfer_id"],
        unique=False,
        sqlite_where=sa.text("state = 'planned' AND not_before = 0"),
        postgresql_where=sa.text("state = 'planned' AND not_before = 0"),
    )
    op.create_index("ix_transfer_state", "transfer", ["state", "transfer_id"], unique=False)
    op.create_index(
        "ix_transfer_waiting",
        "transfer",
        ["source", "not_before"],
        unique=False,
        sqlite_where=sa.text("state = 'planned' AND not_before > 0"),
        postgresql_where=sa.text("state = 'planned' AND not_before > 0"),
    )


def _make_copies() -> None:
    op.create_table(
        "copy",
        sa.Column("copy_id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("transfer_id", NUMBER, nullable=False),
        sa.Column("destination", sa.String(length=128), nullable=False),
        sa.Column("storage_class", sa.String(length=128), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("manifest_key", sa.String(length=1024), nullable=True),
        sa.Column("manifest_sha256", sa.String(length=64), nullable=True),
        sa.Column("manifest_revision", sa.Integer(), nullable=False),
        sa.Column("instances", sa.Integer(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("completeness", sa.String(length=8), nullable=False),
        sa.Column("repairs", sa.Integer(), nullable=False),
        sa.Column("verdict_how", sa.String(length=32), nullable=True),
        sa.Column("verified_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["transfer_id"], ["transfer.transfer_id"], name=op.f("fk_copy_transfer_id")
        ),
        sa.PrimaryKeyConstraint("copy_id", name=op.f("pk_copy")),
        sa.UniqueConstraint(
            "transfer_id", "destination", name=op.f("uq_copy_transfer_id_destination")
        ),
    )
    op.create_index("ix_copy_state", "copy", ["state", "copy_id"], unique=False)
    op.create_table(
        "bad_instance",
        sa.Column("copy_id", NUMBER, nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=1024), nullable=False),
        sa.Column("finding", sa.String(length=64), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=True),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["copy_id"], ["copy.copy_id"], name=op.f("fk_bad_instance_copy_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("copy_id", "sop_instance_uid", "key", name=op.f("pk_bad_instance")),
    )


def _make_open_rows() -> None:
    op.create_table(
        "open_instance",
        sa.Column("transfer_id", NUMBER, nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("series_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_class_uid", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["transfer_id"], ["transfer.transfer_id"], name=op.f("fk_open_instance_transfer_id")
        ),
        sa.PrimaryKeyConstraint("transfer_id", "sop_instance_uid", name=op.f("pk_open_instance")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "open_receipt",
        sa.Column("transfer_id", NUMBER, nullable=False),
        sa.Column("destination", sa.String(length=128), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("beside", sa.String(length=64), nullable=False),
        sa.Column("series_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_class_uid", sa.Text(), nullable=False),
        sa.Column("transfer_syntax_uid", sa.Text(), nullable=False),
        sa.Column("slot", sa.String(length=16), nullable=False),
        sa.Column("key", sa.String(length=1024), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=True),
        sa.Column("offset_bytes", sa.BigInteger(), nullable=False),
        sa.Column("length_bytes", sa.BigInteger(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("file_sha256", sa.String(length=64), nullable=False),
        sa.Column("dataset_sha256", sa.String(length=64), nullable=False),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("storage_class", sa.String(length=128), nullable=False),
        sa.Column("unexpected", sa.Boolean(), nullable=False),
        sa.Column("stored_at", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(
            ["transfer_id"], ["transfer.transfer_id"], name=op.f("fk_open_receipt_transfer_id")
        ),
        sa.PrimaryKeyConstraint(
            "transfer_id", "destination", "sop_instance_uid", "beside", name=op.f("pk_open_receipt")
        ),
        sqlite_with_rowid=False,
    )


def _make_ledger() -> None:
    op.create_table(
        "ledger_event",
        sa.Column("event_id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=128), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("destination", sa.String(length=128), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_ledger_event")),
    )
    op.create_index("ix_ledger_event_study", "ledger_event", ["study_instance_uid"], unique=False)
    op.create_table(
        "quarantine_item",
        sa.Column("item_id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("source", sa.String(length=128), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.String(length=64), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("released_at", UtcTime(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("item_id", name=op.f("pk_quarantine_item")),
    )
    op.create_index(
        "ix_quarantine_item_study",
        "quarantine_item",
        ["source", "study_instance_uid"],
        unique=False,
    )


def _make_agents() -> None:
    op.create_table(
        "agent",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("alive_until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_agent")),
    )
    op.create_table(
        "agent_ae_title",
        sa.Column("ae_title", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("alive_until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("ae_title", name=op.f("pk_agent_ae_title")),
    )
    op.create_table(
        "multipart_upload",
        sa.Column("destination", sa.String(length=128), nullable=False),
        sa.Column("key", sa.String(length=1024), nullable=False),
        sa.Column("upload_id", sa.Text(), nullable=False),
        sa.Column("begun_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("destination", "key", name=op.f("pk_multipart_upload")),
    )
