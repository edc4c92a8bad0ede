"""Give studies that are listed without a usable Study Instance UID a table of their own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cloudmig.catalog.schema import UtcTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table. It is empty until the next sweep finds such studies."""
    op.create_table(
        "unnamed_study",
        sa.Column("unnamed_id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("source", sa.String(length=128), nullable=False),
        sa.Column("answer_sha256", sa.String(length=64), nullable=False),
        sa.Column("study_date", sa.Date(), nullable=True),
        sa.Column("instances_claimed", sa.Integer(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("first_seen_at", UtcTime(), nullable=False),
        sa.Column("last_sweep_id", NUMBER, nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("released_at", UtcTime(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("unnamed_id", name=op.f("pk_unnamed_study")),
        sa.UniqueConstraint(
            "source", "answer_sha256", name=op.f("uq_unnamed_study_source_answer_sha256")
        ),
    )


def downgrade() -> None:
    """Refuse: the ledger tells of what the table holds, and an older version would not count it."""
    raise NotImplementedError("a catalog does not go back")
