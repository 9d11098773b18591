"""What the cells of a column become: profiled over all rows, then one SQL expression a column.

The kinds of cells are told by their first character (`cells`). A column of one kind gets that type; a column of several kinds
becomes text, in which numbers, dates and truths stand as a spreadsheet shows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import _duckdb as duckdb

from tidegate.workloads.literals import quote
from tidegate.workloads.tables.cells import (
    BOOLEAN,
    DATE,
    DURATION,
    ERROR,
    ESCAPE,
    TEXT,
    DateSystem,
    text_cell,
    unescaped_sql,
)
from tidegate.workloads.tables.model import ColumnType
from tidegate.workloads.tables.staged import StagedRows

_NUMBER_BIT, _TEXT_BIT, _BOOLEAN_BIT, _DATE_BIT, _DURATION_BIT, _ERROR_BIT = 1, 2, 4, 8, 16, 32
_BITS = {TEXT: _TEXT_BIT, BOOLEAN: _BOOLEAN_BIT, DATE: _DATE_BIT, DURATION: _DURATION_BIT, ERROR: _ERROR_BIT}
_EXACT = 2**53
"""Doubles above do not hold every integer."""
_DAY_MS = 86_400_000
_FIRST_DAY, _END_DAY = -693_593, 2_958_466
"""Of the years 1 to 9999, which every target can hold, from 30 December 1899; the end is not among them."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What all the cells of a column are."""

    kinds: int
    """Bits of the kinds seen; 0 where all are empty."""
    whole: bool = True
    """All numbers and dates are integers."""
    least: float = 0.0
    most: float = 0.0
    rounded: int = 0
    """Numbers above 2⁵³ that are not written as integers, so that they are doubles."""
    unreadable: int = 0
    """Cells that say they are numbers or dates, and are not."""
    escaped: int = 0
    """Texts with characters that staged rows cannot hold as they are."""

    @property
    def errors(self) -> bool:
        return bool(self.kinds & _ERROR_BIT) or self.unreadable > 0

    @property
    def far_dates(self) -> bool:
        """There may be dates beyond the years 1 to 9999; true of more than those, as days are counted from two beginnings."""
        return bool(self.kinds & _DATE_BIT) and (self.least < _FIRST_DAY or self.most > _END_DAY - 1500)

    @property
    def kind(self) -> int:
        """The bits without those of errors."""
        return self.kinds & ~_ERROR_BIT

    def type(self) -> ColumnType:
        if self.kind == _NUMBER_BIT:
            return self._number()
        if self.kind == _DATE_BIT:
            return self._date()
        return ColumnType.BOOLEAN if self.kind == _BOOLEAN_BIT else ColumnType.TEXT

    def _number(self) -> ColumnType:
        largest = max(abs(self.least), abs(self.most))
        if not self.whole or (largest >= _EXACT and self.rounded):
            return ColumnType.DOUBLE
        if largest < 2**63:
            return ColumnType.INTEGER
        return ColumnType.DECIMAL if largest < 1e38 else ColumnType.DOUBLE

    def _date(self) -> ColumnType:
        if self.least >= 0 and self.most < 1:
            return ColumnType.TIME
        return ColumnType.DATE if self.whole else ColumnType.TIMESTAMP


def profiles(con: duckdb.DuckDBPyConnection, staged: StagedRows, null_texts: Sequence[str]) -> list[Profile]:
    """One for each column, over all rows.

    Cells are grouped by column, so that the query does not grow with the columns: planned with aggregates of each it took
    17 s for 256 columns, and this way 0.2 s for 16,384 (3 rows); with 10 columns and 100,000 rows
    both take the same time.
    """
    cells = f"SELECT place, {nulled('cell', null_texts)} AS c FROM {staged.cells()}"
    kinds = f"SELECT place, c, {kind_sql('c')} AS k FROM ({cells}) WHERE c IS NOT NULL"
    values = f"SELECT place, c, k, {_serial('c', 'k')} AS d FROM ({kinds})"
    found = [Profile(0)] * staged.width
    query = f"SELECT place, {_facts('c', 'k', 'd')} FROM ({values}) GROUP BY place"
    for place, kind, whole, least, most, *counts in con.execute(query).fetchall():
        found[place] = Profile(kind, whole is not False, least or 0.0, most or 0.0, *counts)
    return found


def _facts(cell: str, kind: str, serial: str) -> str:
    """Aggregates in the order of Profile's fields."""
    return (
        f"bit_or({kind}), bool_and({serial} = trunc({serial})), min({serial}), max({serial}), "
        f"count(*) FILTER ({kind} = {_NUMBER_BIT} AND abs({serial}) >= {_EXACT} "
        f"AND NOT regexp_full_match({cell}, '-?[0-9]+')), "
        f"count(*) FILTER ({serial} IS NULL AND {kind} IN ({_NUMBER_BIT}, {_DATE_BIT}, {_DURATION_BIT})), "
        f"count(*) FILTER ({kind} = {_TEXT_BIT} AND contains({cell}, chr({ord(ESCAPE)})))"
    )


def cleaned(staged: StagedRows, places: Iterable[int], null_texts: Sequence[str]) -> str:
    """The staged rows as a subquery, with the texts that stand for null taken out."""
    places = [place for place in places if place < staged.width]
    cells = staged.scan(places)
    if not any(null_texts):
        return cells
    wanted = ", ".join(["r", *(f"{nulled(f'c{p}', null_texts)} AS c{p}" for p in places)])
    return f"(SELECT {wanted} FROM {cells})"


def nulled(cell: str, null_texts: Sequence[str]) -> str:
    """The cell, or null where it is one of the texts that stand for null."""
    nulls = ", ".join(quote(text_cell(text)) for text in null_texts if text)
    return f"CASE WHEN {cell} IN ({nulls}) THEN NULL ELSE {cell} END" if nulls else cell


def kind_sql(cell: str) -> str:
    """The bit of a cell's kind; 0 of an empty one."""
    cases = " ".join(f"WHEN {ord(mark)} THEN {bit}" for mark, bit in _BITS.items())
    return f"CASE WHEN {cell} IS NULL THEN 0 ELSE CASE ascii({cell}) {cases} ELSE {_NUMBER_BIT} END END"


def _serial(cell: str, kind: str) -> str:
    """Numbers, dates and durations as doubles; null where there is none or it is not finite."""
    value = (
        f"CASE WHEN {kind} = {_NUMBER_BIT} THEN TRY_CAST({cell} AS DOUBLE) "
        f"WHEN {kind} IN ({_DATE_BIT}, {_DURATION_BIT}) THEN TRY_CAST(substr({cell}, 2) AS DOUBLE) END"
    )
    return _finite(value)


def _finite(value: str) -> str:
    """A double, or null where it is none. Planning takes time by how often `value` stands in it: 25 times as long with 4."""
    return f"CASE WHEN isfinite({value}) THEN {value} END"


class Expressions:
    """SQL that makes values of cells. `system` is how the file counts days."""

    def __init__(self, system: DateSystem) -> None:
        self._system = system

    def inferred(self, cell: str, kind: ColumnType, profile: Profile) -> str:
        """A column of one kind, whose every value can be cast; errors become null."""
        finite = (
            _finite if profile.unreadable else str
        )  # str leaves it as it is: all have been seen to be finite
        if kind is ColumnType.TEXT:
            if profile.kinds not in (0, _TEXT_BIT):
                return self.text(cell)
            return unescaped_sql(f"substr({cell}, 2)") if profile.escaped else f"substr({cell}, 2)"
        if kind is ColumnType.BOOLEAN:
            return f"CASE {cell} WHEN 'b1' THEN true WHEN 'b0' THEN false END"
        if kind in (ColumnType.DATE, ColumnType.TIMESTAMP, ColumnType.TIME):
            return self._dated(finite(f"TRY_CAST(substr({cell}, 2) AS DOUBLE)"), kind)
        if kind is ColumnType.DOUBLE:
            return finite(f"TRY_CAST({cell} AS DOUBLE)")
        return f"TRY_CAST({cell} AS {kind.sql})"

    def given(self, cell: str, kind: ColumnType) -> str:
        """A value of the type that was given, or null where the cell cannot become it."""
        if kind is ColumnType.TEXT:
            return self.text(cell)
        bit = kind_sql(cell)
        text = f"trim({unescaped_sql(f'substr({cell}, 2)')})"
        number = f"CASE {bit} WHEN {_NUMBER_BIT} THEN {cell} WHEN {_TEXT_BIT} THEN {text} END"
        if kind is ColumnType.DOUBLE:
            return _finite(f"TRY_CAST({number} AS DOUBLE)")
        if kind in (ColumnType.INTEGER, ColumnType.DECIMAL):
            whole = f"TRY_CAST({number} AS DOUBLE) = trunc(TRY_CAST({number} AS DOUBLE))"
            return f"CASE WHEN {whole} THEN TRY_CAST({number} AS {kind.sql}) END"
        if kind is ColumnType.BOOLEAN:
            return (
                f"CASE WHEN {cell} IN ('b1', '1') THEN true WHEN {cell} IN ('b0', '0') THEN false "
                f"WHEN {bit} = {_TEXT_BIT} THEN TRY_CAST({text} AS BOOLEAN) END"
            )
        days = _finite(f"TRY_CAST(substr({cell}, 2) AS DOUBLE)")
        fits = {
            ColumnType.DATE: f"{days} = trunc({days})",
            ColumnType.TIME: f"{days} >= 0 AND {days} < 1",
            ColumnType.TIMESTAMP: "true",
        }[kind]
        return (
            f"CASE WHEN {bit} = {_DATE_BIT} AND {fits} THEN {self._dated(days, kind)} "
            f"WHEN {bit} = {_TEXT_BIT} THEN TRY_CAST({text} AS {kind.sql}) END"
        )

    def text(self, cell: str) -> str:
        """Any cell as text; errors, and what cannot be read, as null."""
        days = _finite(f"TRY_CAST(substr({cell}, 2) AS DOUBLE)")
        return (
            f"CASE {kind_sql(cell)} "
            f"WHEN {_TEXT_BIT} THEN {unescaped_sql(f'substr({cell}, 2)')} "
            f"WHEN {_NUMBER_BIT} THEN {_number_text(cell)} "
            f"WHEN {_BOOLEAN_BIT} THEN CASE {cell} WHEN 'b1' THEN 'TRUE' WHEN 'b0' THEN 'FALSE' END "
            f"WHEN {_DATE_BIT} THEN {self._dated_text(days)} "
            f"WHEN {_DURATION_BIT} THEN {_duration_text(days)} END"
        )

    def _dated(self, days: str, kind: ColumnType) -> str:
        if kind is ColumnType.TIME:
            ms = f"least(round(({days}) * {_DAY_MS}), {_DAY_MS - 1})"  # a day's last half millisecond is not its first
            at = f"CAST(TIMESTAMP '1899-12-30' + to_milliseconds(CAST({ms} AS BIGINT)) AS TIME)"
            return (
                f"CASE WHEN ({days}) IS NOT NULL THEN {at} END"  # least() of null and a number is the number
            )
        ms = f"round(({self._days(days)}) * {_DAY_MS})"
        at = f"(TIMESTAMP '1899-12-30' + to_milliseconds(CAST({ms} AS BIGINT)))"
        in_range = f"({ms}) BETWEEN {_FIRST_DAY * _DAY_MS} AND {_END_DAY * _DAY_MS - 1}"
        return f"CASE WHEN {in_range} THEN {f'CAST({at} AS DATE)' if kind is ColumnType.DATE else at} END"

    def _days(self, days: str) -> str:
        if self._system == "1904":
            return f"({days}) + 1462"
        return f"({days}) + CASE WHEN ({days}) < 60 THEN 1 ELSE 0 END" if self._system == "1900" else days

    def _dated_text(self, days: str) -> str:
        return (
            f"CASE WHEN ({days}) >= 0 AND ({days}) < 1 THEN CAST({self._dated(days, ColumnType.TIME)} AS VARCHAR) "
            f"WHEN ({days}) = trunc({days}) THEN CAST({self._dated(days, ColumnType.DATE)} AS VARCHAR) "
            f"ELSE CAST({self._dated(days, ColumnType.TIMESTAMP)} AS VARCHAR) END"
        )


def _number_text(cell: str) -> str:
    """Integers as they are written; others as the shortest text that is the same double, `5.0` as `5`."""
    double = _finite(f"TRY_CAST({cell} AS DOUBLE)")
    return (
        f"CASE WHEN regexp_full_match({cell}, '-?[0-9]+') THEN {cell} "
        f"WHEN {double} = trunc({double}) AND abs({double}) < {_EXACT} THEN CAST(CAST({double} AS BIGINT) AS VARCHAR) "
        f"ELSE CAST({double} AS VARCHAR) END"
    )


def _duration_text(days: str) -> str:
    """`H:MM:SS`, hours beyond 24 too, with milliseconds where there are some."""
    ms = f"CAST(round(abs({days}) * 86400000) AS BIGINT)"
    return (
        f"CASE WHEN ({days}) < 0 THEN '-' ELSE '' END || format('{{}}:{{:02d}}:{{:02d}}', {ms} // 3600000, "
        f"{ms} // 60000 % 60, {ms} // 1000 % 60) "
        f"|| CASE WHEN {ms} % 1000 > 0 THEN format('.{{:03d}}', {ms} % 1000) ELSE '' END"
    )
