"""Files that DuckDB does not read by itself become Parquet once, when they are registered as sources."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import _duckdb as duckdb

from tidegate.ports import TaskContext
from tidegate.workloads import duckdb_session
from tidegate.workloads.duckdb_errors import QueryFacts
from tidegate.workloads.errors import TaskError
from tidegate.workloads.literals import quote
from tidegate.workloads.tables.model import parse_options
from tidegate.workloads.tables.reading import extract

_FILE = "rows.parquet"


def convert(context: TaskContext) -> Mapping[str, Any]:
    """Write `rows.parquet` and answer what `inspect_run.run` answers, with `file`, and of a workbook `sheet` and `bad_cells`.

    A row that cannot be taken as it stands fails the file: a source has no place for bad rows, an ingest job has. Raises
    TaskError.
    """
    spec = context.spec
    path = spec["paths"][0]
    facts = QueryFacts(
        memory_bytes=context.resources.memory_bytes,
        disk_bytes=context.resources.disk_bytes,
        path_names={path: os.path.basename(path), context.staging: "(staging)"},
    )
    with duckdb_session.explained(facts):
        con = duckdb_session.open_session(context.resources, context.staging, (), [path])
        more = _CONVERTERS[spec["format"]](con, context, path)
        made = os.path.join(context.staging, _FILE)
        described = con.execute(f"DESCRIBE FROM read_parquet({quote(made)})").fetchall()
        counted = con.execute(f"SELECT count(*) FROM read_parquet({quote(made)})").fetchone()
    return {
        "file": _FILE,
        "format": "parquet",
        "columns": [{"name": row[0], "type": row[1]} for row in described],
        "row_count": int(counted[0]) if counted else 0,
        "options": {},
        "size_bytes": os.stat(made).st_size,
        "file_count": 1,
        **more,
    }


def _excel(con: duckdb.DuckDBPyConnection, context: TaskContext, path: str) -> dict[str, Any]:
    options = replace(parse_options(context.spec["options"]), sheet=context.spec.get("sheet"), max_bad_rows=0)
    made = extract(con, path, options, context.staging, progress=lambda rows, share: context.progress(share))
    return {"sheet": context.spec.get("sheet"), "bad_cells": made.bad_cell_count}


def _arrow(con: duckdb.DuckDBPyConnection, context: TaskContext, path: str) -> dict[str, Any]:
    """An Arrow IPC file (Feather, version 2) or stream, batch by batch."""
    try:
        arrow = importlib.import_module("pyarrow")
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise TaskError(
            "Arrow files as sources need the package 'pyarrow' on the machine that reads them: pip install 'tidegate[arrow]'. "
            "Or write the file as Parquet.",
            code="missing_package",
        ) from None
    arrow.set_cpu_count(1)
    arrow.set_io_thread_count(1)
    try:
        with arrow.memory_map(path) as source:
            schema, batches = _opened(arrow, source)
            target = os.path.join(context.staging, _FILE)
            with parquet.ParquetWriter(target, schema, compression="snappy") as writer:
                for batch in batches:
                    writer.write_batch(batch)
    except (arrow.ArrowException, OSError) as error:
        raise TaskError(
            f"The file {os.path.basename(path)!r} is no Arrow file that can be read: {str(error)[:500]}. Feather files of "
            "version 1 are not; write them again.",
            code="corrupt_file",
        ) from None
    return {}


def _opened(arrow: Any, source: Any) -> tuple[Any, Iterator[Any]]:
    """The schema and the batches of a file or a stream."""
    ipc = importlib.import_module("pyarrow.ipc")
    try:
        file = ipc.open_file(source)
    except arrow.ArrowInvalid:
        source.seek(0)
        stream = ipc.open_stream(source)
        return stream.schema, iter(stream)
    return file.schema, (file.get_batch(place) for place in range(file.num_record_batches))


_CONVERTERS: Mapping[str, Callable[[duckdb.DuckDBPyConnection, TaskContext, str], dict[str, Any]]] = {
    "excel": _excel,
    "arrow": _arrow,
}
