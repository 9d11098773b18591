"""Rows of staged cells, in a text file that DuckDB reads back: constant memory, and one cast for a whole column."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from tidegate.core.resources import MIB
from tidegate.workloads.literals import quote
from tidegate.workloads.tables.cells import ESCAPE, SEPARATOR, Row

_BUFFER_BYTES = MIB
_LEAST_LINE_BYTES = 2 * MIB


class StagedRows:
    """A file of rows. Write with `add`, then `close`, then read by the SQL of `scan`."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.row_count = 0
        self.width = 0
        """Columns of the widest row."""
        self._longest_bytes = 0
        self._file = Path(path).open("wb", buffering=_BUFFER_BYTES)  # noqa: SIM115  closed by close()

    def add(self, rows: Iterable[Row]) -> None:
        for number, cells in rows:
            line = f"{number}{SEPARATOR}{SEPARATOR.join(cells)}\n".encode("utf-8", "replace")
            self._longest_bytes = max(self._longest_bytes, len(line))
            self.width = max(self.width, len(cells))
            self.row_count += 1
            self._file.write(line)

    def close(self) -> None:
        self._file.close()

    def remove(self) -> None:
        """Closes and deletes the file."""
        self._file.close()
        if os.path.exists(self.path):
            os.unlink(self.path)

    def scan(self, columns: Iterable[int]) -> str:
        """A subquery of `r`, the row's number, and `c0`, `c1` … for these columns; empty cells are null."""
        wanted = ", ".join(["r", *(f"c{place}" for place in columns)])
        return f"(SELECT {wanted} FROM {self.read_as(self.path, {})})"

    def read_as(self, path: str, types: Mapping[int, str], longer_bytes: int = 0) -> str:
        """A table expression of `r` and all columns, text but for those that `types` names, of a file such as this one whose
        lines are at most so much longer."""
        names = (f"'c{place}': '{types.get(place, 'VARCHAR')}'" for place in range(self.width))
        return self._read(path, SEPARATOR, ", ".join(["'r': 'BIGINT'", *names]), longer_bytes)

    def cells(self) -> str:
        """A subquery of every cell that is not empty: `place`, its column from 0, and `cell`."""
        every = (
            f"SELECT unnest(cells[2:]) AS cell, unnest(range(len(cells) - 1)) AS place FROM {self.lines()}"
        )
        return f"(SELECT place, cell FROM ({every}) WHERE cell <> '')"

    def lines(self) -> str:
        """A subquery of `cells`, all of a row with its number before them."""
        read = self._read(self.path, ESCAPE * 2, "'line': 'VARCHAR'")  # an escape is followed by a letter
        return f"(SELECT string_split(line, '{SEPARATOR}') AS cells FROM {read})"

    def _read(self, path: str, delimiter: str, columns: str, longer_bytes: int = 0) -> str:
        longest = max(self._longest_bytes + longer_bytes + 1, _LEAST_LINE_BYTES)
        return (
            f"read_csv({quote(path)}, auto_detect = false, header = false, "
            f"delim = '{delimiter}', quote = '', escape = '', new_line = '\\n', null_padding = true, "
            f"max_line_size = {longest}, buffer_size = {8 * longest}, columns = {{{columns}}})"
        )
