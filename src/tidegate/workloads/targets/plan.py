"""From an extract and a table to what is sent where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidegate.workloads.errors import TaskError
from tidegate.workloads.literals import quote_name
from tidegate.workloads.targets.dialect import Dialect, Table, TableColumn
from tidegate.workloads.targets.fitting import Check, Fitted, Source, carries_over, fit
from tidegate.workloads.targets.model import LoadOrder, Mode
from tidegate.workloads.targets.names import match


@dataclass(frozen=True, slots=True)
class Plan:
    """The columns of a load, in the order of the file."""

    columns: tuple[Fitted, ...]
    checks: tuple[Check, ...]
    """Those that belong to the table rather than to a type: keys and columns that must not be null."""
    keys: tuple[str, ...]
    """By their names in the table."""

    @property
    def names(self) -> list[str]:
        return [column.target for column in self.columns]

    @property
    def others(self) -> list[str]:
        """The columns that are no keys."""
        return [name for name in self.names if name not in self.keys]


def check_order(order: LoadOrder, sources: Sequence[Source], dialect: Dialect) -> None:
    """Raise TaskError for what can be told without a look at the target."""
    names = {source.name for source in sources}
    if missing := [key for key in order.keys if key not in names]:
        raise TaskError(
            f"The file has no column {_listed(missing)}, named as a key. It has {_listed(sorted(names))}.",
            code="no_key",
        )
    if order.mode is Mode.UPSERT and not order.keys:
        raise TaskError("`upsert` needs `keys`: the columns that tell rows apart.", code="no_key")
    if not sources:
        raise TaskError("The file has no columns.", code="no_columns")
    if len(sources) > dialect.most_columns:
        raise TaskError(
            f"The file has {len(sources)} columns; {dialect.title} takes {dialect.most_columns} in a table.",
            code="too_many_columns", numbers={"columns": len(sources), "limit": dialect.most_columns},
        )  # fmt: skip


def missing_columns(sources: Sequence[Source], table: Table, dialect: Dialect) -> list[Source]:
    """Those that the table does not have."""
    found = match(
        [source.name for source in sources], [column.name for column in table.columns], dialect.names
    )
    return [source for source in sources if source.name not in found]


def plan_load(sources: Sequence[Source], table: Table, order: LoadOrder, dialect: Dialect) -> Plan:
    """How the file's columns go into the table's. Raises TaskError for what cannot."""
    found = match(
        [source.name for source in sources], [column.name for column in table.columns], dialect.names
    )
    if missing := [source.name for source in sources if source.name not in found]:
        raise TaskError(
            f"The table {order.table!r} has no column {_listed(missing)}. Add "
            f"{'it' if len(missing) == 1 else 'them'}, or load with `add_columns`.",
            code="missing_columns",
        )
    keys = tuple(found[key] for key in order.keys)
    _refuse_unfilled(table, found, order)
    _refuse_unlike(sources, table, found, order)
    if order.mode is Mode.UPSERT:
        _refuse_without_index(table, keys, order, dialect)
    columns = tuple(
        fit(source, found[source.name], table.column(found[source.name]).holds) for source in sources
    )
    return Plan(columns, tuple(_table_checks(sources, table, found, order)), keys)


def _table_checks(
    sources: Sequence[Source], table: Table, found: Mapping[str, str], order: LoadOrder
) -> list[Check]:
    checks = []
    for source in sources:
        null = f"{quote_name(source.name)} IS NULL"
        if source.name in order.keys:
            checks.append(Check(source.name, null, "null_key", "A key is missing."))
        elif table.column(found[source.name]).required:
            checks.append(
                Check(
                    source.name,
                    null,
                    "null_value",
                    "The table's column must not be null (NOT NULL).",
                    fatal=True,
                )
            )
    return checks


def _refuse_unfilled(table: Table, found: Mapping[str, str], order: LoadOrder) -> None:
    filled = set(found.values())
    unfilled = [c.name for c in table.columns if c.required and not c.has_default and c.name not in filled]
    if unfilled:
        raise TaskError(
            f"The table {order.table!r} wants a value for {_listed(unfilled)} (NOT NULL without a default), "
            "and the file has no such column.",
            code="unfilled_columns",
        )
    if computed := [table.column(name).name for name in found.values() if table.column(name).computed]:
        raise TaskError(
            f"The table {order.table!r} computes {_listed(computed)} itself; it takes no values.",
            code="computed_columns",
        )


def _refuse_unlike(
    sources: Sequence[Source], table: Table, found: Mapping[str, str], order: LoadOrder
) -> None:
    def pair(source: Source) -> tuple[Source, TableColumn]:
        return source, table.column(found[source.name])

    unlike = [(s, c) for s, c in map(pair, sources) if not carries_over(s.family, c.holds.family)]
    if unlike:
        told = "; ".join(
            f"{s.name!r} is {s.sql} in the file and {c.declared} in the table" for s, c in unlike[:10]
        )
        raise TaskError(
            f"The columns of the file do not go into those of the table {order.table!r}: {told}.",
            code="unlike_types",
        )


def _refuse_without_index(table: Table, keys: Sequence[str], order: LoadOrder, dialect: Dialect) -> None:
    if frozenset(keys) not in table.unique:
        raise TaskError(
            f"The table {order.table!r} has no unique index over exactly {_listed(keys)}, which `upsert` needs. Make one: "
            f"CREATE UNIQUE INDEX … ON {dialect.names.quoted(order.table)} ({dialect.names.listed(keys)}).",
            code="no_unique_index",
        )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:20]))
    return shown if len(names) <= 20 else f"{shown} and {len(names) - 20} more"
