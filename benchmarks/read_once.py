"""Reads one file into Parquet in one way, in a process of its own, and prints the seconds it took and its peak memory.

Each way imports its libraries itself: the others' must not count in its memory.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tidegate.core.resources import GIB, Resources


def _by_tidegate(path: str, folder: str) -> int:
    """As an ingest task does it, in the session that it has."""
    from tidegate.workloads import duckdb_session
    from tidegate.workloads.tables.model import parse_options
    from tidegate.workloads.tables.reading import extract

    duckdb_session.warm()
    con = duckdb_session.open_session(Resources(1000, GIB // 2, 8 * GIB), folder, (), [path])
    return extract(con, path, parse_options({}), folder).row_count


def _by_duckdb(path: str, folder: str) -> int:
    import _duckdb as duckdb

    con = duckdb.connect(":memory:", config={"threads": 1})
    copied = (
        f"COPY (FROM read_csv('{path}')) TO '{folder}/alone.parquet' (FORMAT parquet, COMPRESSION snappy)"
    )
    return int(con.execute(copied).fetchall()[0][0])


def _by_pandas(path: str, folder: str) -> int:
    """Pandas writes Parquet only with pyarrow, so it hands the frame to DuckDB."""
    import duckdb
    import pandas

    frame = pandas.read_excel(path, engine="openpyxl")
    con = duckdb.connect(":memory:", config={"threads": 1})
    con.register("frame", frame)
    con.execute(f"COPY (FROM frame) TO '{folder}/pandas.parquet' (FORMAT parquet, COMPRESSION snappy)")
    return len(frame)


WAYS: dict[str, Callable[[str, str], int]] = {
    "tidegate": _by_tidegate,
    "duckdb": _by_duckdb,
    "pandas": _by_pandas,
}


def main() -> None:
    way, path, folder, rows = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    began = time.perf_counter()
    done = WAYS[way](path, folder)
    took_s = time.perf_counter() - began
    if done != rows:
        raise SystemExit(f"{done} of {rows} rows were read")
    status = Path("/proc/self/status").read_text()  # rusage counts what the parent was before the exec
    print(json.dumps({"took_s": took_s, "peak_bytes": int(status.partition("VmHWM:")[2].split()[0]) * 1024}))


if __name__ == "__main__":
    main()
