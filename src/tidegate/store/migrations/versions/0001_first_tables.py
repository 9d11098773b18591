"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SEQUENCES = ("job", "change", "event")
TABLES = (
    "allocations",
    "attempts",
    "events",
    "jobs",
    "queues",
    "sequences",
    "sources",
    "tasks",
    "workers",
)


def upgrade() -> None:
    """Make all tables of this version."""
    op.create_table(
        "allocations",
        sa.Column("job_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("worker_id", sa.String(255), nullable=False),
        sa.Column("cpu_milli", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("memory_bytes", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("disk_bytes", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("allocated_at", sa.BigInteger, nullable=False),
        sa.Column("released_at", sa.BigInteger),
        sa.Column("kept", sa.SmallInteger, nullable=False, server_default=sa.text("0")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "allocations_live",
        "allocations",
        ["worker_id"],
        sqlite_where=sa.text("released_at IS NULL"),
        postgresql_where=sa.text("released_at IS NULL"),
    )
    op.create_table(
        "attempts",
        sa.Column("job_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("worker_id", sa.String(255), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("claimed_at", sa.BigInteger),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("peak_memory_bytes", sa.BigInteger),
        sa.Column("peak_memory_with_cache_bytes", sa.BigInteger),
        sa.Column("cpu_seconds", sa.Float),
        sa.Column("wall_seconds", sa.Float),
        sa.Column("read_bytes", sa.BigInteger),
        sa.Column("written_bytes", sa.BigInteger),
        sa.Column("enforced_by", sa.String(16)),
        sa.Column("exit", sa.Text),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "events",
        sa.Column("job_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("task_number", sa.Integer),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("type", sa.String(16), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "jobs",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False
        ),
        sa.Column("kind", sa.String(255), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("queue", sa.String(255), nullable=False),
        sa.Column("priority", sa.SmallInteger, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("cpu_milli", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("memory_bytes", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("disk_bytes", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("timeout_s", sa.Float, nullable=False),
        sa.Column("max_attempts", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("cancel_requested_at", sa.BigInteger),
        sa.Column("change", sa.BigInteger, nullable=False),
        sa.Column("result_name", sa.String(255)),
        sa.Column("idempotency_key", sa.String(255)),
        sa.Column("request_digest", sa.String(255)),
        sa.Column("task_count", sa.Integer, nullable=False),
        sa.Column("tasks_scheduled", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("tasks_queued", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("tasks_running", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("tasks_succeeded", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("tasks_failed", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("tasks_cancelled", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("peak_memory_bytes", sa.BigInteger),
        sa.Column("peak_memory_with_cache_bytes", sa.BigInteger),
        sa.Column("cpu_seconds", sa.Float),
        sa.Column("wall_seconds", sa.Float),
        sa.Column("read_bytes", sa.BigInteger),
        sa.Column("written_bytes", sa.BigInteger),
        sa.Column("enforced_by", sa.String(16)),
        sa.Column("exit", sa.Text),
        sa.Column("spec", sa.Text, nullable=False),
    )
    op.create_index(
        "jobs_finished",
        "jobs",
        ["finished_at"],
        sqlite_where=sa.text("finished_at IS NOT NULL"),
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    op.create_index(
        "jobs_idempotency",
        "jobs",
        ["owner", "idempotency_key"],
        unique=True,
        sqlite_where=sa.text("idempotency_key IS NOT NULL"),
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_index(
        "jobs_not_succeeded",
        "jobs",
        ["status", "id"],
        sqlite_where=sa.text("status <> 'SUCCEEDED'"),
        postgresql_where=sa.text("status <> 'SUCCEEDED'"),
    )
    op.create_table(
        "queues",
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("weight", sa.Integer, nullable=False),
        sa.Column("max_concurrent", sa.Integer),
        sa.Column("paused", sa.SmallInteger, nullable=False),
        sa.Column("waiting", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("running", sa.Integer, nullable=False, server_default=sa.text("0")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "sequences",
        sa.Column("name", sa.String(16), primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "sources",
        sa.Column("name_key", sa.String(255), primary_key=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("reserved_by", sa.BigInteger),
        sa.Column("format", sa.String(16), nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("row_count", sa.BigInteger),
        sa.Column("size_bytes", sa.BigInteger),
        sa.Column("file_count", sa.Integer, nullable=False),
        sa.Column("job_id", sa.BigInteger),
        sa.Column("managed", sa.SmallInteger, nullable=False),
        sa.Column("columns", sa.Text, nullable=False),
        sa.Column("lineage", sa.Text, nullable=False),
        sa.Column("sql", sa.Text),
        sa.Column("options", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tasks",
        sa.Column("job_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("losses", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("queued_at", sa.BigInteger),
        sa.Column("not_before", sa.BigInteger),
        sa.Column("change", sa.BigInteger),
        sa.Column("exit", sa.Text),
        sa.Column("result", sa.Text),
        sa.Column("spec", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "tasks_change",
        "tasks",
        ["change"],
        sqlite_where=sa.text("change IS NOT NULL"),
        postgresql_where=sa.text("change IS NOT NULL"),
    )
    op.create_index(
        "tasks_scheduled",
        "tasks",
        ["not_before"],
        sqlite_where=sa.text("state = 'scheduled'"),
        postgresql_where=sa.text("state = 'scheduled'"),
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.String(255), primary_key=True),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("present", sa.SmallInteger, nullable=False),
        sa.Column("lease_until", sa.BigInteger, nullable=False),
        sa.Column("registered_at", sa.BigInteger, nullable=False),
        sa.Column("beat_at", sa.BigInteger, nullable=False),
        sa.Column("capacity_cpu_milli", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("capacity_memory_bytes", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("capacity_disk_bytes", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("allocatable_cpu_milli", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("allocatable_memory_bytes", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("allocatable_disk_bytes", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("allocated_cpu_milli", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("allocated_memory_bytes", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("allocated_disk_bytes", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("shrunk", sa.SmallInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("hostname", sa.String(255), nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("versions", sa.Text, nullable=False),
        sa.Column("rungs", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    sequences = sa.table("sequences", sa.column("name", sa.String), sa.column("value", sa.BigInteger))
    op.bulk_insert(sequences, [{"name": name, "value": 0} for name in SEQUENCES])


def downgrade() -> None:
    """Remove them."""
    for name in reversed(TABLES):
        op.drop_table(name)
