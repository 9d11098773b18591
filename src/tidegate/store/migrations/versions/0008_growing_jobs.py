"""Tasks with amounts of their own, and jobs with a last task."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tidegate.store.types import LongText, Real

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_AMOUNTS = ("cpu_milli", "memory_bytes", "disk_bytes")


def upgrade() -> None:
    """Servers of the version before see none of it: to them every task asks what its job asks."""
    for name in _AMOUNTS:
        op.add_column("tasks", sa.Column(name, sa.BigInteger))
    op.add_column("tasks", sa.Column("timeout_s", Real))
    op.add_column("jobs", sa.Column("last", LongText))
    op.add_column("jobs", sa.Column("last_number", sa.Integer))


def downgrade() -> None:
    op.drop_column("jobs", "last_number")
    op.drop_column("jobs", "last")
    for name in ("timeout_s", *reversed(_AMOUNTS)):
        op.drop_column("tasks", name)
