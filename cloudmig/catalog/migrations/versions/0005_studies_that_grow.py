"""Make room for what the source counted when it last listed the instances of a study."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. Of what was moved before nobody knows: one plan has it looked at again."""
    op.add_column("transfer", sa.Column("instances_counted", sa.Integer(), nullable=True))


def downgrade() -> None:
    """Refuse: an older version would not know which studies were looked at again."""
    raise NotImplementedError("a catalog does not go back")
