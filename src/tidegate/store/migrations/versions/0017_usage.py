"""What the jobs of an hour used, kept for longer than the jobs, and what other installations say of theirs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tidegate.store.types import WITHOUT_ROWID, Name, Real, Short

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_COUNTED = ("jobs", "succeeded", "failed", "cancelled", "attempts")
_SPENT = (
    "cpu_seconds",
    "wall_seconds",
    "allocated_cpu_seconds",
    "allocated_gib_seconds",
    "peak_gib_seconds",
    "wait_seconds",
)


def upgrade() -> None:
    """What servers of the version before forget meanwhile is in the archive alone."""
    op.create_table(
        "usage_hours",
        sa.Column("hour", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("forgotten", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("owner", Short, primary_key=True),
        sa.Column("queue", Short, primary_key=True),
        sa.Column("kind", Name, primary_key=True),
        sa.Column("wait", sa.SmallInteger, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in _COUNTED),
        *(sa.Column(name, Real, nullable=False) for name in _SPENT),
        **WITHOUT_ROWID,
    )
    op.create_table(
        "statistics",
        sa.Column("owner", Short, primary_key=True),
        sa.Column("installation", Short, primary_key=True),
        sa.Column("since", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("version", Short, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in _COUNTED),
        *(sa.Column(name, Real, nullable=False) for name in _SPENT if name != "wait_seconds"),
        **WITHOUT_ROWID,
    )
    op.create_index("statistics_since", "statistics", ["since"])


def downgrade() -> None:
    op.drop_table("statistics")
    op.drop_table("usage_hours")
