"""What DuckDB reads from a Parquet file, as rows or as blocks of text, in constant memory.

The text is the one that PostgreSQL's COPY and MySQL's LOAD DATA read by default: values between tabs, rows between newlines,
`\\N` for null, and backslashes before what has a meaning. DuckDB writes it into a FIFO in a thread of its own, beside Python:
5 million rows of 8 columns take 3.7 s on two cores, as tuples in Python 4.7 s.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import _duckdb as duckdb

from tidegate.workloads.literals import quote, quote_name

_BLOCK_BYTES = 1 << 18
_PIPE_BYTES = 1 << 20
_FETCH_ROWS = 2048
_TEXT = "FORMAT csv, HEADER false, DELIMITER '\t', QUOTE '', ESCAPE '', NULLSTR '\\N', USE_TMP_FILE false"
_ESCAPES = (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"))


def escaped(text: str) -> str:
    """The SQL expression for a text as it stands in a block."""
    for char, escape in _ESCAPES:
        text = f"replace({text}, {quote(char)}, {quote(escape)})"
    return text


def rows(con: duckdb.DuckDBPyConnection, query: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a query one by one, fetched in batches."""
    cursor = con.cursor()
    try:
        cursor.execute(query)
        while batch := cursor.fetchmany(_FETCH_ROWS):
            yield from batch
    finally:
        cursor.close()


@contextmanager
def blocks(con: duckdb.DuckDBPyConnection, query: str, folder: str) -> Iterator[Iterator[bytes]]:
    """The rows of a query as text, in blocks of up to 256 KiB that may end within a row.

    Whoever leaves early ends the query. What goes wrong in DuckDB is raised at the end of the blocks.
    """
    own = tempfile.mkdtemp(prefix="rows-", dir=folder)
    path = os.path.join(own, "fifo")
    os.mkfifo(path, 0o600)
    writer = _Writer(con.cursor(), query, path)
    try:
        writer.start()
        yield writer.blocks()
    finally:
        writer.stop()
        os.unlink(path)
        os.rmdir(own)


class _Writer:
    """The thread in which DuckDB writes, and the end of the FIFO that is read."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, query: str, path: str) -> None:
        self._cursor = cursor
        self._text = f"COPY ({query}) TO {quote(path)} ({_TEXT})"
        self._reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._held: int | None = os.open(
            path, os.O_WRONLY | os.O_CLOEXEC
        )  # no end before DuckDB has opened it
        os.set_blocking(self._reader, True)
        with suppress(OSError):  # less is allowed: then it is slower
            fcntl.fcntl(self._reader, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="tidegate-rows", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def blocks(self) -> Iterator[bytes]:
        while block := os.read(self._reader, _BLOCK_BYTES):
            yield block
        self._thread.join()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Reads on until DuckDB has let go: it would wait for ever to open a FIFO that nobody reads."""
        while self._thread.is_alive():
            self._cursor.interrupt()
            if not os.read(self._reader, _BLOCK_BYTES):
                break
        self._thread.join()
        os.close(self._reader)
        self._cursor.close()

    def _run(self) -> None:
        try:
            self._cursor.execute(self._text)
        except BaseException as error:  # noqa: BLE001  raised to the reader
            self._error = error
        finally:
            assert self._held is not None
            os.close(self._held)
            self._held = None


def columns_of(con: duckdb.DuckDBPyConnection, path: str) -> list[tuple[str, str]]:
    """Names and DuckDB types of a Parquet file's columns."""
    return [(row[0], row[1]) for row in con.execute(f"DESCRIBE FROM read_parquet({quote(path)})").fetchall()]


def select(expressions: list[tuple[str, str]], source: str, where: str = "") -> str:
    """A SELECT of expressions under names."""
    listed = ", ".join(f"{expression} AS {quote_name(name)}" for expression, name in expressions)
    return f"SELECT {listed} FROM {source}{f' WHERE {where}' if where else ''}"
