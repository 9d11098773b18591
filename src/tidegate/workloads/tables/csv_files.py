"""CSV and TSV by DuckDB's own reader, straight into Parquet.

DuckDB sniffs dialect and types from a sample. What the sample did not show is found while all rows are written: the column of
a value that is not of the sniffed type becomes a wider one, and the file is read again.

DuckDB casts `1.5` and `007` to integers without a word. So columns of integers are read as text and cast, and each value has
to be written as its integer is; a column of doubles must not reach 2**53. On the first doubt, all values of all columns of
numbers are looked at once (`csv_numbers`), and the file is written anew with the types found.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

import _duckdb as duckdb

from tidegate.core.resources import MIB
from tidegate.workloads.errors import TaskError
from tidegate.workloads.literals import literal, quote, quote_name
from tidegate.workloads.tables import bad_rows, csv_numbers, encodings
from tidegate.workloads.tables.bad_rows import BadCells
from tidegate.workloads.tables.model import (
    BAD_ROWS_FILE,
    ROWS_FILE,
    Column,
    ColumnType,
    Extract,
    Preview,
    ReadProgress,
    TableOptions,
)
from tidegate.workloads.tables.names import clean_names, given_types
from tidegate.workloads.tables.output import json_value, write_parquet

_TYPES = {
    "BOOLEAN": ColumnType.BOOLEAN,
    "BIGINT": ColumnType.INTEGER,
    "HUGEINT": ColumnType.DECIMAL,
    "DOUBLE": ColumnType.DOUBLE,
    "DATE": ColumnType.DATE,
    "TIMESTAMP": ColumnType.TIMESTAMP,
    "TIME": ColumnType.TIME,
}
_WHOLE = (ColumnType.INTEGER, ColumnType.DECIMAL)
_DOUBT = "tidegate: look closer"
_INEXACT_FROM = 2**53
"""From here on not every integer is a double."""
_READ_WHOLE_BYTES = 4 * MIB
_SAMPLE_ROWS = 20_480
_CODES = {
    "CAST": "wrong_type",
    "MISSING COLUMNS": "too_few_columns",
    "TOO MANY COLUMNS": "too_many_columns",
    "UNQUOTED VALUE": "bad_quoting",
    "LINE SIZE OVER MAXIMUM": "line_too_long",
    "INVALID ENCODING": "bad_encoding",
    "INVALID STATE": "bad_quoting",
}
_REJECTS = {"rejects_scan": "tidegate_scans", "rejects_table": "tidegate_rejects", "rejects_limit": 0}


@dataclass(frozen=True, slots=True)
class _Dialect:
    """How a file is read from now on: arguments of read_csv that leave nothing to be guessed."""

    path: str
    arguments: dict[str, Any]
    columns: tuple[Column, ...]
    given: frozenset[int]
    encoding: str
    settled: bool = False
    """All values of the columns of numbers have been looked at: nothing is left to be doubted."""

    @property
    def facts(self) -> dict[str, Any]:
        return {
            "encoding": self.encoding,
            "delimiter": self.arguments["delim"],
            "quote": self.arguments["quote"],
        }

    @property
    def header_row(self) -> int | None:
        return self.arguments["skip"] + 1 if self.arguments["header"] else None

    def call(self, *, keep_rejects: bool = True) -> str:
        """read_csv with all columns, integers as text; without `keep_rejects` bad rows are passed over."""
        return self._call({place: column.type for place, column in enumerate(self.columns)}, keep_rejects)

    def texts(self) -> str:
        """read_csv with all columns as text; bad rows are passed over."""
        return self._call({}, keep_rejects=False)

    def _call(self, kinds: dict[int, ColumnType], keep_rejects: bool) -> str:
        types = {
            f"c{place}": kind.sql if (kind := kinds.get(place, ColumnType.TEXT)) not in _WHOLE else "VARCHAR"
            for place in range(len(self.columns))
        }
        rejects = {"store_rejects": True, **_REJECTS} if keep_rejects else {"ignore_errors": True}
        given = {**self.arguments, "columns": types, "auto_detect": False, **rejects}
        return f"read_csv({quote(self.path)}, {', '.join(f'{name} = {literal(value)}' for name, value in given.items())})"

    def select(self) -> str:
        """The rows. Until the dialect is settled, a value that is to be looked at raises. Rows with no integer in a column
        given as such are left out."""
        wanted = ", ".join(
            f"{self._value(place)} AS {quote_name(column.name)}" for place, column in enumerate(self.columns)
        )
        casts = "".join(
            f", CAST(c{place} AS {self.columns[place].type.sql}) AS v{place}"
            for place in self._sniffed_whole()
        )
        left_out = " OR ".join(wrong for _, wrong in self.wrong_integers())
        return f"SELECT {wanted} FROM (SELECT *{casts} FROM {self.call()}){f' WHERE NOT ({left_out})' if left_out else ''}"

    def wrong_integers(self) -> list[tuple[int, str]]:
        """For each column given as an integer, its place and the condition under which a row's value is none."""
        places = [place for place in sorted(self.given) if self.columns[place].type in _WHOLE]
        return [(place, f"(c{place} IS NOT NULL AND {self._value(place)} IS NULL)") for place in places]

    def sniffed_numbers(self) -> list[int]:
        """The places of the columns whose type was not given and is one of numbers."""
        numbers = (*_WHOLE, ColumnType.DOUBLE)
        return [
            place for place, one in enumerate(self.columns) if one.type in numbers and place not in self.given
        ]

    def _sniffed_whole(self) -> list[int]:
        return [place for place in self.sniffed_numbers() if self.columns[place].type in _WHOLE]

    def _value(self, place: int) -> str:
        kind = self.columns[place].type
        if kind in _WHOLE and place in self.given:
            return _whole(place, kind)
        cell = f"v{place}" if kind in _WHOLE else f"c{place}"
        if self.settled or kind not in (*_WHOLE, ColumnType.DOUBLE) or place in self.given:
            return cell
        doubt = (
            f"{cell} NOT BETWEEN {1 - _INEXACT_FROM} AND {_INEXACT_FROM - 1}"
            if kind is ColumnType.DOUBLE
            else f"CAST({cell} AS VARCHAR) <> c{place}"
        )
        return f"CASE WHEN {doubt} THEN error({quote(_DOUBT)}) ELSE {cell} END"


def preview(
    con: duckdb.DuckDBPyConnection, path: str, options: TableOptions, rows: int, staging: str = "."
) -> Preview:
    plain = _in_utf8(path, options, staging)
    try:
        dialect = _settled(con, _sniff(con, path, plain, options), max(rows, _SAMPLE_ROWS))
        found = con.execute(f"{dialect.select()} LIMIT {int(rows)}").fetchall()
    finally:
        _drop(con)
        _remove(plain[0], path)
    return Preview(
        dialect.columns,
        tuple(tuple(map(json_value, row)) for row in found),
        dialect.header_row,
        dialect.facts,
    )


def extract(
    con: duckdb.DuckDBPyConnection, path: str, options: TableOptions, staging: str, progress: ReadProgress
) -> Extract:
    plain = _in_utf8(path, options, staging)
    target = os.path.join(staging, ROWS_FILE)
    try:
        dialect, row_count = _write(con, _sniff(con, path, plain, options), target)
        bad = BadCells(con, os.path.basename(path), "")
        _keep_rejects(con, bad, dialect, os.path.basename(path), options)
        left_out = bad.count_left_out()
        bad_rows.check(os.path.basename(path), "", left_out, row_count + left_out, options.max_bad_rows)
    finally:
        _drop(con)
        _remove(plain[0], path)
    progress(row_count, 1.0)
    return Extract(
        path=target,
        columns=dialect.columns,
        row_count=row_count,
        bad_row_count=left_out,
        bad_cell_count=0,
        bad_rows_path=bad.write(os.path.join(staging, BAD_ROWS_FILE)),
        header_row=dialect.header_row,
        facts=dialect.facts,
    )


def _in_utf8(path: str, options: TableOptions, staging: str) -> tuple[str, str]:
    """The path of the file in UTF-8, its own if it is that already, and its encoding."""
    name = encodings.detect(path) if options.encoding == "auto" else options.encoding
    if name == "utf-8" or path.lower().endswith(".zst"):
        return path, name
    target = os.path.join(staging, f"utf8-{os.getpid()}.tmp")
    encodings.to_utf8(path, name, target)
    return target, name


def _remove(plain: str, path: str) -> None:
    if plain != path and os.path.exists(plain):
        os.unlink(plain)


def _drop(con: duckdb.DuckDBPyConnection) -> None:
    """DuckDB keeps rejects of all scans of the connection."""
    con.execute("DROP TABLE IF EXISTS tidegate_rejects; DROP TABLE IF EXISTS tidegate_scans")


def _sniff(
    con: duckdb.DuckDBPyConnection, path: str, plain: tuple[str, str], options: TableOptions
) -> _Dialect:
    given: dict[str, Any] = {
        "sample_size": -1 if os.stat(plain[0]).st_size <= _READ_WHOLE_BYTES else _SAMPLE_ROWS,
        "decimal_separator": options.decimal,
        "nullstr": ["", *options.null_texts],
    }
    if options.delimiter or path.lower().removesuffix(".gz").removesuffix(".zst").endswith(".tsv"):
        given["delim"] = options.delimiter or "\t"
    if options.header == "none":
        given["header"] = False
    if isinstance(options.header, int):
        given.update(header=True, skip=options.header - 1)
    elif options.skip_rows:
        given["skip"] = options.skip_rows
    arguments = ", ".join(f"{name} = {literal(value)}" for name, value in given.items())
    found = con.execute(
        "SELECT Delimiter, Quote, Escape, Comment, SkipRows, HasHeader, DateFormat, TimestampFormat, Columns "
        f"FROM sniff_csv({quote(plain[0])}, {arguments}, ignore_errors = true)"
    ).fetchone()
    if found is None:
        raise TaskError(
            "The file's delimiter could not be found out. Give `options.delimiter` and `options.header`.",
            code="corrupt_file",
        )
    delim, mark, escape, comment, skip, header, day, at, columns = found
    marks = {
        "quote": _mark(mark) or '"',
        "escape": _mark(escape) or _mark(mark) or '"',
        "comment": _mark(comment),
    }
    dialect = {"delim": delim, **marks, "skip": skip, "header": header, "nullstr": given["nullstr"]}
    dialect["decimal_separator"] = options.decimal
    dialect.update({name: value for name, value in (("dateformat", day), ("timestampformat", at)) if value})
    originals = [column["name"] if header else "" for column in columns]
    names = clean_names(originals)
    types = dict(enumerate(_TYPES.get(column["type"], ColumnType.TEXT) for column in columns))
    wanted = given_types(options.types, list(zip(range(len(names)), names, originals, strict=True)))
    types.update(wanted)
    made = tuple(
        Column(name, original, types[place])
        for place, (name, original) in enumerate(zip(names, originals, strict=True))
    )
    return _Dialect(plain[0], dialect, made, frozenset(wanted), plain[1])


def _mark(mark: str | None) -> str:
    return "" if mark in (None, "(empty)") else str(mark)


def _write(con: duckdb.DuckDBPyConnection, dialect: _Dialect, target: str) -> tuple[_Dialect, int]:
    """Write all rows, again as long as columns turn out to be wider; at most once for each column, and once on a doubt."""
    while True:
        _drop(con)
        try:
            row_count = write_parquet(con, dialect.select(), target)
        except (duckdb.InvalidInputException, duckdb.ConversionException) as error:
            doubted = isinstance(error, duckdb.ConversionException) or _DOUBT in str(error)
            if dialect.settled or not doubted:
                raise
            dialect = _settled(con, dialect)
            continue
        wrong = dict.fromkeys(_wrongly_sniffed(con), ColumnType.TEXT)
        wrong = {place: kind for place, kind in wrong.items() if place not in dialect.given}
        if not wrong:
            return dialect, row_count
        dialect = replace(dialect, columns=_retyped(dialect.columns, wrong))


def _settled(con: duckdb.DuckDBPyConnection, dialect: _Dialect, rows: int | None = None) -> _Dialect:
    """The dialect with the narrowest types of numbers that hold the values of all rows, or of the first `rows`."""
    places = dialect.sniffed_numbers()
    found = csv_numbers.types(con, dialect.texts(), places, dialect.arguments["decimal_separator"], rows)
    for place in places:  # what is a double for the sniffer, such as 1.0, stays one
        if dialect.columns[place].type is ColumnType.DOUBLE and found[place] is not ColumnType.TEXT:
            found[place] = ColumnType.DOUBLE
    return replace(dialect, columns=_retyped(dialect.columns, found), settled=True)


def _retyped(columns: tuple[Column, ...], types: dict[int, ColumnType]) -> tuple[Column, ...]:
    return tuple(replace(column, type=types.get(place, column.type)) for place, column in enumerate(columns))


def _wrongly_sniffed(con: duckdb.DuckDBPyConnection) -> list[int]:
    found = con.execute(
        "SELECT DISTINCT column_name FROM tidegate_rejects WHERE error_type = 'CAST'"
    ).fetchall()
    return [int(row[0][1:]) for row in found]


def _whole(place: int, kind: ColumnType) -> str:
    """An integer, written as one: no point, no exponent. Else null."""
    cell = f"c{place}"
    plain = f"NOT contains({cell}, '.') AND NOT contains({cell}, 'e') AND NOT contains({cell}, 'E')"
    return f"CASE WHEN {plain} THEN TRY_CAST({cell} AS {kind.sql}) END"


def _keep_rejects(
    con: duckdb.DuckDBPyConnection, bad: BadCells, dialect: _Dialect, file: str, options: TableOptions
) -> None:
    rejected = con.execute(
        "SELECT error_type, count(*), min(line) FROM tidegate_rejects GROUP BY ALL"
    ).fetchall()
    ragged = [row for row in rejected if row[0] in ("MISSING COLUMNS", "TOO MANY COLUMNS")]
    if ragged and options.ragged == "fail":
        raise TaskError(
            f"{sum(row[1] for row in ragged)} rows of {file!r} have more or fewer columns than the header, the first in line "
            f"{min(row[2] for row in ragged)}. Nothing was loaded. Mend them, or set `options.ragged` to 'bad_row'.",
            code="too_many_bad_rows",
            numbers={"bad_rows": sum(row[1] for row in ragged)},
        )
    codes = " ".join(f"WHEN {quote(kind)} THEN {quote(code)}" for kind, code in _CODES.items())
    names = " ".join(
        f"WHEN 'c{place}' THEN {quote(column.name)}" for place, column in enumerate(dialect.columns)
    )
    bad.insert(
        f"SELECT {quote(file)}, '', line, "
        f"CASE WHEN error_type = 'CAST' THEN CASE column_name {names} END END, substr(csv_line, 1, 200), "
        f"CASE error_type {codes} ELSE 'bad_value' END, substr(error_message, 1, 400), false FROM tidegate_rejects"
    )
    for place, wrong in dialect.wrong_integers():
        bad.insert(_wrong_rows(dialect, place, wrong, file))


def _wrong_rows(dialect: _Dialect, place: int, wrong: str, file: str) -> str:
    """Rows whose value is no integer. Their lines are counted: each rejected line before a row moves it down by one."""
    column = dialect.columns[place]
    before = dialect.header_row or dialect.arguments["skip"]
    rejected = "SELECT line - row_number() OVER (ORDER BY line) AS ahead FROM (SELECT DISTINCT line FROM tidegate_rejects)"
    reason = f"substr(c{place}, 1, 200) || {quote(f' is no {column.type}, the type given for the column.')}"
    return (
        f"SELECT {quote(file)}, '', n + (SELECT count(*) FROM ({rejected}) WHERE ahead < n), {quote(column.name)}, "
        f"substr(c{place}, 1, 200), 'wrong_type', {reason}, false "
        f"FROM (SELECT row_number() OVER () + {before} AS n, * FROM {dialect.call(keep_rejects=False)}) WHERE {wrong}"
    )
