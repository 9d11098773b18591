"""The tables. Instants are integers: microseconds since 1970 in UTC, so that every database keeps them exactly.

JSON is text. There are no foreign keys: every write is conditional and counted, and `check()` recounts all of it.
Columns that may be long stand last, so that lists need not read them.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, SmallInteger, String, Table, text

from tidegate.store.types import (
    OPTIONS,
    WITHOUT_ROWID,
    Id,
    LongText,
    Name,
    Real,
    Short,
    Word,
    has_no_partial_indexes,
    has_partial_indexes,
)

REVISIONS = (
    "0001",
    "0002",
    "0003",
    "0004",
    "0005",
    "0006",
    "0007",
    "0008",
    "0009",
    "0010",
    "0011",
    "0012",
    "0013",
    "0014",
    "0015",
    "0016",
    "0017",
)
"""Every schema revision from first to last; held equal to the migration scripts by a test."""

metadata = MetaData()


def _count(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default=text("0"))


def _amounts(prefix: str = "") -> list[Column[int]]:
    names = ("cpu_milli", "memory_bytes", "disk_bytes")
    return [Column(prefix + name, BigInteger, nullable=False, server_default=text("0")) for name in names]


def _usage() -> list[Column[int] | Column[float] | Column[str]]:
    return [
        Column("peak_memory_bytes", BigInteger),
        Column("peak_memory_with_cache_bytes", BigInteger),
        Column("cpu_seconds", Real),
        Column("wall_seconds", Real),
        Column("read_bytes", BigInteger),
        Column("written_bytes", BigInteger),
        Column("enforced_by", Word),
    ]


_COUNTED = ("jobs", "succeeded", "failed", "cancelled", "attempts")
_SPENT = (
    "cpu_seconds",
    "wall_seconds",
    "allocated_cpu_seconds",
    "allocated_gib_seconds",
    "peak_gib_seconds",
    "wait_seconds",
)

sequences = Table(
    "sequences",
    metadata,
    Column("name", Word, primary_key=True),
    Column("value", BigInteger, nullable=False),
    **WITHOUT_ROWID,
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=False),
    Column("kind", Name, nullable=False),
    Column("name", LongText, nullable=False),
    Column("owner", Name, nullable=False),
    Column("queue", Name, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("status", Word, nullable=False),
    *_amounts(),
    Column("labels", LongText, nullable=False),
    Column("timeout_s", Real, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("finished_at", BigInteger),
    Column("cancel_requested_at", BigInteger),
    Column("change", BigInteger, nullable=False),
    Column("result_name", Name),
    Column("idempotency_key", Name),
    Column("request_digest", Name),
    Column("task_count", Integer, nullable=False),
    *(_count(f"tasks_{s}") for s in ("scheduled", "queued", "running", "succeeded", "failed", "cancelled")),
    *_usage(),
    Column("exit", LongText),
    Column("spec", LongText, nullable=False),
    Column("last", LongText),  # JSON: the task that comes when all others have ended
    Column("last_number", Integer),  # NULL until it has come
    Column("max_memory_bytes", BigInteger),  # NULL: attempts ask for no more than the request
    Column("batch", Integer, nullable=False, server_default=text("1")),
    **OPTIONS,
)
# Jobs that succeeded are the many, and a list of them finds some at once; the others may be few among millions.
Index("jobs_not_succeeded", jobs.c.status, jobs.c.id, sqlite_where=text("status <> 'SUCCEEDED'"),
      postgresql_where=text("status <> 'SUCCEEDED'"))  # fmt: skip
# For the lists of owners with keys; a server without keys has the local owner alone and needs none.
Index("jobs_owner", jobs.c.owner, jobs.c.id, sqlite_where=text("owner <> 'local'"),
      postgresql_where=text("owner <> 'local'"))  # fmt: skip
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
    Column("name", LongText, nullable=False),
    Column("state", Word, nullable=False),
    _count("attempts"),
    _count("losses"),
    Column("queued_at", BigInteger),
    Column("not_before", BigInteger),
    Column("change", BigInteger),
    Column("exit", LongText),
    Column("result", LongText),
    Column("spec", LongText, nullable=False),
    _count("put_back"),
    # NULL: as its job
    Column("cpu_milli", BigInteger),
    Column("memory_bytes", BigInteger),
    Column("disk_bytes", BigInteger),
    Column("timeout_s", Real),
    _count("memory_raises"),
    **WITHOUT_ROWID,
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
    Column("state", Word, nullable=False),
    Column("worker_id", Name, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("claimed_at", BigInteger),
    Column("ended_at", BigInteger),
    *_usage(),
    Column("exit", LongText),
    **WITHOUT_ROWID,
)

allocations = Table(
    "allocations",
    metadata,
    Column("job_id", BigInteger, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("worker_id", Name, nullable=False),
    *_amounts(),
    Column("allocated_at", BigInteger, nullable=False),
    Column("released_at", BigInteger),
    Column("kept", SmallInteger, nullable=False, server_default=text("0")),
    # In a batch the head's row has the amounts until the last attempt has ended; the rows of the others name it, have none,
    # and are released by their own ends.
    Column("head_number", Integer),
    Column("head_attempt", Integer),
    Column(
        "sharing", Integer, nullable=False, server_default=text("1")
    ),  # attempts under it that have not ended
    **WITHOUT_ROWID,
)
# What is live is found without reading what was released: by an index on nothing else where the database has that, and
# where it has not, by one in which the live ones stand together with all that is asked of them.
Index("allocations_live", allocations.c.worker_id, sqlite_where=text("released_at IS NULL"),
      postgresql_where=text("released_at IS NULL")).ddl_if(callable_=has_partial_indexes)  # fmt: skip
Index("allocations_live_covering", allocations.c.released_at, allocations.c.worker_id, allocations.c.kept,
      allocations.c.cpu_milli, allocations.c.memory_bytes, allocations.c.disk_bytes,
      ).ddl_if(callable_=has_no_partial_indexes)  # fmt: skip

events = Table(
    "events",
    metadata,
    Column("job_id", BigInteger, primary_key=True, autoincrement=False),
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("task_number", Integer),
    Column("at", BigInteger, nullable=False),
    Column("type", Word, nullable=False),
    Column("message", LongText, nullable=False),
    Column("data", LongText, nullable=False),
    **WITHOUT_ROWID,
)

sources = Table(
    "sources",
    metadata,
    Column("name_key", Name, primary_key=True),  # owner and name, see `names.source_key`
    Column("name", Name, nullable=False),
    Column(
        "reserved_by", BigInteger
    ),  # the job whose result will have this name; NULL for a source that exists
    Column("format", Word, nullable=False),
    Column("path", LongText, nullable=False),
    Column("owner", Name, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("row_count", BigInteger),
    Column("size_bytes", BigInteger),
    Column("file_count", Integer, nullable=False),
    Column("job_id", BigInteger),
    Column("managed", SmallInteger, nullable=False),
    Column("columns", LongText, nullable=False),
    Column("lineage", LongText, nullable=False),
    Column("sql", LongText),
    Column("options", LongText, nullable=False),
    Column("roots", LongText),  # NULL: none
    Column("shared_key", Name),  # of a shared source its name in lower case, else NULL
    Column("parts", LongText),  # of a source made by loads; NULL: none
    **WITHOUT_ROWID,
)
Index("sources_shared", sources.c.shared_key, unique=True)

queues = Table(
    "queues",
    metadata,
    Column("name", Name, primary_key=True),
    Column("weight", Integer, nullable=False),
    Column("max_concurrent", Integer),  # NULL: the default of the store; -1: no cap
    Column("paused", SmallInteger, nullable=False),
    _count("waiting"),
    _count("running"),
    **WITHOUT_ROWID,
)

workers = Table(
    "workers",
    metadata,
    Column("id", Name, primary_key=True),
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
    Column("hostname", Name, nullable=False),
    Column("labels", LongText, nullable=False),
    Column("versions", LongText, nullable=False),
    Column("rungs", LongText, nullable=False),
    Column("draining", SmallInteger, nullable=False, server_default=text("0")),  # as `ports.Draining`
    Column("stats", LongText),  # JSON: how the worker's process does, as of its last beat
    # How much pressure it feels, by the beat at `level_at`. Older than its registration, that was told by another version.
    Column("level", SmallInteger),
    Column("level_since", BigInteger),
    Column("level_at", BigInteger),
    Column("readings", LongText),  # JSON
    **WITHOUT_ROWID,
)

samples = Table(
    "samples",
    metadata,
    Column("place", String(128), primary_key=True),  # `worker:<id>` or `server:<host>`
    Column("at", BigInteger, primary_key=True, autoincrement=False),  # begin of a minute
    Column("level", SmallInteger, nullable=False),
    Column("readings", LongText, nullable=False),  # JSON
    **WITHOUT_ROWID,
)
Index("samples_at", samples.c.at)

pressure_rules = Table(
    "pressure_rules",
    metadata,
    Column("name", Word, primary_key=True),  # `changes`: there is one row
    Column("changed_at", BigInteger, nullable=False),
    Column("changed_by", Name, nullable=False),
    Column("changes", LongText, nullable=False),  # JSON
    **WITHOUT_ROWID,
)

leader = Table(
    "leader",
    metadata,
    Column("name", Word, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("holder", Name),  # NULL when its last holder has resigned
    Column("lease_until", BigInteger, nullable=False),
    **WITHOUT_ROWID,
)

keys = Table(
    "api_keys",
    metadata,
    Column("id", Word, primary_key=True),
    Column("digest", String(64), nullable=False),  # SHA-256 of the key; the key itself is nowhere
    Column("owner", Name, nullable=False),
    Column("role", Word, nullable=False),
    Column("name", Name, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Name, nullable=False),
    Column("expires_at", BigInteger),
    Column("last_used_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("revoked_by", Name),
    **WITHOUT_ROWID,
)

audit = Table(
    "audit",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False),
    Column("actor", Name, nullable=False),
    Column("role", Word, nullable=False),
    Column("key_id", Word),
    Column("action", String(32), nullable=False),
    Column("object", Name, nullable=False),
    Column("outcome", String(32), nullable=False),
    Column("request_id", String(128)),
    Column("address", String(64)),
    Column("detail", LongText, nullable=False),
    **OPTIONS,
)
# Ids grow with time, so lists by time need no other. Each index is paid for by every submission, hence none for what was
# done or to what: rows of one owner are few enough to be looked through.
Index("audit_actor", audit.c.actor, audit.c.id)

alerts = Table(
    "alerts",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("rule", Name, nullable=False),
    Column("subject", Name, nullable=False),
    Column(
        "open_key", Name
    ),  # rule and subject while the episode lasts, so that there is one at a time; then NULL
    Column("level", SmallInteger, nullable=False),  # as `Level`
    Column("value", Real),
    Column("raised_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("resolved_at", BigInteger),
    Column("acknowledged_at", BigInteger),
    Column("acknowledged_by", Name),
    Column("told_level", SmallInteger, nullable=False),
    Column("told_at", BigInteger),
    Column("told_count", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("message", LongText, nullable=False),
    Column("moments", LongText, nullable=False),
    **OPTIONS,
)
Index("alerts_open", alerts.c.open_key, unique=True)

alert_notices = Table(
    "alert_notices",
    metadata,
    Column("alert_id", BigInteger, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("channel", Name, primary_key=True),
    Column("what", Word, nullable=False),
    Column("level", SmallInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("state", Word, nullable=False),
    Column("due_at", BigInteger),  # when it may be taken, again or at all; NULL once it is sent or given up
    Column("tries", Integer, nullable=False),
    Column("ended_at", BigInteger),
    Column("value", Real),
    Column("text", LongText, nullable=False),
    Column("error", LongText),
    **WITHOUT_ROWID,
)
Index("alert_notices_due", alert_notices.c.channel, alert_notices.c.due_at)

alert_silences = Table(
    "alert_silences",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("rule", Name),  # NULL: any
    Column("subject", Name),  # NULL: any
    Column("created_by", Name, nullable=False),
    Column("starts_at", BigInteger, nullable=False),
    Column("ends_at", BigInteger, nullable=False),
    Column("reason", LongText, nullable=False),
    **OPTIONS,
)

alert_rules = Table(
    "alert_rules",
    metadata,
    Column("rule", Name, primary_key=True),
    Column("changed_at", BigInteger, nullable=False),
    Column("changed_by", Name, nullable=False),
    Column("changes", LongText, nullable=False),
    **WITHOUT_ROWID,
)

alert_channels = Table(
    "alert_channels",
    metadata,
    Column("name", Name, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("worked_at", BigInteger),
    Column("failed_at", BigInteger),
    Column("error", LongText),
    **WITHOUT_ROWID,
)

# Results that are kept to be those of later tasks; see `kept`.
kept_results = Table(
    "kept_results",
    metadata,
    Column("owner", Name, primary_key=True),
    Column("digest", String(64), primary_key=True),
    Column("size_bytes", Integer, nullable=False),
    Column("used_at", BigInteger, nullable=False),
    Column("result", LongText, nullable=False),
    **WITHOUT_ROWID,
)
Index("kept_results_used", kept_results.c.used_at, kept_results.c.size_bytes)
# Parts of processes that crashed or stood still, for as long as they count and a while longer.
crashes = Table(
    "crashes",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False),
    Column("place", Name, nullable=False),
    Column("part", Word, nullable=False),
    Column("what", LongText, nullable=False),
    **OPTIONS,
)
Index("crashes_at", crashes.c.at)

# Processes that have begun and not ended in order: one that begins anew finds that it had crashed.
runs = Table(
    "runs",
    metadata,
    Column("place", Name, primary_key=True),
    Column("began_at", BigInteger, nullable=False),
    **WITHOUT_ROWID,
)

# One row, as `core.recovery.SafeMode`; none: normal, since ever.
safe_mode = Table(
    "safe_mode",
    metadata,
    Column("name", Word, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("mode", Word, nullable=False),
    Column("state", LongText, nullable=False),  # JSON
    **WITHOUT_ROWID,
)

# Tasks that took their keeper or their worker with them too often.
quarantine = Table(
    "quarantine",
    metadata,
    Column("job_id", BigInteger, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("released_at", BigInteger),
    Column("released_by", Name),
    Column("released_as", BigInteger),  # the job that runs it again
    **WITHOUT_ROWID,
)

# What is past retention, for those who want to know later what ran where and what it used: without what users wrote. Nothing
# of the service reads it. On PostgreSQL it may lie in a partition for each month, hence the instants in the keys.
archived_jobs = Table(
    "archived_jobs",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("finished_at", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Name, nullable=False),
    Column("owner", Name, nullable=False),
    Column("queue", Name, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("status", Word, nullable=False),
    *_amounts(),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("task_count", Integer, nullable=False),
    *(_count(f"tasks_{s}") for s in ("succeeded", "failed", "cancelled")),
    *_usage(),
    **WITHOUT_ROWID,
)
Index("archived_jobs_finished", archived_jobs.c.finished_at)

archived_allocations = Table(
    "archived_allocations",
    metadata,
    Column("job_id", BigInteger, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("released_at", BigInteger, primary_key=True, autoincrement=False),
    Column("worker_id", Name, nullable=False),
    *_amounts(),
    Column("allocated_at", BigInteger, nullable=False),
    **WITHOUT_ROWID,
)
Index("archived_allocations_released", archived_allocations.c.released_at)

# What the jobs of an hour used, see `usage`: of jobs that are forgotten, and, to spare a look at each, of those still there.
usage_hours = Table(
    "usage_hours",
    metadata,
    Column("hour", BigInteger, primary_key=True, autoincrement=False),  # its begin
    Column("forgotten", SmallInteger, primary_key=True, autoincrement=False),
    Column("owner", Short, primary_key=True),
    Column("queue", Short, primary_key=True),
    Column("kind", Name, primary_key=True),
    Column("wait", SmallInteger, primary_key=True, autoincrement=False),  # as `core.usage.wait_bucket`
    *(Column(name, BigInteger, nullable=False) for name in _COUNTED),
    *(Column(name, Real, nullable=False) for name in _SPENT),
    **WITHOUT_ROWID,
)

# What other installations say that they used.
statistics = Table(
    "statistics",
    metadata,
    Column("owner", Short, primary_key=True),
    Column("installation", Short, primary_key=True),
    Column("since", BigInteger, primary_key=True, autoincrement=False),
    Column("until", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("version", Short, nullable=False),
    *(Column(name, BigInteger, nullable=False) for name in _COUNTED),
    *(Column(name, Real, nullable=False) for name in _SPENT if name != "wait_seconds"),
    **WITHOUT_ROWID,
)
Index("statistics_since", statistics.c.since)

wanted = Table(
    "wanted",
    MetaData(),
    Column("job_id", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    prefixes=["TEMPORARY"],
)
"""Of each connection by itself: the keys that a statement is about. To join it costs less than to spell them out."""
