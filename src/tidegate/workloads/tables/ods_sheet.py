"""The rows of one table of an ods file, streamed by expat: memory does not grow with the table."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import IO, Any

from tidegate.core.resources import MIB
from tidegate.workloads.tables.cells import DateSystem, Row
from tidegate.workloads.tables.model import MOST_COLUMNS
from tidegate.workloads.tables.ods_parts import CONTENT, TABLE, TEXT, cell
from tidegate.workloads.tables.xlsx_parts import corrupt, safe_parser

_CHUNK_BYTES = MIB // 4
_LAST_ROW = 1_048_576
_CELLS = (TABLE + "table-cell", TABLE + "covered-table-cell")
_BLANKS = re.compile("[ \t\r\n]+")
_SPACE, _TAB, _BREAK = "\x01", "\x02", "\x03"
"""Stand for what is written as an element while blanks are gathered; XML cannot hold them."""
_WRITTEN = str.maketrans({_SPACE: " ", _TAB: "\t", _BREAK: "\n"})


class OdsSheet:
    """A table, by its place in the file, as a RowSource."""

    date_system: DateSystem = "plain"

    def __init__(self, archive: zipfile.ZipFile, place: int, name: str) -> None:
        self.name = name
        self._archive = archive
        self._reader = _TableReader(place)
        self._size = max(1, archive.getinfo(CONTENT).file_size)
        self._read = 0

    def share(self) -> float:
        return min(1.0, self._read / self._size)

    def merged(self) -> list[tuple[int, int, int, int]]:
        return self._reader.merged

    def rows(self) -> Iterator[Row]:
        with corrupt(CONTENT), self._archive.open(CONTENT) as file:
            yield from self._rows(file)

    def _rows(self, file: IO[bytes]) -> Iterator[Row]:
        reader = self._reader
        parser = safe_parser()
        parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
        parser.CharacterDataHandler = reader.characters
        while not reader.finished and (chunk := file.read(_CHUNK_BYTES)):
            self._read += len(chunk)
            parser.Parse(chunk)
            for first, cells, repeated in reader.take():
                yield from ((first + number, cells) for number in range(repeated))
        if not reader.finished:
            parser.Parse(b"", True)


class _TableReader:
    """Gathers rows of one table: the number of the first, its cells, and how often it stands there."""

    def __init__(self, place: int) -> None:
        self.merged: list[tuple[int, int, int, int]] = []
        self.finished = False
        self._before = place
        """Tables that come before it."""
        self._depth = 0
        """Of tables within tables."""
        self._done: list[tuple[int, list[str], int]] = []
        self._row, self._repeated = 0, 1
        self._cells: list[str] = []
        self._column = 0
        self._cell: Mapping[str, str] | None = None
        self._text: list[str] | None = None
        """Of the cell's paragraphs; None outside of one."""
        self._paragraphs: list[str] = []
        self._passing = 0
        """Depth within an element of which nothing belongs to the cell's value: a note, a picture."""

    def take(self) -> list[tuple[int, list[str], int]]:
        done, self._done = self._done, []
        return done

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if self.finished:
            return
        if self._passing:
            self._passing += 1
        elif name == TABLE + "table":
            self._depth += 1
        elif self._before or self._depth != 1:
            return
        elif self._cell is not None:
            self._start_within(name, attributes)
        elif name in _CELLS:
            self._cell = attributes
        elif name == TABLE + "table-row":
            self._start_row(attributes)

    def end(self, name: str) -> None:
        if self.finished:
            return
        if self._passing:
            self._passing -= 1
        elif name == TABLE + "table":
            self._end_table()
        elif self._cell is None:
            if name == TABLE + "table-row" and not self._before and self._depth == 1:
                self._end_row()
        elif name in _CELLS:
            self._end_cell(self._cell)
        elif name == TEXT + "p" and self._text is not None:
            text = _BLANKS.sub(" ", "".join(self._text)).removeprefix(" ")
            self._paragraphs.append(text.translate(_WRITTEN))
            self._text = None

    def characters(self, data: str) -> None:
        if self._text is not None and not self._passing:
            self._text.append(data)

    def _start_within(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == TEXT + "p" and self._text is None:
            self._text = []
        elif self._text is None or not name.startswith(TEXT):
            self._passing = 1
        elif name == TEXT + "s":
            self._text.append(_SPACE * min(_count(attributes, TEXT + "c"), 100_000))
        elif name == TEXT + "tab":
            self._text.append(_TAB)
        elif name == TEXT + "line-break":
            self._text.append(_BREAK)

    def _start_row(self, attributes: Mapping[str, str]) -> None:
        self._row += self._repeated if self._row else 1
        self._repeated = _count(attributes, TABLE + "number-rows-repeated")
        self._cells, self._column = [], 0

    def _end_row(self) -> None:
        if not self._cells:
            return
        if self._row + self._repeated - 1 > _LAST_ROW:
            raise ValueError(f"a row stands below row {_LAST_ROW}")
        self._done.append((self._row, self._cells, self._repeated))

    def _end_cell(self, attributes: Mapping[str, str]) -> None:
        repeated = _count(attributes, TABLE + "number-columns-repeated")
        value = cell(attributes, "\n".join(self._paragraphs))
        self._paragraphs.clear()
        self._cell = None
        if value:
            if self._column + repeated > MOST_COLUMNS:
                raise ValueError(f"a row has more than {MOST_COLUMNS} columns")
            self._cells += [""] * (self._column - len(self._cells)) + [value] * repeated
        self._merge(attributes)
        self._column += repeated

    def _merge(self, attributes: Mapping[str, str]) -> None:
        columns = _count(attributes, TABLE + "number-columns-spanned")
        rows = _count(attributes, TABLE + "number-rows-spanned")
        if columns > 1 or rows > 1:
            self.merged.append((self._row, self._column, self._row + rows - 1, self._column + columns - 1))

    def _end_table(self) -> None:
        self._depth -= 1
        if self._depth == 0:
            self.finished = not self._before
            self._before = max(0, self._before - 1)


def _count(attributes: Mapping[str, Any], name: str) -> int:
    """A number of repetitions, 1 without one. Raises ValueError for what is none."""
    return max(1, int(attributes[name])) if name in attributes else 1
