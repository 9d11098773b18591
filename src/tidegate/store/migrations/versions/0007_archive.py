"""Where jobs and allocations go that are past retention."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tidegate.store.types import WITHOUT_ROWID, Name, Real, Word

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_ZERO = sa.text("0")


def _amounts() -> list[sa.Column[int]]:
    names = ("cpu_milli", "memory_bytes", "disk_bytes")
    return [sa.Column(name, sa.BigInteger, nullable=False, server_default=_ZERO) for name in names]


def upgrade() -> None:
    """Make the tables; servers of the version before do not know them and simply delete."""
    op.create_table(
        "archived_jobs",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("finished_at", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", Name, nullable=False),
        sa.Column("owner", Name, nullable=False),
        sa.Column("queue", Name, nullable=False),
        sa.Column("priority", sa.SmallInteger, nullable=False),
        sa.Column("status", Word, nullable=False),
        *_amounts(),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("task_count", sa.Integer, nullable=False),
        sa.Column("tasks_succeeded", sa.Integer, nullable=False, server_default=_ZERO),
        sa.Column("tasks_failed", sa.Integer, nullable=False, server_default=_ZERO),
        sa.Column("tasks_cancelled", sa.Integer, nullable=False, server_default=_ZERO),
        sa.Column("peak_memory_bytes", sa.BigInteger),
        sa.Column("peak_memory_with_cache_bytes", sa.BigInteger),
        sa.Column("cpu_seconds", Real),
        sa.Column("wall_seconds", Real),
        sa.Column("read_bytes", sa.BigInteger),
        sa.Column("written_bytes", sa.BigInteger),
        sa.Column("enforced_by", Word),
        **WITHOUT_ROWID,
    )
    op.create_index("archived_jobs_finished", "archived_jobs", ["finished_at"])
    op.create_table(
        "archived_allocations",
        sa.Column("job_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("released_at", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("worker_id", Name, nullable=False),
        *_amounts(),
        sa.Column("allocated_at", sa.BigInteger, nullable=False),
        **WITHOUT_ROWID,
    )
    op.create_index("archived_allocations_released", "archived_allocations", ["released_at"])


def downgrade() -> None:
    """Remove them, and with them what was archived."""
    op.drop_table("archived_allocations")
    op.drop_table("archived_jobs")
