"""The tables. Instants are integers: microseconds since 1970 in UTC, so that every database keeps them exactly.

JSON is text. There are no foreign keys: every write is conditional and counted, and `check()` recounts all of it.
Columns that may be long stand last, so that lists need not read them.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    text,
)

REVISIONS = ("0001",)
"""Every schema revision from first to last; held equal to the migration scripts by a test."""

metadata = MetaData()

_Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite keeps only an INTEGER key as the row's own id
_Name = String(255)
_Word = String(16)


def _count(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default=text("0"))


def _amounts(prefix: str = "") -> list[Column[int]]:
    names = ("cpu_milli", "memory_bytes", "disk_bytes")
    return [Column(prefix + name, BigInteger, nullable=False, server_default=text("0")) for name in names]


def _usage() -> list[Column[int] | Column[float] | Column[str]]:
    return [
        Column("peak_memory_bytes", BigInteger),
        Column("peak_memory_with_cache_bytes", BigInteger),
        Column("cpu_seconds", Float),
        Column("wall_seconds", Float),
        Column("read_bytes", BigInteger),
        Column("written_bytes", BigInteger),
        Column("enforced_by", _Word),
    ]


sequences = Table(
    "sequences",
    metadata,
    Column("name", _Word, primary_key=True),
    Column("value", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=False),
    Column("kind", _Name, nullable=False),
    Column("name", Text, nullable=False),
    Column("owner", _Name, nullable=False),
    Column("queue", _Name, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("status", _Word, nullable=False),
    *_amounts(),
    Column("labels", Text, nullable=False),
    Column("timeout_s", Float, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("finished_at", BigInteger),
    Column("cancel_requested_at", BigInteger),
    Column("change", BigInteger, nullable=False),
    Column("result_name", _Name),
    Column("idempotency_key", _Name),
    Column("request_digest", _Name),
    Column("task_count", Integer, nullable=False),
    *(_count(f"tasks_{s}") for s in ("scheduled", "queued", "running", "succeeded", "failed", "cancelled")),
    *_usage(),
    Column("exit", Text),
    Column("spec", Text, nullable=False),
)
# Jobs that succeeded are the many, and a list of them finds some at once; the others may be few among millions.
Index("jobs_not_succeeded", jobs.c.status, jobs.c.id, sqlite_where=text("status <> 'SUCCEEDED'"),
      postgresql_where=text("status <> 'SUCCEEDED'"))  # fmt: skip
Index("jobs_finished", jobs.c.finished_at, sqlite_where=text("finished_at IS NOT NULL"),
      postgresql_where=text("finished_at IS NOT NULL"))  # fmt: skip
Index("jobs_idempotency", jobs.c.owner, jobs.c.idempotency_key, unique=True,
      sqlite_where=text("idempotency_key IS NOT NULL"),
      postgresql_where=text("idempotency_key IS NOT NULL"))  # fmt: skip

tasks = Table(
    "tasks",
    metadata,
    Column("job_id", BigInteger, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("state", _Word, nullable=False),
    _count("attempts"),
    _count("losses"),
    Column("queued_at", BigInteger),
    Column("not_before", BigInteger),
    Column("change", BigInteger),
    Column("exit", Text),
    Column("result", Text),
    Column("spec", Text, nullable=False),
    sqlite_with_rowid=False,
)
# `change` is set while a task is queued, and stays with one that was cancelled while it waited; a start clears it. So the
# index holds what a scheduler has to hear of, not all tasks that ever were.
Index("tasks_change", tasks.c.change, sqlite_where=text("change IS NOT NULL"),
      postgresql_where=text("change IS NOT NULL"))  # fmt: skip
Index("tasks_scheduled", tasks.c.not_before, sqlite_where=text("state = 'scheduled'"),
      postgresql_where=text("state = 'scheduled'"))  # fmt: skip

attempts = Table(
    "attempts",
    metadata,
    Column("job_id", BigInteger, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("state", _Word, nullable=False),
    Column("worker_id", _Name, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("claimed_at", BigInteger),
    Column("ended_at", BigInteger),
    *_usage(),
    Column("exit", Text),
    sqlite_with_rowid=False,
)

allocations = Table(
    "allocations",
    metadata,
    Column("job_id", BigInteger, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("worker_id", _Name, nullable=False),
    *_amounts(),
    Column("allocated_at", BigInteger, nullable=False),
    Column("released_at", BigInteger),
    Column("kept", SmallInteger, nullable=False, server_default=text("0")),
    sqlite_with_rowid=False,
)
Index("allocations_live", allocations.c.worker_id, sqlite_where=text("released_at IS NULL"),
      postgresql_where=text("released_at IS NULL"))  # fmt: skip

events = Table(
    "events",
    metadata,
    Column("job_id", BigInteger, primary_key=True, autoincrement=False),
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("task_number", Integer),
    Column("at", BigInteger, nullable=False),
    Column("type", _Word, nullable=False),
    Column("message", Text, nullable=False),
    Column("data", Text, nullable=False),
    sqlite_with_rowid=False,
)

sources = Table(
    "sources",
    metadata,
    Column("name_key", _Name, primary_key=True),  # the name folded to lower case
    Column("name", _Name, nullable=False),
    Column(
        "reserved_by", BigInteger
    ),  # the job whose result will have this name; NULL for a source that exists
    Column("format", _Word, nullable=False),
    Column("path", Text, nullable=False),
    Column("owner", _Name, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("row_count", BigInteger),
    Column("size_bytes", BigInteger),
    Column("file_count", Integer, nullable=False),
    Column("job_id", BigInteger),
    Column("managed", SmallInteger, nullable=False),
    Column("columns", Text, nullable=False),
    Column("lineage", Text, nullable=False),
    Column("sql", Text),
    Column("options", Text, nullable=False),
    sqlite_with_rowid=False,
)

queues = Table(
    "queues",
    metadata,
    Column("name", _Name, primary_key=True),
    Column("weight", Integer, nullable=False),
    Column("max_concurrent", Integer),  # NULL: the default of the store; -1: no cap
    Column("paused", SmallInteger, nullable=False),
    _count("waiting"),
    _count("running"),
    sqlite_with_rowid=False,
)

workers = Table(
    "workers",
    metadata,
    Column("id", _Name, primary_key=True),
    Column("generation", Integer, nullable=False),
    Column("present", SmallInteger, nullable=False),  # 0 once it has left
    Column("lease_until", BigInteger, nullable=False),
    Column("registered_at", BigInteger, nullable=False),
    Column("beat_at", BigInteger, nullable=False),
    *_amounts("capacity_"),
    *_amounts("allocatable_"),
    *_amounts("allocated_"),
    # Its capacity fell below what it had allocated already: no fault of the ledger, so `check()` has to know.
    Column("shrunk", SmallInteger, nullable=False, server_default=text("0")),
    Column("hostname", _Name, nullable=False),
    Column("labels", Text, nullable=False),
    Column("versions", Text, nullable=False),
    Column("rungs", Text, nullable=False),
    sqlite_with_rowid=False,
)

wanted = Table(
    "wanted",
    MetaData(),
    Column("job_id", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    prefixes=["TEMPORARY"],
)
"""Of each connection by itself: the keys that a statement is about. To join it costs less than to spell them out."""
