"""Make room for what the cloud side says: when it looked, what is extra, what was restored."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cloudmig.catalog.schema import UtcTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.String(length=128)
KEY = sa.String(length=1024)


def upgrade() -> None:
    """Add the column and the tables. What was verified before was judged when it was verified."""
    op.add_column("copy", sa.Column("judged_at", UtcTime(), nullable=True))
    op.execute(sa.text("UPDATE copy SET judged_at = verified_at"))
    _make_waiting_verdict()
    _make_extra_object()
    _make_restore()


def _make_waiting_verdict() -> None:
    op.create_table(
        "waiting_verdict",
        sa.Column("copy_id", NUMBER, nullable=False),
        sa.Column("manifest_revision", sa.Integer(), nullable=False),
        sa.Column("judged_at", UtcTime(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["copy_id"],
            ["copy.copy_id"],
            name=op.f("fk_waiting_verdict_copy_id_copy"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("copy_id", name=op.f("pk_waiting_verdict")),
    )


def _make_extra_object() -> None:
    op.create_table(
        "extra_object",
        sa.Column("extra_id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("source", NAME, nullable=False),
        sa.Column("destination", NAME, nullable=False),
        sa.Column("key", KEY, nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=True),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("judged_at", UtcTime(), nullable=False),
        sa.Column("released_at", UtcTime(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("extra_id", name=op.f("pk_extra_object")),
        sa.UniqueConstraint("destination", "key", name=op.f("uq_extra_object_destination_key")),
    )
    op.create_index("ix_extra_object_study", "extra_object", ["source", "study_instance_uid"])


def _make_restore() -> None:
    op.create_table(
        "restore",
        sa.Column("destination", NAME, nullable=False),
        sa.Column("key", KEY, nullable=False),
        sa.Column("version_id", sa.String(length=128), nullable=False),
        sa.Column("asked_at", UtcTime(), nullable=False),
        sa.Column("source", NAME, nullable=False),
        sa.Column("storage_class", NAME, nullable=False),
        sa.Column("tier", sa.String(length=32), nullable=False),
        sa.Column("promised_s", sa.Double(), nullable=False),
        sa.Column("completed_at", UtcTime(), nullable=True),
        sa.Column("took_s", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint(
            "destination", "key", "version_id", "asked_at", name=op.f("pk_restore")
        ),
    )


def downgrade() -> None:
    """Refuse: the ledger tells of what the tables hold, and an older version would not count it."""
    raise NotImplementedError("a catalog does not go back")
