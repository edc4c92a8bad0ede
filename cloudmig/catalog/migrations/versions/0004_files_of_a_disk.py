"""Make room for what a directory source holds beside studies: files, by what they are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cloudmig.catalog.schema import UtcTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

NAME = sa.String(length=128)


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "file_tally",
        sa.Column("source", NAME, nullable=False),
        sa.Column("account", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("waits", sa.Boolean(), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("released_at", UtcTime(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("source", "account", "kind", name=op.f("pk_file_tally")),
    )


def downgrade() -> None:
    """Refuse: the ledger tells of what the table holds, and an older version would not count it."""
    raise NotImplementedError("a catalog does not go back")
