"""The rows of one sheet of an xlsb file, streamed: memory does not grow with the sheet."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from struct import unpack_from
from typing import IO

from tidegate.workloads.tables.cells import BOOLEAN, ERROR, DateSystem, Row, text_cell
from tidegate.workloads.tables.model import MOST_COLUMNS
from tidegate.workloads.tables.xlsb_parts import records, text_at
from tidegate.workloads.tables.xlsx_parts import corrupt
from tidegate.workloads.tables.xlsx_text import Strings

_ROW, _BLANK, _RICH_TEXT, _MERGED = 0x00, 0x01, 0x3E, 0xB0
_SHORT_CELLS = range(0x0C, 0x13)
"""Cells that do not name their column. No program is known to write them."""
_DIMENSION = 0x94
_LAST_ROW = 1_048_576
_ERRORS: Mapping[int, str] = {
    0x00: "#NULL!", 0x07: "#DIV/0!", 0x0F: "#VALUE!", 0x17: "#REF!", 0x1D: "#NAME?", 0x24: "#NUM!", 0x2A: "#N/A",
    0x2B: "#GETTING_DATA",
}  # fmt: skip


class XlsbSheet:
    """A sheet as a RowSource."""

    def __init__(
        self,
        archive: zipfile.ZipFile,
        part: str,
        name: str,
        strings: Strings,
        kinds: list[str],
        date_system: DateSystem,
    ) -> None:
        self.name = name
        self.date_system = date_system
        self._archive = archive
        self._part = part
        self._strings = strings
        self._kinds = kinds
        self._size = max(1, archive.getinfo(part).file_size)
        self._file: IO[bytes] | None = None
        self._merged: list[tuple[int, int, int, int]] = []
        self._readers: Mapping[int, Callable[[bytes, int], str]] = {
            0x02: self._rounded,
            **dict.fromkeys((0x03, 0x0B), _error),
            **dict.fromkeys((0x04, 0x0A), _boolean),
            **dict.fromkeys((0x05, 0x09), self._number),
            **dict.fromkeys((0x06, 0x08), _text),
            0x07: self._shared,
            _RICH_TEXT: _rich_text,
        }

    def share(self) -> float:
        return min(1.0, self._file.tell() / self._size) if self._file and not self._file.closed else 0.0

    def merged(self) -> list[tuple[int, int, int, int]]:
        return self._merged

    def rows(self) -> Iterator[Row]:
        with corrupt(self._part), self._archive.open(self._part) as file:
            self._file = file
            yield from self._rows(file)

    def _rows(self, file: IO[bytes]) -> Iterator[Row]:
        readers = self._readers
        number = 0
        cells: list[str] = []
        for kind, body in records(file):
            if kind in readers:
                column, style = unpack_from("<II", body)
                if column >= MOST_COLUMNS:
                    raise ValueError(f"a row has a column {column + 1}, and there are {MOST_COLUMNS}")
                if column >= len(cells):
                    cells += [""] * (column + 1 - len(cells))
                cells[column] = readers[kind](body, style & 0xFF_FFFF)
            elif kind == _ROW:
                if cells:
                    yield number, cells
                number, cells = _next_row(body, number), []
            elif kind == _MERGED:
                top, bottom, left, right = unpack_from("<IIII", body)
                self._merged.append((top + 1, left, bottom + 1, right))
            elif kind in _SHORT_CELLS:
                raise ValueError(f"it has records of type {kind}, which are not known")
        if cells:
            yield number, cells

    def _kind_of(self, style: int) -> str:
        """Of a style that does not exist: a number."""
        return self._kinds[style] if style < len(self._kinds) else ""

    def _rounded(self, body: bytes, style: int) -> str:
        """30 bits: a whole number, or the upper half of a double; of either a hundredth where the lowest bit says so."""
        (raw,) = unpack_from("<i", body, 8)
        value = (
            raw >> 2
            if raw & 2
            else unpack_from("<d", bytes(4) + (raw & 0xFFFF_FFFC).to_bytes(4, "little"))[0]
        )
        return self._kind_of(style) + repr(value / 100 if raw & 1 else value)

    def _number(self, body: bytes, style: int) -> str:
        return self._kind_of(style) + repr(unpack_from("<d", body, 8)[0])

    def _shared(self, body: bytes, style: int) -> str:
        return self._strings[unpack_from("<I", body, 8)[0]]


def has_cells(file: IO[bytes], within_bytes: int) -> bool:
    """Whether a sheet has a cell with a value; true also of one of whose first bytes that cannot be told."""
    return any(
        _BLANK < kind < _SHORT_CELLS.stop or kind == _RICH_TEXT or file.tell() > within_bytes
        for kind, _ in records(file)
    )


def stated_size(file: IO[bytes]) -> tuple[int | None, int | None]:
    """Rows and columns as the sheet states them, which need not be true."""
    for number, (kind, body) in enumerate(records(file)):
        if kind == _DIMENSION and len(body) >= 16:
            _, last_row, _, last_column = unpack_from("<IIII", body)
            return last_row + 1, last_column + 1
        if number > 100:
            break
    return None, None


def _next_row(body: bytes, last: int) -> int:
    row = int(unpack_from("<I", body)[0]) + 1
    if not last < row <= _LAST_ROW:
        raise ValueError(f"row {row} stands behind row {last}")
    return row


def _error(body: bytes, style: int) -> str:
    return ERROR + _ERRORS.get(body[8], f"error {body[8]}")


def _boolean(body: bytes, style: int) -> str:
    return BOOLEAN + ("1" if body[8] else "0")


def _text(body: bytes, style: int) -> str:
    return text_cell(text_at(body, 8)[0])


def _rich_text(body: bytes, style: int) -> str:
    return text_cell(text_at(body, 9)[0])
