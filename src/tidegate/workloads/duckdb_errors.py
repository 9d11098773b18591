"""Turns what DuckDB raises into a TaskError with a stable code.

DuckDB 2.0 is asked for its errors as JSON (`errors_as_json`), which names the missing thing, what comes near
it, and where it stands in the user's own text. What it does not name is told apart by class and text;
`tests/facts` holds both to DuckDB.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import _duckdb as duckdb

from tidegate.core.resources import format_bytes
from tidegate.workloads.errors import TaskError

CODES: Mapping[str, str] = {
    "syntax_error": "The text is not SQL as DuckDB knows it; the message says where.",
    "not_a_query": "Not exactly one SELECT (or FROM, VALUES, WITH, DESCRIBE, SUMMARIZE).",
    "unknown_table": "No source of this name existed when the query was submitted.",
    "unknown_column": "No column of this name; the message names the nearest.",
    "unknown_function": "No function of this name or with these arguments.",
    "binder_error": "The names are known but do not go together: types, grouping, ambiguity.",
    "conversion_error": "A value cannot become the type it should.",
    "out_of_range": "A number left the range of its type.",
    "invalid_input": "A function refused its input, or `error()` was called.",
    "permission": "The query reached for a file, a setting or an extension that it may not have.",
    "missing_file": "A file of a source is gone since the query was submitted.",
    "corrupt_file": "A file is not what its source says, or is damaged.",
    "empty_file": "A file that shall become a source is empty.",
    "not_text": "A file that shall be read as CSV or JSON is no text.",
    "unlike_columns": "The files of one source do not have the same columns.",
    "memory_limit": "The query needed more memory than it may have, and could not spill.",
    "disk_limit": "The query needed more scratch disk than it may have.",
    "time_limit": "The query took longer than it may.",
    "interrupted": "The query was cancelled while it ran.",
    "internal": "DuckDB failed in a way that is not the query's fault.",
}
"""Every code of a failed query or inspection, and what it means."""

_LONGEST = 2000
_SPILL = ("max_temp_directory_size", "failed to offload", "No space left on device", "File too large")
_CORRUPT = (
    "No magic bytes",
    "magic bytes at",
    "too small to be a Parquet",
    "Malformed JSON",
    "footer length",
    "Invalid thrift",
    "TProtocolException",
    "corrupt",
    "maximum_object_size",
    "Invalid unicode",
    "not utf-8 encoded",
    "Error when sniffing file",
    "ZSTD",
    "GZIP",
    "decompress",
    "Snappy",
    "Out of buffer",
    "Failed to read Parquet",
    "Parquet file",
)
_NOT_A_QUERY = ("Expected a single SELECT", "SELECT clause without selection list", "in query() function")
_SQL_POSITIONS = frozenset({"Parser", "Binder", "Catalog", "Conversion"})


@dataclass(frozen=True, slots=True)
class QueryFacts:
    """What an error message may tell: limits to compare with, and names to show instead of paths."""

    sql: str = ""
    memory_bytes: int = 0
    disk_bytes: int = 0
    source_names: tuple[str, ...] = ()
    path_names: Mapping[str, str] = field(default_factory=dict)
    """Paths of files and what users know them by: `/data/files/x.csv` → `source orders (x.csv)`."""


@dataclass(frozen=True, slots=True)
class _Report:
    kind: str
    text: str
    detail: Mapping[str, Any]

    @property
    def subtype(self) -> str:
        return str(self.detail.get("error_subtype", ""))


def explain(error: duckdb.Error, facts: QueryFacts) -> TaskError:
    """The TaskError for what DuckDB raised while it ran the query of `facts`."""
    report = _read(error)
    for judge in (_limits, _statement, _names, _files):
        found = judge(error, report, facts)
        if found is not None:
            return found
    return _by_class(error, report, facts)


def _read(error: duckdb.Error) -> _Report:
    text = str(error)
    start = text.find("{")
    try:
        detail = json.loads(text[start:]) if start >= 0 else {}
    except ValueError:
        detail = {}
    if isinstance(detail, dict) and "exception_message" in detail:
        return _Report(str(detail.get("exception_type", "")), str(detail["exception_message"]), detail)
    kind, _, rest = text.partition(" Error: ")
    return _Report(kind if rest else "", rest or text, {})


def _limits(error: duckdb.Error, report: _Report, facts: QueryFacts) -> TaskError | None:
    if isinstance(error, duckdb.InterruptException):
        return TaskError(
            "The query took longer than it may. Ask for more with `timeout_s`, or read less.",
            code="time_limit",
            reason="time_limit",
        )
    if any(part in report.text for part in _SPILL):
        return TaskError(
            f"The query needed more than its {format_bytes(facts.disk_bytes)} of scratch disk. "
            "Ask for more with `disk`, give it more `memory` so that it spills less, or read less.",
            code="disk_limit",
            reason="disk_limit",
            numbers={"limit_bytes": facts.disk_bytes},
        )
    if isinstance(error, duckdb.OutOfMemoryException):
        return memory_error(facts.memory_bytes)
    return None


def memory_error(limit_bytes: int) -> TaskError:
    """What a query is told that ran out of its memory."""
    return TaskError(
        f"The query needed more than its {format_bytes(limit_bytes)} of memory and could not spill the rest. "
        "Ask for more with `memory`, or for fewer `cpus`: each thread holds data of its own.",
        code="memory_limit",
        reason="memory_limit",
        numbers={"limit_bytes": limit_bytes},
    )


def _statement(error: duckdb.Error, report: _Report, facts: QueryFacts) -> TaskError | None:
    if "PIVOT statements without explicit IN" in report.text:
        return TaskError(
            "PIVOT needs its values here: write PIVOT … ON column IN (value, …).", code="not_a_query"
        )
    if any(part in report.text for part in _NOT_A_QUERY):
        return TaskError(
            "A SQL job is exactly one SELECT (or FROM, VALUES, WITH, DESCRIBE, SUMMARIZE). "
            "Its result is stored by Tidegate: leave out CREATE, COPY, INSERT, SET and the like.",
            code="not_a_query",
        )
    if "parameters were bound" in report.text:
        return TaskError(
            "The query has parameters (`?` or `$1`), but jobs take none. Write values.",
            code="not_a_query",
        )
    if isinstance(error, duckdb.ParserException):
        where, numbers = _where(report, facts)
        return TaskError(
            f"Syntax error{where}: {_clean(report.text, facts)}.", code="syntax_error", numbers=numbers
        )
    return None


def _names(error: duckdb.Error, report: _Report, facts: QueryFacts) -> TaskError | None:
    name = str(report.detail.get("name", ""))
    where, numbers = _where(report, facts)
    if report.subtype == "COLUMN_NOT_FOUND" or (
        "Referenced column" in report.text and "not found" in report.text
    ):
        near = _candidates(report)
        hint = f" Near it: {near}." if near else ""
        return TaskError(f"There is no column {name!r}{where}.{hint}", code="unknown_column", numbers=numbers)
    if not isinstance(error, duckdb.CatalogException):
        return None
    if report.detail.get("type") in ("Table", "View") or "Table with name" in report.text:
        known = ", ".join(facts.source_names) or "none"
        return TaskError(
            f"There is no source {name!r}{where}. Sources that the query names and that exist: {known}. "
            "Register it, or see which there are with `tidegate sources`.",
            code="unknown_table",
            numbers=numbers,
        )
    if "Function" in str(report.detail.get("type", "")) or "Function with name" in report.text:
        near = _candidates(report)
        hint = f" Near it: {near}." if near else ""
        return TaskError(
            f"There is no function {name!r}{where}.{hint}", code="unknown_function", numbers=numbers
        )
    return None


def _files(error: duckdb.Error, report: _Report, facts: QueryFacts) -> TaskError | None:
    text = _clean(report.text, facts)
    if isinstance(error, duckdb.PermissionException) or "configuration has been locked" in report.text:
        return TaskError(
            f"The query may read only the sources it names, and may change nothing: {text}. "
            "Register the file as a source and query it by name.",
            code="permission",
        )
    if "No files found that match" in report.text or "No such file or directory" in report.text:
        return TaskError(
            f"A file is missing: {text}. Register it as a source, or put it back.", code="missing_file"
        )
    if "Permission denied" in report.text:
        return TaskError(f"The query may read only the sources it names: {text}.", code="permission")
    if "chema mismatch" in report.text or "union_by_name" in report.text:
        return TaskError(
            f"The files of a source do not have the same columns: {text}. Register it with the option `union_by_name`.",
            code="unlike_columns",
        )
    if _is_corrupt(error, report):
        return TaskError(f"A file cannot be read: {text}.", code="corrupt_file")
    return None


def _is_corrupt(error: duckdb.Error, report: _Report) -> bool:
    if isinstance(error, duckdb.CatalogException | duckdb.BinderException):
        return False
    return any(part.lower() in report.text.lower() for part in _CORRUPT) or (
        "CSV Error" in report.text and not isinstance(error, duckdb.ConversionException)
    )


def _by_class(error: duckdb.Error, report: _Report, facts: QueryFacts) -> TaskError:
    where, numbers = _where(report, facts)
    text = _clean(report.text, facts)
    for kind, code in (
        (duckdb.BinderException, "binder_error"),
        (duckdb.CatalogException, "binder_error"),
        (duckdb.OutOfRangeException, "out_of_range"),
        (duckdb.ConversionException, "conversion_error"),
        (duckdb.TypeMismatchException, "conversion_error"),
        (duckdb.InvalidInputException, "invalid_input"),
        (duckdb.SyntaxException, "syntax_error"),
        (duckdb.NotSupportedError, "binder_error"),
    ):
        if isinstance(error, kind):
            return TaskError(
                f"{_sentence(text)}{f' It is{where}.' if where else ''}", code=code, numbers=numbers
            )
    return TaskError(f"DuckDB could not finish: {_sentence(text)}", code="internal")


def _where(report: _Report, facts: QueryFacts) -> tuple[str, dict[str, int | float | str]]:
    """` at line 3, column 8` from the offset that DuckDB tells, which counts bytes of the user's own text."""
    position = str(report.detail.get("position", ""))
    if report.kind not in _SQL_POSITIONS or not position.isdigit() or not facts.sql:
        return "", {}
    before = facts.sql.encode()[: int(position)].decode(errors="ignore")
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return f" at line {line}, column {column}", {"line": line, "column": column}


def _candidates(report: _Report) -> str:
    return ", ".join(
        name.strip() for name in str(report.detail.get("candidates", "")).split(",") if name.strip()
    )


def _clean(text: str, facts: QueryFacts) -> str:
    """Without DuckDB's long advice, and with names of sources in place of the server's paths."""
    text = text.split("\nPossible solutions:")[0].split("\nPossible fixes:")[0].split("\n\nLINE ")[0]
    for path in sorted(facts.path_names, key=len, reverse=True):
        text = text.replace(path, facts.path_names[path])
    text = re.sub(r"[\x00-\x08\x0b-\x1f]|(?:\\0){4,}", "·", text).strip().rstrip(".")
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _sentence(text: str) -> str:
    return text if text.endswith(("!", "?")) else text + "."
