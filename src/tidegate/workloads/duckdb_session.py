"""DuckDB inside a sandbox: a warm instance, the attempt's limits, the locks, and the watch over a running
query.

The zygote calls `warm()` once; children inherit the open instance through the fork. That is safe because the
instance then has one thread, which `warm()` makes sure of. DuckDB 2.0's behaviour that this relies on is
held by `tests/facts`.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import duckdb

from tidegate.core.resources import GIB, KIB, MIB, Resources
from tidegate.errors import BrokenInvariant
from tidegate.workloads.duckdb_errors import QueryFacts, explain, memory_error
from tidegate.workloads.errors import TaskError
from tidegate.workloads.literals import literal, quote

OUTSIDE_BYTES = 48 * MIB
"""Memory of an attempt beside DuckDB's: Python, and what it inherits from the zygote (35 MiB, counted where no group is)."""
MEMORY_SHARE = 0.85
"""Share of the rest that DuckDB is told. Measured in sandboxes: 6 to 24 MiB above `memory_limit` in sorts, joins and
aggregations with 144 to 336 MiB; docs/decisions/duckdb-memory.md."""
THREAD_BYTES = 125_000_000
"""Memory a thread needs: two threads with 50 MB each failed a sort that one with 100 MB finished."""
_LEAST_MEMORY_BYTES = 16 * MIB

_WARM: Mapping[str, str | bool | int | float | list[str]] = {
    "threads": 1,
    "async_threads": 0,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "allow_persistent_secrets": False,
    "python_enable_replacements": False,
    "errors_as_json": True,
}
_POLL_S = 0.25
_FIRST_POLL_S = 0.1

_instance: duckdb.DuckDBPyConnection | None = None


def warm() -> None:
    """Open the instance that children will inherit, and touch what every query needs.

    Raises BrokenInvariant if that started a thread: a fork would then lose it and could hang.
    """
    global _instance  # noqa: PLW0603  the one thing that is handed down by fork
    if _instance is not None:
        return
    instance = duckdb.connect(":memory:", config=dict(_WARM))
    instance.execute("SET GLOBAL TimeZone = 'UTC'")
    con = instance.cursor()
    con.execute("; ".join(_limits(Resources(1000, 256 * MIB, GIB), "/nonexistent")))
    tiny = {"sql": "SELECT 1 AS x"}
    for _ in range(2):
        con.execute("DESCRIBE FROM query($sql)", tiny).fetchall()
        con.execute(
            "COPY (FROM query($sql)) TO '/dev/null' (FORMAT parquet, COMPRESSION snappy)", tiny
        ).fetchone()
        con.execute("SELECT x FROM query($sql) AS t(x) LIMIT $limit", {**tiny, "limit": 1}).fetchmany(1)
    con.close()
    threads = len(os.listdir("/proc/self/task"))
    if threads != threading.active_count():
        raise BrokenInvariant(
            f"DuckDB started {threads - threading.active_count()} threads in the zygote; a fork would lose them."
        )
    _instance = instance


def open_session(
    resources: Resources, staging: str, views: Iterable[str], readable: Iterable[str]
) -> duckdb.DuckDBPyConnection:
    """A connection with the attempt's limits, its inputs as views, and everything else locked.

    `views` are CREATE VIEW statements. The order matters: views may be made while files can still be opened,
    then what may be opened is listed, then the rest is shut, then the settings are locked. None of it can be
    undone.
    """
    warm()
    if _instance is None:
        raise BrokenInvariant("warm() left no instance.")
    # A connection of its own: random numbers of the inherited one would be the same in every child.
    con = _instance.cursor()
    con.execute("; ".join(_limits(resources, staging)))
    for view in views:
        con.execute(view)
    con.execute("; ".join(_locks(staging, readable)))
    return con


def memory_limit_bytes(limit_bytes: int) -> int:
    """What DuckDB may plan with, of an attempt's memory limit: 0.85 of what is left above 48 MiB, at least
    16 MiB.
    """
    return max(int(MEMORY_SHARE * (limit_bytes - OUTSIDE_BYTES)), _LEAST_MEMORY_BYTES)


def thread_count(resources: Resources) -> int:
    """Threads for an attempt: its CPUs rounded up, but at most one for every 125 MB of `memory_limit`; at
    least 1.
    """
    wanted = -(-resources.cpu_milli // 1000)
    return max(1, min(wanted, memory_limit_bytes(resources.memory_bytes) // THREAD_BYTES))


def row_group_rows(resources: Resources) -> int:
    """Rows of a Parquet row group, which each thread gathers in memory before it writes them.

    Such that rows of 1 KiB take an eighth of `memory_limit` together; between 20,480 and DuckDB's 122,880, in steps of
    its vectors of 2,048. With 122,880 a join ran out of 144 MiB that finished with 20,000.
    """
    share = memory_limit_bytes(resources.memory_bytes) // thread_count(resources) // (8 * KIB)
    return min(max(share // 2048 * 2048, 20_480), 122_880)


@contextmanager
def explained(facts: QueryFacts) -> Iterator[None]:
    """Around everything DuckDB does: its errors, and running out of memory beside it, become TaskErrors."""
    try:
        yield
    except duckdb.Error as error:
        raise explain(error, facts) from None
    except MemoryError:
        raise memory_error(facts.memory_bytes) from None


@contextmanager
def watched(
    con: duckdb.DuckDBPyConnection, facts: QueryFacts, progress: Callable[[float], None]
) -> Iterator[None]:
    """Around a query that may run long: reports progress, obeys SIGTERM, and explains errors as `explained`
    does.

    Python runs signal handlers between the pieces that DuckDB cuts a query into, so neither needs a thread: that
    would cost each query half a millisecond. Before and after, SIGTERM ends the process by its default action. In a
    piece that takes long it has to wait; the keeper kills after its grace.
    """
    watch = _Watch(con, progress)
    try:
        with watch, explained(facts):
            yield
    except BaseException:
        watch.raise_if_cancelled()
        raise


class _Cancelled(BaseException):
    """Raised by the handler of SIGTERM; DuckDB makes an error of its own of it."""


class _Watch:
    """The handlers of SIGTERM and of a timer while a query runs."""

    def __init__(self, con: duckdb.DuckDBPyConnection, progress: Callable[[float], None]) -> None:
        self._con = con
        self._progress = progress
        self._reached = 0.0
        self._cancelled = False

    def raise_if_cancelled(self) -> None:
        if self._cancelled:
            raise TaskError(
                "The query was cancelled while it ran.", code="interrupted", reason="cancelled"
            ) from None

    def __enter__(self) -> None:
        signal.signal(signal.SIGALRM, self._on_alarm)
        signal.siginterrupt(signal.SIGALRM, False)  # no call of DuckDB's may fail for it
        signal.signal(signal.SIGTERM, self._on_term)
        signal.siginterrupt(signal.SIGTERM, False)
        signal.setitimer(signal.ITIMER_REAL, _FIRST_POLL_S, _POLL_S)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _on_term(self, number: int, frame: object) -> None:
        self._cancelled = True
        raise _Cancelled

    def _on_alarm(self, number: int, frame: object) -> None:
        self._look()

    def _look(self) -> None:
        """DuckDB starts again from 0 with each pipeline; what is told only grows, and 1 is kept for the
        end.
        """
        share = min(self._con.query_progress() / 100, 0.99)
        if share > self._reached:
            self._reached = share
            self._progress(share)


def _limits(resources: Resources, staging: str) -> list[str]:
    threads = thread_count(resources)
    return [
        f"SET memory_limit = '{memory_limit_bytes(resources.memory_bytes)}B'",
        *([f"SET threads = {threads}"] if threads != _WARM["threads"] else []),
        f"SET temp_directory = {quote(os.path.join(staging, 'spill'))}",
        # Only when set after connecting is this cap kept.
        f"SET max_temp_directory_size = '{resources.disk_bytes}B'",
        # These three belong to the connection, not to the instance, and are refused once the settings are
        # locked.
        "SET enable_progress_bar = true",
        "SET enable_progress_bar_print = false",
        "SET progress_bar_time = 0",
    ]


def _locks(staging: str, readable: Iterable[str]) -> list[str]:
    paths = sorted(set(readable))
    return [
        *([f"SET allowed_paths = {literal(paths)}"] if paths else []),
        f"SET allowed_directories = {literal([staging])}",
        "SET enable_external_access = false",
        "SET lock_configuration = true",
    ]
