"""Which values of a Parquet column fit into a column of a table, as SQL for DuckDB. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from tidegate.workloads.literals import quote, quote_name


class Family(StrEnum):
    """Types between which values can be carried over at all."""

    NUMBER = "number"
    BOOLEAN = "boolean"
    MOMENT = "date or timestamp"
    TIME = "time"
    TEXT = "text"
    ANY = "any"
    """The database judges, or takes everything."""


@dataclass(frozen=True, slots=True)
class Holds:
    """What a column of a table takes."""

    family: Family
    sql: str | None = None
    """The DuckDB type with the same values; None: no single one has."""
    most_characters: int | None = None
    most_bytes: int | None = None
    finite: bool = False
    """Takes neither NaN nor infinity."""
    no_nul: bool = False
    """Takes no text with a NUL character."""
    second_digits: int = 6
    """Digits behind the second."""


ANYTHING = Holds(Family.ANY)


@dataclass(frozen=True, slots=True)
class Source:
    """A column of the Parquet file, with its DuckDB type."""

    name: str
    sql: str

    @property
    def family(self) -> Family:
        if self.sql.startswith("DECIMAL"):
            return Family.NUMBER
        return _FAMILIES.get(self.sql, Family.ANY)


_FAMILIES = {
    "BOOLEAN": Family.BOOLEAN,
    "DATE": Family.MOMENT,
    "TIMESTAMP": Family.MOMENT,
    "TIME": Family.TIME,
    "VARCHAR": Family.TEXT,
    **dict.fromkeys(
        [
            "TINYINT",
            "SMALLINT",
            "INTEGER",
            "BIGINT",
            "HUGEINT",
            "UTINYINT",
            "USMALLINT",
            "UINTEGER",
            "UBIGINT",
        ],
        Family.NUMBER,
    ),
    "FLOAT": Family.NUMBER,
    "DOUBLE": Family.NUMBER,
}


@dataclass(frozen=True, slots=True)
class Check:
    """A row for which `bad` holds cannot be loaded, or, if `fatal`, fails the load."""

    column: str
    bad: str
    code: str
    reason: str
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class Fitted:
    """How a column of the file goes into one of the table."""

    source: Source
    target: str
    """The column's name in the table."""
    expression: str
    """Its value, of the type that `Holds.sql` names, or as it is."""
    checks: tuple[Check, ...]


def carries_over(source: Family, target: Family) -> bool:
    """Whether values of one family may go into a column of the other at all, each subject to its checks."""
    if source == target or Family.ANY in (source, target) or Family.TEXT in (source, target):
        return True
    return {source, target} == {Family.NUMBER, Family.BOOLEAN}


def fit(source: Source, target: str, holds: Holds) -> Fitted:
    """The expression and the checks for one column. The families must carry over."""
    column = quote_name(source.name)
    expression = column
    if holds.sql is not None and holds.sql != source.sql:
        expression = f"TRY_CAST({column} AS {holds.sql})"
    return Fitted(source, target, expression, tuple(_first_of(_checks(source, column, expression, holds))))


def _first_of(checks: Iterable[Check]) -> Iterator[Check]:
    """The same checks, each for the values that have passed those before it: a value is bad for one reason."""
    before: list[str] = []
    for check in checks:
        passed = f" AND NOT coalesce({' OR '.join(before)}, false)" if before else ""
        yield replace(check, bad=f"({check.bad}{passed})")
        before.append(check.bad)


def _checks(source: Source, column: str, expression: str, holds: Holds) -> Iterator[Check]:
    def bad(condition: str, code: str, reason: str) -> Check:
        return Check(source.name, f"({condition})", code, reason)

    if source.sql == "VARCHAR" and holds.no_nul:
        yield bad(
            f"contains({column}, chr(0))",
            "nul_character",
            "The text has a NUL character, which the database refuses.",
        )
    if expression != column:
        yield bad(
            f"{column} IS NOT NULL AND {expression} IS NULL",
            "wrong_type",
            f"The value does not fit the column's type {holds.sql}.",
        )
        if loss := _loss(source, column, expression, holds):
            yield bad(
                loss, "loses_digits", f"The column's type {holds.sql} would hold only a part of the value."
            )
    elif holds.family is Family.NUMBER and source.family is Family.TEXT:
        yield bad(
            f"NOT regexp_full_match({column}, {quote(_NUMBER)})", "wrong_type", "The text is no number."
        )
    if source.sql in ("DOUBLE", "FLOAT") and holds.finite:
        yield bad(f"NOT isfinite({column})", "not_finite", "The column takes neither NaN nor infinity.")
    if source.family is Family.MOMENT:
        yield bad(
            f"NOT isfinite({column}) OR year({column}) NOT BETWEEN 1 AND 9999", "outside_years",
            "The date is outside the years 1 to 9999.",
        )  # fmt: skip
    if (
        source.sql in ("TIMESTAMP", "TIME")
        and holds.second_digits < 6
        and holds.family in (Family.MOMENT, Family.TIME)
    ):
        unit = 10 ** (6 - holds.second_digits)
        yield bad(
            f"microsecond({column}) % {unit} <> 0", "loses_digits",
            f"The column holds {holds.second_digits} digits behind the second.",
        )  # fmt: skip
    text = expression if source.family is Family.TEXT else f"CAST({expression} AS VARCHAR)"
    if holds.most_characters is not None:
        yield bad(
            f"length({text}) > {holds.most_characters}",
            "too_long",
            f"The column holds {holds.most_characters} characters.",
        )
    if holds.most_bytes is not None:
        yield bad(
            f"strlen({text}) > {holds.most_bytes}", "too_long", f"The column holds {holds.most_bytes} bytes."
        )


_NUMBER = r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?\s*"
_WHOLE = r"\s*[+-]?[0-9]+(\.0*)?\s*"
_INTEGERS = {name for name in _FAMILIES if name.endswith("INT") or name == "INTEGER"}


def _loss(source: Source, column: str, expression: str, holds: Holds) -> str | None:
    """A condition for values of which a cast would keep but a part: DuckDB rounds where it can.

    A double is rounded to a column's decimals without a word, since it has no exact ones of its own.
    """
    kept = str(holds.sql)
    if source.family is Family.TEXT:
        return _loss_of_text(column, kept)
    if holds.family is Family.TEXT or (kept in ("FLOAT", "DOUBLE") and source.sql in ("FLOAT", "DOUBLE")):
        return None
    if source.sql in ("FLOAT", "DOUBLE") and kept.startswith("DECIMAL") and not kept.endswith(",0)"):
        return None
    return f"TRY_CAST({expression} AS {source.sql}) <> {column}"


def _loss_of_text(column: str, kept: str) -> str | None:
    if kept in _INTEGERS:
        return f"NOT regexp_full_match({column}, {quote(_WHOLE)})"
    if kept.startswith("DECIMAL"):
        digits = int(kept.rstrip(")").rpartition(",")[2])
        decimals = rf"\s*[+-]?[0-9]*(\.[0-9]{{0,{digits}}}0*)?\s*"
        return f"NOT regexp_full_match({column}, {quote(decimals)})"
    if kept == "DATE":
        return f"TRY_CAST({column} AS TIMESTAMP) <> CAST(TRY_CAST({column} AS DATE) AS TIMESTAMP)"
    return None
