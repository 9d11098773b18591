"""Plain DuckDB in one process: `python -m benchmarks.plain THREADS OUT SQL` prints the seconds of connecting and COPY."""

from __future__ import annotations

import sys
import time

import duckdb

if __name__ == "__main__":
    threads, out, sql = sys.argv[1:]
    began = time.perf_counter()
    with duckdb.connect(":memory:", config={"threads": int(threads)}) as connection:
        connection.execute(f"COPY ({sql}) TO '{out}' (FORMAT parquet, COMPRESSION snappy)")
    print(time.perf_counter() - began)
