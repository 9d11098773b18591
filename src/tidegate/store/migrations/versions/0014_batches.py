"""Tasks that run one after another in one sandbox, under one allocation."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Servers of the version before start no batches, and see the attempts of one as attempts that ask for nothing."""
    op.add_column("jobs", sa.Column("batch", sa.Integer, nullable=False, server_default=sa.text("1")))
    op.add_column("allocations", sa.Column("head_number", sa.Integer))
    op.add_column("allocations", sa.Column("head_attempt", sa.Integer))
    op.add_column(
        "allocations", sa.Column("sharing", sa.Integer, nullable=False, server_default=sa.text("1"))
    )


def downgrade() -> None:
    """Not while a batch runs."""
    for name in ("sharing", "head_attempt", "head_number"):
        op.drop_column("allocations", name)
    op.drop_column("jobs", "batch")
