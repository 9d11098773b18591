"""Loads one Parquet file into one database in a process of its own, and prints the seconds it took and its peak memory."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import _duckdb as duckdb

from tidegate.workloads.tables.model import Extract
from tidegate.workloads.targets.model import LoadOrder
from tidegate.workloads.targets.opening import open_target


def main() -> None:
    url, path, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
    con = duckdb.connect(
        ":memory:", config={"threads": len(os.sched_getaffinity(0)), "memory_limit": "200MB"}
    )
    with tempfile.TemporaryDirectory() as staging:
        began = time.perf_counter()
        target = open_target(url, con, staging)
        report = target.load(
            Extract(path, (), rows, 0, 0, None, 1), LoadOrder("t", os.urandom(32).hex()), lambda _: None
        )
        target.close()
        took_s = time.perf_counter() - began
    if report.inserted != rows:
        raise SystemExit(f"{report.inserted} of {rows} rows were inserted")
    status = Path("/proc/self/status").read_text()  # rusage counts what the parent was before the exec
    peak_bytes = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    print(json.dumps({"took_s": took_s, "peak_bytes": peak_bytes}))


if __name__ == "__main__":
    main()
