"""Data to query: two tables of random values that join one to one, written once per run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

MIB = 1024 * 1024
ROW_BYTES = 52
"""Bytes of a row in an uncompressed Parquet file: the values are random, so they hardly encode."""

_SCRIPT = """
import sys, duckdb
folder, rows = sys.argv[1], int(sys.argv[2])
connection = duckdb.connect(config={"threads": 2})
connection.execute("set enable_progress_bar = false")
for name, factor in (("left", 7919), ("right", 104729)):
    connection.execute(
        f"copy (select i * {factor} % {rows} as key, hash(i + {factor}) as x, hash(i * 3 + {factor}) as y,"
        f" hash(i * 7 + {factor})::double as z, format('{{:016x}}', hash(i * 5 + {factor})) as s"
        f" from range({rows}) t(i)) to '{folder}/{name}.parquet' (format parquet, compression uncompressed)"
    )
"""


def make_tables(folder: Path, total_bytes: int) -> int:
    """Write `left.parquet` and `right.parquet` of at least `total_bytes` together; their true size.

    Each `key` from 0 on stands once in each, in another order. Written by another process,
    so that this one stays small.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = total_bytes // (2 * ROW_BYTES) + 1
    subprocess.run([sys.executable, "-c", _SCRIPT, str(folder), str(rows)], check=True)
    size = sum(file.stat().st_size for file in folder.glob("*.parquet"))
    if size < total_bytes:
        raise RuntimeError(f"The tables have {size} bytes, not the {total_bytes} wanted.")
    return size
