"""The steps of a load, the same for all databases; what differs is left to each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import _duckdb as duckdb

from tidegate.workloads.tables.model import Extract
from tidegate.workloads.targets import stream
from tidegate.workloads.targets.dialect import Dialect, Table
from tidegate.workloads.targets.fitting import Family, Source
from tidegate.workloads.targets.model import BAD_ROWS_SUFFIX, LOADS, LoadOrder, LoadReport, Mode, Progress
from tidegate.workloads.targets.names import shortened
from tidegate.workloads.targets.plan import Plan, check_order, missing_columns, plan_load
from tidegate.workloads.targets.survey import (
    BAD_ROW_COLUMNS,
    Survey,
    bad_rows_query,
    look_through,
    parquet,
)

LOADS_COLUMNS = ("load_id", "target_table", "file", "sheet", "mode", "row_count", "bad_row_count")
"""Beside `loaded_at`, which the database fills in by its own clock."""
MARK = "\0"
"""Stands for a value in a statement: no name can have it."""
_BAD_ROW_SOURCES = tuple(
    Source(name, {"row": "BIGINT", "data_row": "BIGINT", "loaded": "BOOLEAN"}.get(name, "VARCHAR"))
    for name in BAD_ROW_COLUMNS
)


class SqlTarget(ABC):
    """One connection to one database. Not for several threads."""

    dialect: ClassVar[Dialect]

    def __init__(self, con: duckdb.DuckDBPyConnection, staging: str) -> None:
        """`con` reads the Parquet files, and may write into `staging`."""
        self._con = con
        self._staging = staging
        self._rows_from = ""
        """The Parquet file of the load, as a relation."""

    def load(self, extract: Extract, order: LoadOrder, progress: Progress) -> LoadReport:
        """See `model.Target`."""
        self._rows_from = parquet(extract.path)
        sources = [Source(name, sql) for name, sql in stream.columns_of(self._con, extract.path)]
        check_order(order, sources, self.dialect)
        named = replace(order, table=self.dialect.names.fitted(order.table))
        with self._errors(named), self._alone(named):
            report = self._load(extract, named, sources, progress)
        names = [order.table, *(source.name for source in sources)]
        return replace(report, notes=shortened(self.dialect.names, names))

    @abstractmethod
    def close(self) -> None: ...

    def _load(
        self, extract: Extract, order: LoadOrder, sources: Sequence[Source], progress: Progress
    ) -> LoadReport:
        self._make_loads_table(order)
        table = self._describe(order, order.table)
        if table is not None and not order.again and self._loaded(order):
            return LoadReport(
                order.table, extract.row_count, unchanged_because_loaded_before=extract.row_count
            )
        home, added = self._home(order, table, sources)
        described = self._describe(order, home)
        assert described is not None
        plan = plan_load(sources, described, order, self.dialect)
        survey = look_through(self._con, extract, plan.columns, plan.checks)
        bad = bad_rows_query(extract, order, survey)
        bad_table = self._bad_rows_table(order, wanted=bad is not None)
        self._begin()
        self._forget(order, bad_table, emptied=order.mode is Mode.REPLACE or table is None)
        inserted, updated = self._write(order, home, plan, self._rows(plan, described, survey), progress)
        if bad is not None and bad_table is not None:
            self._send(order, bad_table, BAD_ROW_COLUMNS, self._bad_rows(bad), lambda _: None)
        self._remember(order, inserted + updated, survey.bad_rows)
        self._settle(order, home)
        return LoadReport(
            order.table,
            extract.row_count,
            inserted=inserted,
            updated=updated,
            duplicates=survey.good_rows - inserted - updated,
            bad_rows=survey.bad_rows,
            created=table is None,
            added_columns=added,
            bad_rows_table=bad_table if bad is not None else None,
        )

    def _write(
        self, order: LoadOrder, home: str, plan: Plan, query: str, progress: Progress
    ) -> tuple[int, int]:
        """Send the rows, by way of a table of their own when some may be updates; how many were inserted and updated."""
        if order.mode is not Mode.UPSERT:
            return self._send(order, home, plan.names, query, progress), 0
        landing = self._landing(order, home, plan)
        self._send(order, landing, plan.names, query, progress)
        return self._merge(order, landing, home, plan)

    def _home(
        self, order: LoadOrder, table: Table | None, sources: Sequence[Source]
    ) -> tuple[str, tuple[str, ...]]:
        """The table that the rows go into, made or emptied if need be, and the columns that were added to it."""
        if table is None:
            self._create(order, order.table, self._definitions(order, sources))
            return order.table, ()
        if order.mode is Mode.REPLACE:
            self._empty(order)
        added = self._added(order, table, sources)
        self._add_columns(order, order.table, added)
        return order.table, tuple(name for name, _ in added)

    def _added(self, order: LoadOrder, table: Table, sources: Sequence[Source]) -> list[tuple[str, str]]:
        """Names and types of the columns to add."""
        if not order.add_columns:
            return []
        return self._typed(missing_columns(sources, table, self.dialect))

    def _definitions(self, order: LoadOrder, sources: Sequence[Source]) -> str:
        """What stands between the parentheses of CREATE TABLE."""
        names = self.dialect.names
        lines = [f"{names.quoted(name)} {kind}" for name, kind in self._typed(sources, order.keys)]
        if order.keys:
            lines.append(f"PRIMARY KEY ({names.listed(map(names.fitted, order.keys))})")
        return ", ".join(lines)

    def _typed(self, sources: Sequence[Source], keys: Sequence[str] = ()) -> list[tuple[str, str]]:
        typed = []
        for source in sources:
            kind = self.dialect.type_for(source, self._key_length(source) if source.name in keys else None)
            typed.append((self.dialect.names.fitted(source.name), kind))
        return typed

    def _key_length(self, source: Source) -> int:
        """The longest text of a key, in characters, for databases that must know. Others need not ask."""
        return 0

    def _rows(self, plan: Plan, table: Table, survey: Survey) -> str:
        """The SELECT of what is sent to the table."""
        expressions = [
            (
                self.dialect.rendered(
                    fitted.source, table.column(fitted.target).holds.family, fitted.expression
                ),
                f"c{place}",
            )
            for place, fitted in enumerate(plan.columns)
        ]
        return stream.select(expressions, self._rows_from, survey.where)

    def _bad_rows(self, query: str) -> str:
        listed = ", ".join(f'"{name}"' for name in BAD_ROW_COLUMNS)
        expressions = [
            (self.dialect.rendered(source, Family.ANY, f'"{source.name}"'), source.name)
            for source in _BAD_ROW_SOURCES
        ]
        return stream.select(expressions, f"({query}) AS bad({listed})")

    def _bad_rows_table(self, order: LoadOrder, *, wanted: bool) -> str | None:
        """The side table, made if it is wanted; None when there is none."""
        name = self.dialect.names.fitted(order.table, BAD_ROWS_SUFFIX)
        if wanted and self._describe(order, name) is None:
            pairs = zip(BAD_ROW_COLUMNS, self.dialect.bad_rows_types, strict=True)
            self._create(
                order, name, ", ".join(f"{self.dialect.names.quoted(c)} {kind}" for c, kind in pairs)
            )
            return name
        return name if wanted or self._describe(order, name) is not None else None

    @contextmanager
    def _errors(self, order: LoadOrder) -> Iterator[None]:
        """Around a load: the driver's errors become TaskErrors."""
        yield

    @abstractmethod
    @contextmanager
    def _alone(self, order: LoadOrder) -> Iterator[None]:
        """Around a load: keep others off the table as far as need be; undo everything when it fails."""
        yield

    def _begin(self) -> None:  # noqa: B027  most have begun by then
        """Begin the transaction, where making a table would have ended it."""

    @abstractmethod
    def _settle(self, order: LoadOrder, home: str) -> None:
        """Make everything visible at once."""

    @abstractmethod
    def _describe(self, order: LoadOrder, name: str) -> Table | None: ...

    @abstractmethod
    def _create(self, order: LoadOrder, name: str, definitions: str) -> None: ...

    @abstractmethod
    def _empty(self, order: LoadOrder) -> None: ...

    @abstractmethod
    def _add_columns(self, order: LoadOrder, name: str, columns: Sequence[tuple[str, str]]) -> None: ...

    @abstractmethod
    def _send(
        self, order: LoadOrder, table: str, columns: Sequence[str], query: str, progress: Progress
    ) -> int:
        """The rows of a DuckDB query into a table; how many."""

    @abstractmethod
    def _landing(self, order: LoadOrder, home: str, plan: Plan) -> str:
        """A table of this connection alone, with the plan's columns as those of `home` are; its name."""

    @abstractmethod
    def _merge(self, order: LoadOrder, landing: str, home: str, plan: Plan) -> tuple[int, int]:
        """The last row of each key from `landing` into `home`; how many were inserted and updated."""

    @abstractmethod
    def _run(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """One statement with a MARK for each value; the rows it answers."""

    @abstractmethod
    def _qualified(self, order: LoadOrder, name: str) -> str:
        """The name of a table as it stands in SQL."""

    @abstractmethod
    def _make_loads_table(self, order: LoadOrder) -> None: ...

    def _loaded(self, order: LoadOrder) -> bool:
        sql = f"SELECT 1 FROM {self._qualified(order, LOADS)} WHERE load_id = {MARK}"
        return bool(self._run(sql, (order.load_id,)))

    def _forget(self, order: LoadOrder, bad_table: str | None, *, emptied: bool) -> None:
        """Drop what is remembered of this load, or, when its table has been emptied, of all that went into it."""
        loads = self._qualified(order, LOADS)
        if emptied:
            self._run(f"DELETE FROM {loads} WHERE target_table = {MARK}", (order.table,))
        self._run(f"DELETE FROM {loads} WHERE load_id = {MARK}", (order.load_id,))
        if bad_table is None:
            return
        bad = f"DELETE FROM {self._qualified(order, bad_table)}"
        if emptied:
            self._run(bad)
        else:
            self._run(f"{bad} WHERE load_id = {MARK}", (order.load_id,))

    def _remember(self, order: LoadOrder, rows: int, bad_rows: int) -> None:
        marks = ", ".join([MARK] * len(LOADS_COLUMNS))
        self._run(
            f"INSERT INTO {self._qualified(order, LOADS)} ({', '.join(LOADS_COLUMNS)}) VALUES ({marks})",
            (order.load_id, order.table, order.file, order.sheet, str(order.mode), rows, bad_rows),
        )
