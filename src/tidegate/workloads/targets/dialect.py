"""What sets the databases apart where a load is planned: names and types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tidegate.workloads.targets.fitting import Family, Holds, Source
from tidegate.workloads.targets.names import NameRules


@dataclass(frozen=True, slots=True)
class Dialect:
    """One database's names and types."""

    title: str
    """As people call it."""
    names: NameRules
    most_columns: int
    type_for: Callable[[Source, int | None], str]
    """The type of a new column. The number, for a key, is the longest text in characters; None for all other columns."""
    bad_rows_types: tuple[str, ...]
    """Of `survey.BAD_ROW_COLUMNS`."""
    rendered: Callable[[Source, Family, str], str]
    """The expression for a value as it is sent, made of that of its column."""


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column of a table, as the database describes it."""

    name: str
    declared: str
    """Its type in the database's words."""
    holds: Holds
    required: bool = False
    """NOT NULL."""
    has_default: bool = False
    """Or a value that the database makes up."""
    computed: bool = False
    """Takes no value from anybody."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it is."""

    columns: tuple[TableColumn, ...]
    unique: tuple[frozenset[str], ...] = ()
    """The columns of each index that holds rows apart, without conditions."""

    def column(self, name: str) -> TableColumn:
        return next(column for column in self.columns if column.name == name)
