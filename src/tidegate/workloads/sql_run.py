"""Runs one query inside the sandbox: views, locks, then a streaming COPY, or a bounded number of rows as
JSON.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import _duckdb as duckdb
from _duckdb._sqltypes import DuckDBPyType

from tidegate.core.names import RESULT_PREFIX
from tidegate.ports import TaskContext
from tidegate.workloads import duckdb_session
from tidegate.workloads.duckdb_errors import QueryFacts
from tidegate.workloads.errors import TaskError
from tidegate.workloads.export_run import write_arrow, write_xlsx, xlsx_cast
from tidegate.workloads.json_values import Convert, converter, json_cast
from tidegate.workloads.literals import quote_name
from tidegate.workloads.readers import check_headers, path_names, view_statement
from tidegate.workloads.types import parquet_cast

_COPY = {
    "parquet": "(FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE {rows})",
    "csv": "(FORMAT csv, HEADER true)",
    "jsonl": "(FORMAT json)",
}
_QUERY = "FROM query($sql)"
_DESCRIBE = f"DESCRIBE {_QUERY}"
_FETCH_ROWS = 256
KEPT_BY_PARQUET = frozenset({
    "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "FLOAT", "DOUBLE",
    "VARCHAR", "BLOB", "DATE", "TIMESTAMP", "UUID",
})  # fmt: skip
"""Types that a column still has when it is read back from a Parquet file."""

_Column = tuple[Any, ...]
"""A row of DESCRIBE: name, type, and more that is not used."""


def warm() -> None:
    """Called once by the zygote, before it forks."""
    duckdb_session.warm()
    usual_rows = duckdb_session.row_group_rows(duckdb_session.USUAL)
    duckdb_session.parse(_DESCRIBE, _copy_text(_QUERY, "parquet", usual_rows))


def run(context: TaskContext) -> Mapping[str, Any]:
    """Run the query of the spec and write what it answers into the staging folder.

    Answers facts about the file, by the spec's `output`: of a source `file`, `row_count`, `column_count`,
    `columns`, `size_bytes`; of rows `file`, `row_count`, `truncated`, `columns`; of an export `file`,
    `row_count`, `size_bytes`. Raises TaskError.
    """
    spec = context.spec
    inputs: Sequence[Mapping[str, Any]] = spec.get("inputs", ())
    facts = QueryFacts(
        sql=spec["sql"],
        memory_bytes=context.resources.memory_bytes,
        disk_bytes=context.resources.disk_bytes,
        source_names=tuple(source["name"] for source in inputs),
        path_names={**path_names(inputs), context.staging: "(staging)"},
    )
    for source in inputs:
        check_headers(source["format"], source["paths"], source["options"])
    with duckdb_session.explained(facts):
        con = duckdb_session.open_session(
            context.resources, context.staging, map(view_statement, inputs), path_names(inputs)
        )
    output = spec.get("output", {"kind": "source"})
    with duckdb_session.watched(con, facts, context.progress):
        if output["kind"] == "inline":
            answer = _rows(con, spec["sql"], context.staging, output["max_rows"], output["max_bytes"])
        elif output["kind"] == "file":
            answer = _export(con, spec["sql"], context, output["format"])
        else:
            name = spec.get("result_name") or f"{RESULT_PREFIX}{context.key.job_id}"
            answer = _source(con, spec["sql"], context, name)
    return answer


def _source(con: duckdb.DuckDBPyConnection, sql: str, context: TaskContext, name: str) -> dict[str, Any]:
    file = f"{name}.parquet"
    path = os.path.join(context.staging, file)
    columns = _columns(con, sql)
    row_count = _copy(con, sql, path, "parquet", duckdb_session.row_group_rows(context.resources), columns)
    size_bytes = _check_parquet(path)
    described = columns
    if not _kept_by_parquet(columns):
        described = con.execute("DESCRIBE FROM read_parquet($path)", {"path": path}).fetchall()
    return {
        "file": file,
        "row_count": row_count,
        "column_count": len(described),
        "columns": [{"name": row[0], "type": row[1]} for row in described],
        "size_bytes": size_bytes,
    }


def _export(con: duckdb.DuckDBPyConnection, sql: str, context: TaskContext, kind: str) -> dict[str, Any]:
    file = f"export.{kind}"
    path = os.path.join(context.staging, file)
    columns = _columns(con, sql) if kind not in ("csv", "jsonl") else []
    if kind in ("arrow", "xlsx"):
        row_count = _by_library(con, sql, path, kind, columns)
        return {"file": file, "row_count": row_count, "size_bytes": Path(path).stat().st_size}
    row_count = _copy(con, sql, path, kind, duckdb_session.row_group_rows(context.resources), columns)
    return {"file": file, "row_count": row_count, "size_bytes": Path(path).stat().st_size}


def _by_library(
    con: duckdb.DuckDBPyConnection, sql: str, path: str, kind: str, columns: Sequence[_Column]
) -> int:
    """Stream the query into a file of which DuckDB does not know the format; its rows."""
    names, query = [str(column[0]) for column in columns], _QUERY
    if kind == "xlsx":
        query = _cast(_QUERY, names, [xlsx_cast(one) for one in _types(con, columns)])
    con.execute(query, {"sql": sql})
    return write_arrow(con, path) if kind == "arrow" else write_xlsx(con, names, path, os.path.dirname(path))


def _copy(
    con: duckdb.DuckDBPyConnection,
    sql: str,
    path: str,
    kind: str,
    group_rows: int,
    columns: Sequence[_Column],
) -> int:
    """Stream the query into a file; its rows. `query()` takes the text as a value and refuses all but one
    SELECT.
    """
    query = _QUERY
    if not _kept_by_parquet(columns):
        query = _cast(query, [column[0] for column in columns], list(map(parquet_cast, _types(con, columns))))
    values = {"sql": sql, "path": path}
    row = duckdb_session.execute(con, _copy_text(query, kind, group_rows), values).fetchone()
    return int(row[0]) if row else 0


def _copy_text(query: str, kind: str, group_rows: int) -> str:
    return f"COPY ({query}) TO $path {_COPY[kind].format(rows=group_rows)}"


def _columns(con: duckdb.DuckDBPyConnection, sql: str) -> list[_Column]:
    """Names, made distinct by DuckDB (`a`, `a_1`), and types of the query's columns as text."""
    return duckdb_session.execute(con, _DESCRIBE, {"sql": sql}).fetchall()


def _types(con: duckdb.DuckDBPyConnection, columns: Sequence[_Column]) -> list[DuckDBPyType]:
    # Of the connection, not of the module: `duckdb.sqltype` would open a second instance with threads of its
    # own.
    return [con.sqltype(column[1]) for column in columns]


def _kept_by_parquet(columns: Sequence[_Column]) -> bool:
    """Whether Parquet gives all columns back under the type they had, so that nobody has to ask the file."""
    return all(column[1] in KEPT_BY_PARQUET for column in columns)


def _cast(query: str, names: Sequence[str], casts: Sequence[str | None]) -> str:
    """The query with some of its columns cast; columns go by place, since their names need not be
    distinct.
    """
    if not any(casts):
        return query
    aliases = [f"c{index}" for index in range(len(names))]
    wanted = [
        f"{f'CAST({alias} AS {cast})' if cast else alias} AS {quote_name(name)}"
        for alias, cast, name in zip(aliases, casts, names, strict=True)
    ]
    return f"SELECT {', '.join(wanted)} {query} AS t({', '.join(aliases)})"


def _check_parquet(path: str) -> int:
    """The file's bytes. One whose end is not a Parquet footer must not be published, whatever DuckDB said."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size_bytes = os.fstat(fd).st_size
        if os.pread(fd, 4, max(size_bytes - 4, 0)) != b"PAR1":
            raise TaskError("The result file is not whole. Is the disk full?", code="internal")
    finally:
        os.close(fd)
    return size_bytes


def _rows(
    con: duckdb.DuckDBPyConnection, sql: str, staging: str, max_rows: int, max_bytes: int
) -> dict[str, Any]:
    described = _columns(con, sql)
    names, types = [column[0] for column in described], _types(con, described)
    query = _cast(_QUERY, names, [json_cast(one) for one in types])
    con.execute(f"{query} LIMIT $limit", {"sql": sql, "limit": max_rows + 1})
    with (Path(staging) / "rows.json").open("w", encoding="utf-8", errors="replace") as file:
        row_count, truncated = _write_rows(
            file.write, _lines(con, [converter(one) for one in types]), max_rows, max_bytes
        )
    columns = [{"name": name, "type": str(one)} for name, one in zip(names, types, strict=True)]
    return {"file": "rows.json", "row_count": row_count, "truncated": truncated, "columns": columns}


def _write_rows(write: Any, lines: Iterator[str], max_rows: int, max_bytes: int) -> tuple[int, bool]:
    """Write rows as one JSON array until one of the bounds; how many, and whether there were more."""
    row_count, size = 0, 2
    truncated = False
    write("[")
    for line in lines:
        size += len(line.encode()) + 2
        if row_count == max_rows or size > max_bytes:
            truncated = True
            break
        write(",\n" + line if row_count else line)
        row_count += 1
    write("]")
    return row_count, truncated


def _lines(con: duckdb.DuckDBPyConnection, converts: Sequence[Convert | None]) -> Iterator[str]:
    while rows := con.fetchmany(_FETCH_ROWS):
        for row in rows:
            values = [
                value if value is None or convert is None else convert(value)
                for value, convert in zip(row, converts, strict=True)
            ]
            yield json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
