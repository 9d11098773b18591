"""DuckDB inside a sandbox: a warm instance, the attempt's limits, the locks, and the watch over a running
query.

The zygote calls `warm()` once; children inherit the open instance through the fork. That is safe because the
instance then has one thread, which `warm()` makes sure of. DuckDB 2.0's behaviour that this relies on is
held by `tests/facts`.

All workloads import `_duckdb`, the extension module of the package `duckdb`. The package around it (relations, pandas,
metadata) is not used here, and would add 9 MB of memory and 135 mappings to the zygote, which every fork copies.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import _duckdb as duckdb

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

_CONFIG: Mapping[str, str | bool | int | float | list[str]] = {
    "threads": 1,
    "async_threads": 0,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "allow_persistent_secrets": False,
    "python_enable_replacements": False,
    "errors_as_json": True,
    # Otherwise TRY_CAST of a column of a CSV file raises: the cast is moved into the reader, which knows no TRY.
    "disabled_optimizers": "type_pushdown",
}
# These belong to the connection, not to the instance, and are refused once the settings are locked.
_SHOW_PROGRESS = (
    "SET enable_progress_bar = true; SET enable_progress_bar_print = false; SET progress_bar_time = 0"
)
_LOCK = "SET enable_external_access = false; SET lock_configuration = true"
USUAL = Resources(1000, 256 * MIB, GIB)
"""What small jobs ask for. Their limits are set beforehand, and only what differs costs an attempt a statement."""
_set_handler: Callable[[int, Any], Any] = getattr(signal.signal, "__wrapped__", signal.signal)
"""`signal.signal` without its detour through enums, which takes 20 µs the first time in each fork."""
_POLL_S = 0.25
_FIRST_POLL_S = 0.1


_instance: duckdb.DuckDBPyConnection | None = None
_parsed: dict[str, Sequence[duckdb.Statement]] = {}
"""Statements that children find parsed, by their text."""


def warm() -> None:
    """Open the instance that children will inherit, and touch what every query needs.

    Raises BrokenInvariant if that started a thread: a fork would then lose it and could hang.
    """
    global _instance  # noqa: PLW0603  the one thing that is handed down by fork
    if _instance is not None:
        return
    instance = duckdb.connect(":memory:", config=dict(_CONFIG))
    instance.execute("SET GLOBAL TimeZone = 'UTC'")
    for name, value in _limits(USUAL).items():
        instance.execute(f"SET {name} = {value}")
    instance.execute("SET temp_directory = '.'")
    _touch(instance.cursor())
    started = len(os.listdir("/proc/self/task")) - len(sys._current_frames())
    if started:
        raise BrokenInvariant(f"DuckDB started {started} threads in the zygote; a fork would lose them.")
    _instance = instance
    parse(_SHOW_PROGRESS, _LOCK)


def parse(*texts: str) -> None:
    """Parse these now, so that `execute` need not do it in each child: up to 40 µs each. Call it after `warm`."""
    if _instance is not None:
        _parsed.update((text, _instance.extract_statements(text)) for text in texts)


def execute(
    con: duckdb.DuckDBPyConnection, text: str, values: Mapping[str, Any] | None = None
) -> duckdb.DuckDBPyConnection:
    """As `con.execute`. All statements of the text get the same values."""
    for statement in _parsed.get(text, (text,)):
        con.execute(statement, values)
    return con


def _touch(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_SHOW_PROGRESS)
    tiny = {"sql": "SELECT 1 AS x"}
    fd = os.memfd_create("warm")  # DuckDB locks what it writes: /dev/null may be locked by anybody
    copy = f"COPY (FROM query($sql)) TO '/proc/self/fd/{fd}' (FORMAT parquet, COMPRESSION snappy, USE_TMP_FILE false)"
    for _ in range(2):
        con.execute("DESCRIBE FROM query($sql)", tiny).fetchall()
        con.execute(copy, tiny).fetchone()
        con.execute("SELECT x FROM query($sql) AS t(x) LIMIT $limit", {**tiny, "limit": 1}).fetchmany(1)
    os.close(fd)
    con.close()


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
    usual = _limits(USUAL)
    for name, value in _limits(resources).items():
        if value != usual[name]:
            con.execute(f"SET {name} = {value}")
    if os.getcwd() != staging:  # else `.` is the same folder, and the statement is saved
        con.execute(f"SET temp_directory = {quote(staging)}")
    execute(con, _SHOW_PROGRESS)
    for view in views:
        con.execute(view)
    if paths := sorted(set(readable)):
        con.execute(f"SET allowed_paths = {literal(paths)}")
    execute(con, _LOCK)  # the folder for spilling, which is the staging folder, stays allowed
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
        _set_handler(signal.SIGALRM, self._on_alarm)
        signal.siginterrupt(signal.SIGALRM, False)  # no call of DuckDB's may fail for it
        _set_handler(signal.SIGTERM, self._on_term)
        signal.siginterrupt(signal.SIGTERM, False)
        signal.setitimer(signal.ITIMER_REAL, _FIRST_POLL_S, _POLL_S)

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """Whoever was told a share is also told the end. Of short queries there is nothing to tell but the result."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        _set_handler(signal.SIGALRM, signal.SIG_IGN)
        _set_handler(signal.SIGTERM, signal.SIG_DFL)
        if error is None and self._reached:
            self._progress(1.0)

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


def _limits(resources: Resources) -> dict[str, str]:
    """Settings of the instance and their values, as SQL. Only when set after connecting is the cap on spilling kept."""
    return {
        "memory_limit": f"'{memory_limit_bytes(resources.memory_bytes)}B'",
        "threads": str(thread_count(resources)),
        "max_temp_directory_size": f"'{resources.disk_bytes}B'",
    }
