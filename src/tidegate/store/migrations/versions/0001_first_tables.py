"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tidegate.store.types import OPTIONS, WITHOUT_ROWID, Id, LongText, Name, Real, Word, has_partial_indexes

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
        sa.Column("worker_id", Name, nullable=False),
        sa.Column("cpu_milli", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("memory_bytes", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("disk_bytes", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("allocated_at", sa.BigInteger, nullable=False),
        sa.Column("released_at", sa.BigInteger),
        sa.Column("kept", sa.SmallInteger, nullable=False, server_default=sa.text("0")),
        **WITHOUT_ROWID,
    )
    if has_partial_indexes(dialect=op.get_bind().dialect):
        op.create_index(
            "allocations_live",
            "allocations",
            ["worker_id"],
            sqlite_where=sa.text("released_at IS NULL"),
            postgresql_where=sa.text("released_at IS NULL"),
        )
    else:
        covered = ["released_at", "worker_id", "kept", "cpu_milli", "memory_bytes", "disk_bytes"]
        op.create_index("allocations_live_covering", "allocations", covered)
    op.create_table(
        "attempts",
        sa.Column("job_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("state", Word, nullable=False),
        sa.Column("worker_id", Name, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("claimed_at", sa.BigInteger),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("peak_memory_bytes", sa.BigInteger),
        sa.Column("peak_memory_with_cache_bytes", sa.BigInteger),
        sa.Column("cpu_seconds", Real),
        sa.Column("wall_seconds", Real),
        sa.Column("read_bytes", sa.BigInteger),
        sa.Column("written_bytes", sa.BigInteger),
        sa.Column("enforced_by", Word),
        sa.Column("exit", LongText),
        **WITHOUT_ROWID,
    )
    op.create_table(
        "events",
        sa.Column("job_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("task_number", sa.Integer),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("type", Word, nullable=False),
        sa.Column("message", LongText, nullable=False),
        sa.Column("data", LongText, nullable=False),
        **WITHOUT_ROWID,
    )
    op.create_table(
        "jobs",
        sa.Column("id", Id, primary_key=True, autoincrement=False),
        sa.Column("kind", Name, nullable=False),
        sa.Column("name", LongText, nullable=False),
        sa.Column("owner", Name, nullable=False),
        sa.Column("queue", Name, nullable=False),
        sa.Column("priority", sa.SmallInteger, nullable=False),
        sa.Column("status", Word, nullable=False),
        sa.Column("cpu_milli", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("memory_bytes", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("disk_bytes", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("labels", LongText, nullable=False),
        sa.Column("timeout_s", Real, nullable=False),
        sa.Column("max_attempts", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("cancel_requested_at", sa.BigInteger),
        sa.Column("change", sa.BigInteger, nullable=False),
        sa.Column("result_name", Name),
        sa.Column("idempotency_key", Name),
        sa.Column("request_digest", Name),
        sa.Column("task_count", sa.Integer, nullable=False),
        sa.Column("tasks_scheduled", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("tasks_queued", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("tasks_running", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("tasks_succeeded", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("tasks_failed", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("tasks_cancelled", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("peak_memory_bytes", sa.BigInteger),
        sa.Column("peak_memory_with_cache_bytes", sa.BigInteger),
        sa.Column("cpu_seconds", Real),
        sa.Column("wall_seconds", Real),
        sa.Column("read_bytes", sa.BigInteger),
        sa.Column("written_bytes", sa.BigInteger),
        sa.Column("enforced_by", Word),
        sa.Column("exit", LongText),
        sa.Column("spec", LongText, nullable=False),
        **OPTIONS,
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
        sa.Column("name", Name, primary_key=True),
        sa.Column("weight", sa.Integer, nullable=False),
        sa.Column("max_concurrent", sa.Integer),
        sa.Column("paused", sa.SmallInteger, nullable=False),
        sa.Column("waiting", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("running", sa.Integer, nullable=False, server_default=sa.text("0")),
        **WITHOUT_ROWID,
    )
    op.create_table(
        "sequences",
        sa.Column("name", Word, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
        **WITHOUT_ROWID,
    )
    op.create_table(
        "sources",
        sa.Column("name_key", Name, primary_key=True),
        sa.Column("name", Name, nullable=False),
        sa.Column("reserved_by", sa.BigInteger),
        sa.Column("format", Word, nullable=False),
        sa.Column("path", LongText, nullable=False),
        sa.Column("owner", Name, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("row_count", sa.BigInteger),
        sa.Column("size_bytes", sa.BigInteger),
        sa.Column("file_count", sa.Integer, nullable=False),
        sa.Column("job_id", sa.BigInteger),
        sa.Column("managed", sa.SmallInteger, nullable=False),
        sa.Column("columns", LongText, nullable=False),
        sa.Column("lineage", LongText, nullable=False),
        sa.Column("sql", LongText),
        sa.Column("options", LongText, nullable=False),
        **WITHOUT_ROWID,
    )
    op.create_table(
        "tasks",
        sa.Column("job_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", LongText, nullable=False),
        sa.Column("state", Word, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("losses", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("queued_at", sa.BigInteger),
        sa.Column("not_before", sa.BigInteger),
        sa.Column("change", sa.BigInteger),
        sa.Column("exit", LongText),
        sa.Column("result", LongText),
        sa.Column("spec", LongText, nullable=False),
        **WITHOUT_ROWID,
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
        sa.Column("id", Name, primary_key=True),
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
        sa.Column("hostname", Name, nullable=False),
        sa.Column("labels", LongText, nullable=False),
        sa.Column("versions", LongText, nullable=False),
        sa.Column("rungs", LongText, nullable=False),
        **WITHOUT_ROWID,
    )
    sequences = sa.table("sequences", sa.column("name", sa.String), sa.column("value", sa.BigInteger))
    op.bulk_insert(sequences, [{"name": name, "value": 0} for name in SEQUENCES])


def downgrade() -> None:
    """Remove them."""
    for name in reversed(TABLES):
        op.drop_table(name)
