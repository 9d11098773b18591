"""Which numbers a CSV column really holds, by the text of its values."""

from __future__ import annotations

from collections.abc import Sequence

import _duckdb as duckdb

from tidegate.workloads.literals import quote
from tidegate.workloads.tables.model import ColumnType

_LEADING_ZERO = r"\s*[+-]?0[0-9].*"
_WHOLE = r"\s*[+-]?[0-9]+\s*"
_TYPES = (ColumnType.INTEGER, ColumnType.DECIMAL, ColumnType.DOUBLE)


def types(
    con: duckdb.DuckDBPyConnection, texts: str, places: Sequence[int], decimal: str, rows: int | None = None
) -> dict[int, ColumnType]:
    """For each place the narrowest type that loses nothing: integer, decimal, double, else text.

    `texts` is a table expression of which the columns `c0`, `c1` and so on are text; all of it is read, or its first `rows`.
    `decimal` is the decimal separator. Zeros in front (007) and integers that no double holds are kept as text.
    """
    if not places:
        return {}
    wanted = ", ".join(
        f"coalesce(bool_and({fits}), true)" for place in places for fits in _fits(f"c{place}", decimal)
    )
    limit = "" if rows is None else f" LIMIT {rows}"
    row = con.execute(f"SELECT {wanted} FROM (FROM {texts}{limit})").fetchone()
    assert row is not None  # an aggregate without groups has one row
    found = {}
    for number, place in enumerate(places):
        fits = row[len(_TYPES) * number : len(_TYPES) * (number + 1)]
        found[place] = next(
            (kind for kind, holds in zip(_TYPES, fits, strict=True) if holds), ColumnType.TEXT
        )
    return found


def _fits(cell: str, decimal: str) -> tuple[str, str, str]:
    """For each of `_TYPES` the condition that a value fits; null for null."""
    number = (
        cell if decimal == "." else f"CASE WHEN NOT contains({cell}, '.') THEN replace({cell}, ',', '.') END"
    )
    whole = f"regexp_full_match({cell}, {quote(_WHOLE)})"
    kept = f"NOT regexp_full_match({cell}, {quote(_LEADING_ZERO)}, 's')"
    as_decimal = f"TRY_CAST({cell} AS DECIMAL(38,0))"
    as_double = f"TRY_CAST({number} AS DOUBLE)"
    exact = f"coalesce(TRY_CAST({as_double} AS DECIMAL(38,0)) = {as_decimal}, false)"
    double = f"{kept} AND NOT contains({cell}, '_') AND {as_double} IS NOT NULL AND (NOT {whole} OR {exact})"
    return tuple(  # type: ignore[return-value]  # three are made of three
        f"CASE WHEN {cell} IS NOT NULL THEN {fits} END"
        for fits in (
            f"{kept} AND {whole} AND TRY_CAST({cell} AS BIGINT) IS NOT NULL",
            f"{kept} AND {whole} AND {as_decimal} IS NOT NULL",
            double,
        )
    )
