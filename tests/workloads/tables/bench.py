"""Reads files as a runner does, in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb

from tidegate.workloads.tables import reading
from tidegate.workloads.tables.model import Extract, parse_options


class Bench:
    """A folder, a connection, and both together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        config: dict[str, Any] = {
            "threads": 1,
            "async_threads": 0,
            "disabled_optimizers": "type_pushdown",
        }  # as sessions have it
        self.con = duckdb.connect(":memory:", config=config)
        self.runs = 0

    def write(self, data: bytes, name: str = "table.csv") -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    def extract(self, data: bytes | Path, name: str = "table.csv", **options: Any) -> Extract:
        path = data if isinstance(data, Path) else self.write(data, name)
        self.runs += 1
        staging = self.folder / f"staging{self.runs}"
        staging.mkdir()
        return reading.extract(self.con, str(path), parse_options(options), str(staging))

    def rows(self, read: Extract) -> list[tuple[Any, ...]]:
        return self.con.execute("FROM read_parquet($path)", {"path": read.path}).fetchall()

    def bad(self, read: Extract) -> list[tuple[Any, ...]]:
        assert read.bad_rows_path is not None
        return self.con.execute("FROM read_parquet($path)", {"path": read.bad_rows_path}).fetchall()
