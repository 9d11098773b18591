"""Attempts that an orderly stop put back, which are neither tries of the job nor losses."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Count from now on; what was put back before stays counted as lost."""
    op.add_column("tasks", sa.Column("put_back", sa.Integer, nullable=False, server_default=sa.text("0")))


def downgrade() -> None:
    op.drop_column("tasks", "put_back")
