"""The lease of the leading server."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tidegate.store.types import WITHOUT_ROWID, Name, Word

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table with its one row: nobody has led yet."""
    op.create_table(
        "leader",
        sa.Column("name", Word, primary_key=True),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("holder", Name),
        sa.Column("lease_until", sa.BigInteger, nullable=False),
        **WITHOUT_ROWID,
    )
    leader = sa.table(
        "leader",
        sa.column("name", sa.String),
        sa.column("epoch", sa.BigInteger),
        sa.column("lease_until", sa.BigInteger),
    )
    op.bulk_insert(leader, [{"name": "scheduler", "epoch": 0, "lease_until": 0}])


def downgrade() -> None:
    """Remove it."""
    op.drop_table("leader")
