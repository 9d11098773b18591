"""What a load is asked for, and what it answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from tidegate.workloads.tables.model import Extract


class Mode(StrEnum):
    """What becomes of the rows that the table holds already."""

    APPEND = "append"
    REPLACE = "replace"
    """They go. The table itself stays as it is defined, with its indexes and rights, if it exists."""
    UPSERT = "upsert"
    """A row with the same keys is updated, all others are inserted. The table needs a unique index over exactly the keys."""


LOADS = "tidegate_loads"
"""The table of the target in which loads are remembered."""
BAD_ROWS_SUFFIX = "_bad_rows"
"""Rows that could not be loaded are kept in the table of this name behind that of the load."""


@dataclass(frozen=True, slots=True)
class LoadOrder:
    """One file's sheet into one table."""

    table: str
    load_id: str
    """From `load_id_of`: what was loaded under it once is not loaded again."""
    mode: Mode = Mode.APPEND
    keys: tuple[str, ...] = ()
    """Columns, by the names in the extract, that tell rows apart: for `upsert`, and of a new table the primary key."""
    schema: str | None = None
    """Of PostgreSQL; None: the first of the search path."""
    file: str = ""
    """The file's name, for the list of loads and the bad rows."""
    sheet: str = ""
    again: bool = False
    """Load also what was loaded before."""
    add_columns: bool = False
    """Add columns that the table does not have, instead of an error."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a load has done.

    `rows_in` is the sum of `inserted`, `updated`, `duplicates`, `bad_rows` and `unchanged_because_loaded_before`.
    """

    table: str
    """As it is called in the target, which may be a shortened name."""
    rows_in: int
    inserted: int = 0
    updated: int = 0
    duplicates: int = 0
    """Upsert: rows of the file that a later row of the file with the same keys has replaced."""
    unchanged_because_loaded_before: int = 0
    bad_rows: int = 0
    """Rows of the extract that the target cannot hold. Those that the reader found are counted in the extract."""
    created: bool = False
    """Whether the table was made by this load."""
    added_columns: tuple[str, ...] = ()
    bad_rows_table: str | None = None
    """None when there were none, neither here nor at the reader's."""
    notes: tuple[str, ...] = field(default=())
    """Sentences for the user: names that had to be shortened."""


Progress = Callable[[int], None]
"""Called with the rows sent to the target so far; cheap to call often."""


class Target(Protocol):
    """An open database."""

    def load(self, extract: Extract, order: LoadOrder, progress: Progress) -> LoadReport:
        """Load all or nothing: killed at any moment, the target is as it was or has all of it.

        Raises TaskError. Its code is one of those in docs/targets.md; `retry` among its numbers is 1 where trying again
        may help.
        """
        ...

    def close(self) -> None: ...


def load_id_of(
    *,
    content_sha256: str,
    sheet: str,
    table: str,
    mode: Mode,
    keys: Sequence[str] = (),
    options: object = None,
    schema: str | None = None,
) -> str:
    """64 hexadecimal digits that are the same for the same load: content, place and all that changes what is written.

    `options` are the reader's, as JSON values. The names of the file and of the target's machine do not count: the list
    lies in the target itself.
    """
    parts = [content_sha256, sheet, schema, table, str(mode), list(keys), options]
    text = json.dumps(parts, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
