"""What the readers of tables promise: options in; sheets, columns, rows and bad rows out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from tidegate.errors import InvalidInput


class ColumnType(StrEnum):
    """The type of a column, the same for all readers and targets."""

    BOOLEAN = "boolean"
    INTEGER = "integer"
    """64 bits with sign."""
    DECIMAL = "decimal"
    """Integers of up to 38 digits that do not fit into 64 bits."""
    DOUBLE = "double"
    DATE = "date"
    TIMESTAMP = "timestamp"
    """Without a time zone, to the microsecond."""
    TIME = "time"
    """A time of day, to the microsecond."""
    TEXT = "text"

    @property
    def sql(self) -> str:
        """The type in DuckDB and so in `rows.parquet`."""
        return _SQL[self]


_SQL: Mapping[ColumnType, str] = {
    ColumnType.BOOLEAN: "BOOLEAN",
    ColumnType.INTEGER: "BIGINT",
    ColumnType.DECIMAL: "DECIMAL(38,0)",
    ColumnType.DOUBLE: "DOUBLE",
    ColumnType.DATE: "DATE",
    ColumnType.TIMESTAMP: "TIMESTAMP",
    ColumnType.TIME: "TIME",
    ColumnType.TEXT: "VARCHAR",
}


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table of a file. A CSV file has one, of the name ''."""

    name: str
    visible: bool = True
    row_count: int | None = None
    """Rows as the file states them, header and titles included; None where it would have to be read."""
    column_count: int | None = None
    uncompressed_bytes: int | None = None
    """The sheet's own size when unpacked; None where it is not known without reading."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `rows.parquet`."""

    name: str
    """Cleaned: no blanks around it, no control characters, unique without regard to case, never empty."""
    original: str
    """The header as it stood in the file; '' where there was none."""
    type: ColumnType


@dataclass(frozen=True, slots=True)
class Estimate:
    """What reading a sheet will take, judged without reading it."""

    memory_bytes: int
    """Of the attempt, DuckDB's part included."""
    disk_bytes: int
    """In the staging folder, at the peak: what is spilled and what is left."""
    uncompressed_bytes: int
    reader: Literal["csv", "xlsx", "xlsb", "ods", "calamine"]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A cell, or a whole row, that could not be taken as it stood; a row of `bad_rows.parquet`.

    The file's columns are these fields, in this order: VARCHAR, VARCHAR, BIGINT, VARCHAR, VARCHAR, VARCHAR,
    VARCHAR, BOOLEAN.
    """

    file: str
    """The file's own name, without its folder."""
    sheet: str
    row: int
    """As in the file: the first is 1, titles and header counted. Of a CSV file: its lines."""
    column: str | None
    """The cleaned name; None where the whole row is bad."""
    value: str | None
    """What stood there, at most 200 characters of it."""
    code: str
    """One of BAD_ROW_CODES."""
    reason: str
    """A sentence for people."""
    loaded: bool
    """True: the row is in `rows.parquet` and this cell is null there. False: the row is not there."""


BAD_ROW_CODES: Mapping[str, str] = {
    "cell_error": "The cell holds an error of the spreadsheet, such as #N/A; the row is kept with null in its place.",
    "wrong_type": "The value cannot become the type that was given for its column.",
    "too_few_columns": "The row has fewer columns than the header.",
    "too_many_columns": "The row has more columns than the header.",
    "bad_quoting": "A quoted value does not end, or goes on behind its end.",
    "bad_encoding": "The row holds bytes that are no text in the file's encoding.",
    "line_too_long": "The line is longer than 2 MB.",
    "bad_value": "The file states a value that its own type cannot hold.",
}


@dataclass(frozen=True, slots=True)
class Preview:
    """The columns and the first rows, before anything is loaded."""

    columns: tuple[Column, ...]
    """Types as far as the rows looked at tell them: loading looks at all rows."""
    rows: tuple[tuple[Any, ...], ...]
    """JSON values: dates and times as ISO text, `decimal` as text."""
    header_row: int | None
    """The header's row in the file, from 1; None where there is none."""
    facts: Mapping[str, Any]
    """What was found out: of CSV `encoding`, `delimiter`, `quote`; of a workbook `sheet`."""


ROWS_FILE = "rows.parquet"
BAD_ROWS_FILE = "bad_rows.parquet"


@dataclass(frozen=True, slots=True)
class Extract:
    """What reading one sheet left in the staging folder."""

    path: str
    """Of `rows.parquet`, written through to the disk. It has these columns, in this order, and may have no rows."""
    columns: tuple[Column, ...]
    row_count: int
    bad_row_count: int
    """Rows of the file that are not in `rows.parquet`."""
    bad_cell_count: int
    """Cells that are null in `rows.parquet` because the file held an error there."""
    bad_rows_path: str | None
    """Of `bad_rows.parquet`; None when nothing was bad."""
    header_row: int | None
    facts: Mapping[str, Any] = field(default_factory=dict)
    """As `Preview.facts`."""


ReadProgress = Callable[[int, float], None]
"""Called with the rows read so far and the share done, 0 to 1; cheap to call often."""

HeaderRow = Literal["auto", "none"] | int
Ragged = Literal["bad_row", "fail"]
MOST_COLUMNS = 16_384
"""Of an Excel sheet; other files may not have more either."""
_LONGEST_TEXT = 1000
ENCODINGS = ("auto", "utf-8", "utf-16", "latin-1", "gb18030")


@dataclass(frozen=True, slots=True)
class TableOptions:
    """How a file shall be read; all have defaults. Made of a submission's `options` by `parse_options`."""

    sheet: str | int | None = None
    """Its name or its place from 1; None: the first visible one with a value in it."""
    header: HeaderRow = "auto"
    """The header's row in the file, from 1, or 'none'."""
    types: Mapping[str, ColumnType] = field(default_factory=dict)
    """By the column's cleaned name or its header; columns not named are inferred over all rows."""
    skip_rows: int = 0
    """Rows at the file's beginning that are not looked at."""
    null_texts: tuple[str, ...] = ()
    """Texts that stand for null, besides the empty cell."""
    max_bad_rows: int = 1000
    """More rows left out than this fail the file, with the counts."""
    ragged: Ragged = "bad_row"
    """What becomes of CSV rows with too few or too many columns."""
    encoding: str = "auto"
    delimiter: str | None = None
    """Of CSV; None: found out."""
    decimal: Literal[".", ","] = "."

    def spec(self) -> dict[str, Any]:
        """As JSON, for a task's spec; `parse_options` reads it back."""
        return {
            "sheet": self.sheet,
            "header": self.header,
            "types": {name: str(kind) for name, kind in self.types.items()},
            "skip_rows": self.skip_rows,
            "null_texts": list(self.null_texts),
            "max_bad_rows": self.max_bad_rows,
            "ragged": self.ragged,
            "encoding": self.encoding,
            "delimiter": self.delimiter,
            "decimal": self.decimal,
        }


def parse_options(given: object) -> TableOptions:
    """Raises InvalidInput naming the option that is unknown or not of its form."""
    if given is None:
        return TableOptions()
    if not isinstance(given, Mapping):
        raise InvalidInput(f"`options` must be an object, not {type(given).__name__}.")
    for name, value in given.items():
        if name not in _FORMS:
            raise InvalidInput(f"`options` has no {name!r}. It knows: {', '.join(sorted(_FORMS))}.")
        accepts, form = _FORMS[name]
        if not accepts(value):
            raise InvalidInput(f"`options.{name}` must be {form}.")
    cleaned = dict(given)
    if "types" in cleaned:
        cleaned["types"] = {name: ColumnType(kind) for name, kind in cleaned["types"].items()}
    if "null_texts" in cleaned:
        cleaned["null_texts"] = tuple(cleaned["null_texts"])
    return TableOptions(**cleaned)


def _text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_TEXT and "\0" not in value


def _count(value: object, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= 2**40


def _types(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) <= MOST_COLUMNS
        and all(_text(name) and kind in set(ColumnType) for name, kind in value.items())
    )


_Form = tuple[Callable[[Any], bool], str]
_FORMS: Mapping[str, _Form] = {
    "sheet": (lambda v: v is None or _text(v) or _count(v, 1), "a sheet's name or its place from 1"),
    "header": (lambda v: v in ("auto", "none") or _count(v, 1), "'auto', 'none' or a row from 1"),
    "types": (_types, f"an object of column names and types; types are {', '.join(ColumnType)}"),
    "skip_rows": (_count, "a whole number from 0"),
    "null_texts": (
        lambda v: isinstance(v, list | tuple) and len(v) <= 100 and all(map(_text, v)),
        "a list of texts",
    ),
    "max_bad_rows": (_count, "a whole number from 0"),
    "ragged": (lambda v: v in ("bad_row", "fail"), "'bad_row' or 'fail'"),
    "encoding": (lambda v: v in ENCODINGS, f"one of {', '.join(ENCODINGS)}"),
    "delimiter": (lambda v: v is None or (_text(v) and len(v) == 1), "one character"),
    "decimal": (lambda v: v in (".", ","), "'.' or ','"),
}
