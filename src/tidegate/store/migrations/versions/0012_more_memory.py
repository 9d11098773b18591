"""Tasks that ran out of memory are tried again with more."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Jobs that servers of the version before store may ask for no more, as it was."""
    op.add_column("jobs", sa.Column("max_memory_bytes", sa.BigInteger))
    op.add_column(
        "tasks", sa.Column("memory_raises", sa.Integer, nullable=False, server_default=sa.text("0"))
    )


def downgrade() -> None:
    op.drop_column("tasks", "memory_raises")
    op.drop_column("jobs", "max_memory_bytes")
