"""Loads one sheet of one file inside the sandbox, looks which sheets a workbook has, or shows the beginning of one.

A file is loaded whole or not at all: into a data source by the commit that records the success, into a database by
its own transaction. What was loaded is named by its content, so that the same load comes once.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import _duckdb as duckdb

from tidegate.core.job import TaskOrder
from tidegate.core.resources import KIB, MIB, Resources, format_bytes
from tidegate.errors import InvalidInput
from tidegate.ports import TaskContext
from tidegate.workloads import duckdb_session
from tidegate.workloads.duckdb_errors import QueryFacts
from tidegate.workloads.errors import TaskError
from tidegate.workloads.ingest_names import TableNames, grows
from tidegate.workloads.literals import quote
from tidegate.workloads.tables.model import Column, Extract, Sheet, TableOptions, parse_options
from tidegate.workloads.tables.reading import extract, preview, sheets
from tidegate.workloads.tables.sizing import estimate
from tidegate.workloads.targets.model import LoadOrder, LoadReport, Mode, load_id_of
from tidegate.workloads.targets.opening import open_target

_PIECE_BYTES = 4 * MIB
_PREVIEW_BYTES = 256 * KIB
_HASHED_SHARE, _READ_SHARE = 0.05, 0.6
"""How far a load is when the file is hashed, and when it is read: what follows is the target's."""
_BAD_ROW_COLUMNS = (
    ("file", "VARCHAR"), ("sheet", "VARCHAR"), ("row", "BIGINT"), ("column", "VARCHAR"), ("value", "VARCHAR"),
    ("code", "VARCHAR"), ("reason", "VARCHAR"), ("loaded", "BOOLEAN"),
)  # fmt: skip


_NOTHING = {"rows": 0, "inserted": 0, "updated": 0, "bad_rows": 0}


def warm() -> None:
    """Called once by the zygote, before it forks."""
    duckdb_session.warm()


def run(context: TaskContext) -> Mapping[str, Any]:
    """Load what the spec says, and answer what came of it: see docs/ingest.md. Raises TaskError."""
    spec = context.spec
    options = replace(parse_options(spec["options"]), sheet=spec.get("sheet"))
    if spec.get("preview_rows"):
        return _preview(context, options)
    if spec.get("all_sheets"):
        return _add_sheets(context, options)
    return _load(context, options)


def _preview(context: TaskContext, options: TableOptions) -> Mapping[str, Any]:
    path = context.spec["path"]
    size = estimate(path, options)
    with _session(context, path) as con:
        shown = preview(con, path, options, rows=context.spec["preview_rows"])
    return {
        "input": context.spec["input"],
        "sheets": [_sheet_facts(sheet) for sheet in sheets(path)],
        "sheet": context.spec.get("sheet"),
        "header_row": shown.header_row,
        "columns": _columns(shown.columns),
        **_within_report(shown.rows),
        "facts": dict(shown.facts),
        "estimate": {"memory_bytes": size.memory_bytes, "disk_bytes": size.disk_bytes},
    }


def _within_report(rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """As many rows as a report has room for, and whether that was all."""
    room, kept = _PREVIEW_BYTES, []
    for row in rows:
        room -= len(json.dumps(row, default=str))
        if room < 0:
            break
        kept.append(list(row))
    return {"rows": kept, "truncated": len(kept) < len(rows)}


def _add_sheets(context: TaskContext, options: TableOptions) -> Mapping[str, Any]:
    """A task for each visible sheet that may hold anything; what is passed over is named in the answer."""
    spec = context.spec
    path, found = spec["path"], sheets(spec["path"])
    wanted = [sheet for sheet in found if sheet.visible and sheet.row_count != 0]
    if not wanted:
        raise TaskError(f"The workbook {spec['input']!r} has no visible sheet with rows.", code="no_rows")
    digest = _digest_of(path, context.progress)
    names = TableNames.of_sheets(spec["tables"])
    for sheet in wanted:
        table = names.of(path, sheet.name)
        more = {
            "all_sheets": False,
            "one_of_all": True,
            "sheet": sheet.name,
            "table": table,
            "sha256": digest,
        }
        if spec.get("into") == "source":
            more["grows"] = grows(table, replace=spec["mode"] == Mode.REPLACE, again=spec["again"])
        own = {name: spec[name] for name in ("path", "input")}
        resources = _resources(context, path, replace(options, sheet=sheet.name))
        context.add_task(TaskOrder(f"{spec['input']} [{sheet.name}]"[:1000], {**own, **more}, resources))
    passed = [sheet.name for sheet in found if sheet not in wanted]
    return {"input": spec["input"], "sheets": [sheet.name for sheet in wanted], "passed_over": passed}


def _resources(context: TaskContext, path: str, options: TableOptions) -> Resources:
    size = estimate(path, options)
    memory_bytes = (
        context.spec.get("memory_bytes") or size.memory_bytes
    )  # what the user said holds for every sheet
    return Resources(context.resources.cpu_milli, memory_bytes, size.disk_bytes)


def _load(context: TaskContext, options: TableOptions) -> Mapping[str, Any]:
    spec = context.spec
    path = spec["path"]
    _refuse_too_small(context, estimate(path, options).memory_bytes)
    digest = spec.get("sha256") or _digest_of(path, lambda share: context.progress(share * _HASHED_SHARE))
    load_id = load_id_of(
        content_sha256=digest,
        sheet=str(spec.get("sheet") or ""),
        table=spec["table"],
        mode=Mode(spec["mode"]),
        keys=spec["keys"],
        options=spec["options"],
        schema=spec.get("schema"),
    )
    facts = {
        "input": spec["input"],
        "sheet": spec.get("sheet"),
        "table": spec["table"],
        "into": spec["into"],
        "sha256": digest,
        "load": load_id,
    }
    if load_id in spec.get("known_loads", {}).get(spec["table"], ()):
        return {**facts, **_NOTHING, "unchanged": True}
    with _session(context, path) as con:
        try:
            made = extract(con, path, options, context.staging, progress=_reading(context))
        except TaskError as error:
            if error.code == "no_rows" and spec.get("one_of_all"):
                return {**facts, **_NOTHING, "empty": True}
            raise
        facts |= {"columns": _columns(made.columns), "header_row": made.header_row, "facts": dict(made.facts)}
        if "grows" in spec:
            return {**facts, **_into_source(con, made)}
        return {**facts, **_into_database(context, con, made, load_id)}


def _refuse_too_small(context: TaskContext, needed_bytes: int) -> None:
    """A limit that its user has set lower than what the file will take: better now than killed on the way."""
    limit = context.resources.memory_bytes
    if limit < needed_bytes:
        raise TaskError(
            f"Reading {context.spec['input']!r} takes about {format_bytes(needed_bytes)} of memory, and the job may use "
            f"{format_bytes(limit)}. Ask for more with `memory`.",
            code="needs_more_memory",
            reason="memory_limit",
            numbers={"asked": needed_bytes, "limit": limit},
        )


def _into_source(con: duckdb.DuckDBPyConnection, made: Extract) -> dict[str, Any]:
    """The extract is the part: the worker publishes it, and the store adds it to the source."""
    answer: dict[str, Any] = {
        "file": os.path.basename(made.path),
        "rows": made.row_count,
        "inserted": made.row_count,
        "updated": 0,
        "bad_rows": made.bad_row_count,
        "bad_cells": made.bad_cell_count,
        "unchanged": False,
    }
    if made.bad_rows_path is not None:
        answer |= {
            "bad_rows_file": os.path.basename(made.bad_rows_path),
            "bad_rows_columns": [{"name": name, "type": kind} for name, kind in _BAD_ROW_COLUMNS],
            "bad_entries": _row_count(con, made.bad_rows_path),
        }
    return answer


def _into_database(
    context: TaskContext, con: duckdb.DuckDBPyConnection, made: Extract, load_id: str
) -> dict[str, Any]:
    spec = context.spec
    order = LoadOrder(
        table=spec["table"],
        load_id=load_id,
        mode=Mode(spec["mode"]),
        keys=tuple(spec["keys"]),
        schema=spec.get("schema"),
        file=spec["input"],
        sheet=str(spec.get("sheet") or ""),
        again=spec["again"],
        add_columns=spec["add_columns"],
    )
    total = max(made.row_count, 1)

    def sent(rows: int) -> None:
        context.progress(_READ_SHARE + (1 - _READ_SHARE) * min(rows / total, 1.0))

    target = _opened(context, con)
    try:
        done = target.load(made, order, sent)
    finally:
        target.close()
    return _report(made, done)


def _opened(context: TaskContext, con: duckdb.DuckDBPyConnection) -> Any:
    url = context.spec["target"].get("url")
    if url is None:
        raise TaskError(
            f"The target {context.spec['into']!r} is not among the `targets` of the worker that ran this. Give workers the "
            "same setting as servers.",
            code="unknown_target",
        )
    try:
        return open_target(url, con, context.staging)
    except InvalidInput as error:
        raise TaskError(error.message, code=error.code) from None


def _report(made: Extract, done: LoadReport) -> dict[str, Any]:
    return {
        "table": done.table,
        "rows": made.row_count,
        "inserted": done.inserted,
        "updated": done.updated,
        "duplicates": done.duplicates,
        "bad_rows": made.bad_row_count + done.bad_rows,
        "bad_cells": made.bad_cell_count,
        "bad_rows_table": done.bad_rows_table,
        "unchanged": done.unchanged_because_loaded_before > 0,
        "created": done.created,
        "added_columns": list(done.added_columns),
        "notes": list(done.notes),
    }


def _digest_of(path: str, progress: Callable[[float], None]) -> str:
    """SHA-256 of a file, in pieces."""
    digest = hashlib.sha256()
    total = max(os.stat(path).st_size, 1)
    done = 0
    with Path(path).open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
            done += len(piece)
            progress(min(done / total, 1.0))
    return digest.hexdigest()


def _reading(context: TaskContext) -> Callable[[int, float], None]:
    def read(rows: int, share: float) -> None:
        context.progress(_HASHED_SHARE + (_READ_SHARE - _HASHED_SHARE) * share)

    return read


@contextmanager
def _session(context: TaskContext, path: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A locked session that may read the file; its errors are told with the file's own name."""
    facts = QueryFacts(
        memory_bytes=context.resources.memory_bytes,
        disk_bytes=context.resources.disk_bytes,
        path_names={path: context.spec["input"], context.staging: "(staging)"},
    )
    with duckdb_session.explained(facts):
        con = duckdb_session.open_session(context.resources, context.staging, (), [path])
        try:
            yield con
        finally:
            con.close()


def _row_count(con: duckdb.DuckDBPyConnection, path: str) -> int:
    row = con.execute(f"SELECT count(*) FROM read_parquet({quote(path)})").fetchone()
    return int(row[0]) if row else 0


def _columns(columns: tuple[Column, ...]) -> list[dict[str, str]]:
    """The original header only where it differs: a sheet may have 16,384 columns, and a report at most 1 MiB."""
    return [
        {"name": c.name, "type": c.type.sql, **({"original": c.original} if c.original != c.name else {})}
        for c in columns
    ]


def _sheet_facts(sheet: Sheet) -> dict[str, Any]:
    return {
        "name": sheet.name,
        "visible": sheet.visible,
        "row_count": sheet.row_count,
        "column_count": sheet.column_count,
    }
