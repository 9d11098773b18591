"""Reads what is in files, inside the sandbox: format, columns, dialect, rows where that is known without
reading all.

The options it answers are complete: a query that uses them reads the same columns and types from now on, and
does not look at the file's beginning again to guess.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import _duckdb as duckdb

from tidegate.core.resources import KIB, MIB
from tidegate.ports import TaskContext
from tidegate.workloads import duckdb_session
from tidegate.workloads.duckdb_errors import QueryFacts
from tidegate.workloads.errors import TaskError
from tidegate.workloads.files import CONVERTED, compression_of
from tidegate.workloads.literals import literal, quote
from tidegate.workloads.readers import check_headers, reader_call

_HEAD_BYTES = 64 * KIB
_LONGEST_LINE_BYTES = 2_000_000
"""DuckDB's `max_line_size`."""
_READ_WHOLE_BYTES = 16 * MIB
"""Up to this size types are judged by all rows; a file this large takes well under a second."""
_SAMPLE_ROWS = 204_800
_LOOKED_AT = 32
"""Files of a source whose text is looked at; the first ones, evenly spread over the rest."""
_SCHEMAS = 1000


def warm() -> None:
    """Called once by the zygote, before it forks."""
    duckdb_session.warm()


def run(context: TaskContext) -> Mapping[str, Any]:
    """Answers `format`, `columns`, `row_count` (None where it would need a scan), `options`, `size_bytes`,
    `file_count`.

    Raises TaskError: `empty_file`, `not_text`, `corrupt_file`, `unlike_columns` and those of queries.
    """
    spec = context.spec
    if spec["format"] in CONVERTED:
        # Its readers would weigh on every fork of the zygote.
        from tidegate.workloads.convert_run import convert  # noqa: PLC0415

        return convert(context)
    paths: Sequence[str] = spec["paths"]
    facts = QueryFacts(
        memory_bytes=context.resources.memory_bytes,
        disk_bytes=context.resources.disk_bytes,
        path_names={path: os.path.basename(path) for path in paths} | {context.staging: "(staging)"},
    )
    _check_sizes(spec)
    _CHECKS[spec["format"]](paths, spec["options"])
    with duckdb_session.explained(facts):
        con = duckdb_session.open_session(context.resources, context.staging, (), paths)
    with duckdb_session.watched(con, facts, context.progress):
        options = _FIXERS[spec["format"]](con, spec)
        call = reader_call(spec["format"], paths, options)
        columns = con.execute(f"DESCRIBE FROM {call}").fetchall()
        row_count = _parquet_rows(con, paths) if spec["format"] == "parquet" else None
        con.execute(
            f"SELECT count(COLUMNS(*)) FROM (FROM {call} LIMIT 1)"
        ).fetchall()  # one row of each column
    return {
        "format": spec["format"],
        "columns": [{"name": row[0], "type": row[1]} for row in columns],
        "row_count": row_count,
        "options": options,
        "size_bytes": sum(spec["sizes_bytes"]),
        "file_count": len(paths),
    }


def _check_sizes(spec: Mapping[str, Any]) -> None:
    for path, size in zip(spec["paths"], spec["sizes_bytes"], strict=True):
        if size == 0 and (spec["format"] == "parquet" or len(spec["paths"]) == 1):
            raise TaskError(
                f"The file {os.path.basename(path)!r} is empty: it has no columns.", code="empty_file"
            )
    if not any(spec["sizes_bytes"]):
        raise TaskError(f"All {len(spec['paths'])} files are empty: they have no columns.", code="empty_file")


def _check_text(paths: Sequence[str], options: Mapping[str, Any]) -> None:
    """Nonsense is told by its first bytes: text in UTF-8 or Latin-1 holds no NUL. Keeps DuckDB from reading
    on in search of lines.
    """
    if str(options.get("encoding", "")).lower().startswith("utf-16"):
        return
    for path in _some(paths):
        if b"\0" in _head(path, _HEAD_BYTES):
            raise TaskError(
                f"The file {os.path.basename(path)!r} is no text: its beginning holds NUL bytes. "
                "Say its `format`, or its `options.encoding` if it is UTF-16.",
                code="not_text",
            )


def _check_csv(paths: Sequence[str], options: Mapping[str, Any]) -> None:
    """Text with ends of lines: DuckDB refuses lines above 2 MB too, but only after a long search."""
    _check_text(paths, options)
    for path in _some(paths):
        head = _head(path, _LONGEST_LINE_BYTES)
        if len(head) == _LONGEST_LINE_BYTES and b"\n" not in head and b"\r" not in head:
            raise TaskError(
                f"The file {os.path.basename(path)!r} is no CSV: no line ends in its first {_LONGEST_LINE_BYTES} bytes.",
                code="corrupt_file",
            )


def _check_magic(paths: Sequence[str], _: Mapping[str, Any]) -> None:
    for path in paths:
        with Path(path).open("rb") as file:
            start = file.read(4)
            file.seek(-min(4, os.fstat(file.fileno()).st_size), os.SEEK_END)
            if start != b"PAR1" or file.read() != b"PAR1":
                raise TaskError(
                    f"The file {os.path.basename(path)!r} is no whole Parquet file: it does not begin and end with PAR1.",
                    code="corrupt_file",
                )


def _head(path: str, size_bytes: int) -> bytes:
    compression = compression_of(path)
    try:
        if compression == "gzip":
            with gzip.open(path) as packed:
                return packed.read(size_bytes)
        with Path(path).open("rb") as file:
            return b"" if compression else file.read(size_bytes)
    except (OSError, EOFError) as error:
        raise TaskError(
            f"The file {os.path.basename(path)!r} cannot be read: {error}.", code="corrupt_file"
        ) from None


def _some(paths: Sequence[str]) -> Iterable[str]:
    return paths[:: max(1, len(paths) // _LOOKED_AT)][:_LOOKED_AT]


def _fix_csv(con: duckdb.DuckDBPyConnection, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Dialect and types as DuckDB sniffs them, completed where its sample could not show them, and pinned."""
    paths, given = spec["paths"], dict(spec["options"])
    sample = -1 if sum(spec["sizes_bytes"]) <= _READ_WHOLE_BYTES else _SAMPLE_ROWS
    sniffing = {"sample_size": sample, **given}
    first = next(path for path, size in zip(paths, spec["sizes_bytes"], strict=True) if size)
    arguments = ", ".join(
        [quote(first), *(f"{name} = {literal(value)}" for name, value in _for_one(sniffing).items())]
    )
    found = con.execute(
        "SELECT Delimiter, Quote, Escape, Comment, SkipRows, HasHeader, DateFormat, TimestampFormat "
        f"FROM sniff_csv({arguments})"
    ).fetchone()
    if found is None:
        raise TaskError(
            "DuckDB could not tell the dialect. Give `options.delim` and `options.header`.",
            code="corrupt_file",
        )
    delim, quote_mark, escape, comment, skip, header, date, timestamp = found
    quote_mark = _quote_mark(_absent(quote_mark), first)
    options: dict[str, Any] = {
        "delim": delim,
        "quote": quote_mark,
        "escape": _absent(escape) or quote_mark,
        "comment": _absent(comment),
        "skip": skip,
        "header": header,
        **({"dateformat": date} if date else {}),
        **({"timestampformat": timestamp} if timestamp else {}),
        **given,
    }
    options.pop("sample_size", None)
    check_headers("csv", paths, options)
    return _with_columns(con, paths, options, sample=sniffing["sample_size"])


def _with_columns(
    con: duckdb.DuckDBPyConnection, paths: Sequence[str], options: dict[str, Any], *, sample: int
) -> dict[str, Any]:
    """The types that all looked-at files have in common, then no more guessing."""
    call = reader_call(
        "csv", paths, {**options, "sample_size": sample, "files_to_sniff": _LOOKED_AT, **_plain()}
    )
    columns = {row[0]: row[1] for row in con.execute(f"DESCRIBE FROM {call}").fetchall()}
    options.pop("types", None)
    options.pop("all_varchar", None)
    if options.get("union_by_name"):
        return {**options, "types": columns}
    return {**options, "auto_detect": False, "columns": columns}


def _plain() -> dict[str, Any]:
    """Columns that a path or a file's name adds are no columns of the file."""
    return {"hive_partitioning": False, "filename": False}


def _for_one(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that mean something for one file alone."""
    return {
        name: value
        for name, value in options.items()
        if name not in ("union_by_name", "hive_partitioning", "filename")
    }


def _quote_mark(sniffed: str, path: str) -> str:
    """DuckDB says "none" when its sample has none; a quoted value may still come later, as RFC 4180 has
    it.
    """
    if sniffed or b'"' in _head(path, MIB):
        return sniffed
    return '"'


def _absent(mark: str | None) -> str:
    return "" if mark in (None, "(empty)") else str(mark)


def _fix_json(con: duckdb.DuckDBPyConnection, spec: Mapping[str, Any]) -> dict[str, Any]:
    given = dict(spec["options"])
    if "columns" not in given:
        sample = -1 if sum(spec["sizes_bytes"]) <= _READ_WHOLE_BYTES else _SAMPLE_ROWS
        call = reader_call("json", spec["paths"], {"sample_size": sample, **given, **_plain()})
        given["columns"] = {row[0]: row[1] for row in con.execute(f"DESCRIBE FROM {call}").fetchall()}
    given.pop("sample_size", None)
    given.pop("union_by_name", None)
    return given


def _fix_parquet(con: duckdb.DuckDBPyConnection, spec: Mapping[str, Any]) -> dict[str, Any]:
    given = dict(spec["options"])
    if not given.get("union_by_name"):
        _check_schemas(con, spec["paths"][:_SCHEMAS])
    return given


def _check_schemas(con: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> None:
    """All files must have the first one's columns, or a query fails when it reaches the other."""
    rows = con.execute(f"SELECT file_name, name FROM parquet_schema({literal(list(paths))})").fetchall()
    columns: dict[str, set[str]] = {}
    for path, name in rows:
        if path in columns:
            columns[path].add(name.lower())
        else:
            columns[path] = set()  # the first row of each file is the root, which has any name
    first = columns[paths[0]]
    for path, names in columns.items():
        if not first <= names:
            missing = ", ".join(sorted(first - names))
            raise TaskError(
                f"The files do not have the same columns: {os.path.basename(path)!r} lacks {missing} of "
                f"{os.path.basename(paths[0])!r}. Register them with the option `union_by_name`, or apart from each other.",
                code="unlike_columns",
            )


def _parquet_rows(con: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> int:
    row = con.execute(
        f"SELECT sum(num_rows)::BIGINT FROM parquet_file_metadata({literal(list(paths))})"
    ).fetchone()
    return int(row[0]) if row else 0


_CHECKS = {"csv": _check_csv, "json": _check_text, "parquet": _check_magic}
_FIXERS = {"csv": _fix_csv, "json": _fix_json, "parquet": _fix_parquet}
