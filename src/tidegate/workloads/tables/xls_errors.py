"""Cells of an xls file that hold errors, which calamine gives as empty: found in the file's own records.

An xls file is a compound file ([MS-CFB]), a small file system, in which one stream holds the records of the workbook
([MS-XLS] 2.1): two bytes of type, two of length, and that many bytes.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from struct import unpack_from

from tidegate.workloads.tables.xlsx_parts import corrupt

_SECTOR_LISTS_IN_HEAD = 109
_END_OF_CHAIN = 0xFFFF_FFFA
"""From here on a sector number is none."""
_ENTRY_BYTES = 128
_STREAMS = ("Workbook", "Book")
_SHEET, _BEGIN, _END, _BOOLEAN_OR_ERROR, _FORMULA = 0x85, 0x809, 0x0A, 0x205, 0x06
_ERRORS: Mapping[int, str] = {
    0x00: "#NULL!", 0x07: "#DIV/0!", 0x0F: "#VALUE!", 0x17: "#REF!", 0x1D: "#NAME?", 0x24: "#NUM!", 0x2A: "#N/A",
}  # fmt: skip


def errors(path: str, place: int) -> dict[int, list[tuple[int, str]]]:
    """Of the sheet at this place (from 0, sheets of every kind counted): by row (from 1) columns (from 0) and errors.

    Raises TaskError `corrupt_file`.
    """
    found: dict[int, list[tuple[int, str]]] = {}
    with corrupt("Workbook"):
        stream = _workbook_stream(Path(path).read_bytes())
        begins = [unpack_from("<I", stream, at)[0] for kind, at, _ in _records(stream, 0) if kind == _SHEET]
        for row, column, code in _error_cells(stream, begins[place]):
            found.setdefault(row + 1, []).append((column, _ERRORS.get(code, f"error {code}")))
    return found


def _records(stream: bytes, at: int) -> Iterator[tuple[int, int, int]]:
    """Type, place and length of the records from here to the end of what begins here, charts within left out."""
    depth = 0
    while at + 4 <= len(stream):
        kind, size = unpack_from("<HH", stream, at)
        if kind == _BEGIN:
            depth += 1
        elif kind == _END:
            depth -= 1
        if depth <= 1:
            yield kind, at + 4, size
        if depth <= 0:
            return
        at += 4 + size


def _error_cells(stream: bytes, begin: int) -> Iterator[tuple[int, int, int]]:
    """Row, column and code. A formula whose value is no number has 0xFFFF behind it, and 2 before an error."""
    for kind, at, _ in _records(stream, begin):
        if kind == _BOOLEAN_OR_ERROR and stream[at + 7]:
            yield *unpack_from("<HH", stream, at), stream[at + 6]
        elif kind == _FORMULA and stream[at + 12 : at + 14] == b"\xff\xff" and stream[at + 6] == 2:
            yield *unpack_from("<HH", stream, at), stream[at + 8]


class _CompoundFile:
    """The chains of sectors of a compound file."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        sector_shift, mini_shift = unpack_from("<HH", data, 30)
        self._sector_bytes, self._mini_bytes = 1 << min(sector_shift, 20), 1 << min(mini_shift, 20)
        self._next = array("I")
        for sector in self._tables():
            self._next.frombytes(self._sector(sector).ljust(self._sector_bytes, b"\xff"))

    def _tables(self) -> Iterator[int]:
        """The sectors that hold the table of chains: named in the head, and on in sectors of names of their own."""
        yield from _numbers(self._data[76 : 76 + 4 * _SECTOR_LISTS_IN_HEAD])
        (sector,) = unpack_from("<I", self._data, 68)
        for _ in range(len(self._data) // self._sector_bytes):
            if sector >= _END_OF_CHAIN:
                return
            names = array("I", self._sector(sector))
            sector = names.pop()
            yield from (name for name in names if name < _END_OF_CHAIN)

    def _sector(self, number: int) -> bytes:
        begin = (number + 1) * self._sector_bytes
        return self._data[begin : begin + self._sector_bytes]

    def chain(self, sector: int) -> bytes:
        return b"".join(map(self._sector, _chain(sector, self._next)))

    def stream(self, names: tuple[str, ...]) -> bytes:
        """The first stream with one of these names. Raises ValueError without one."""
        directory = self.chain(unpack_from("<I", self._data, 48)[0])
        entries = {
            _name(directory, at): unpack_from("<II", directory, at + 116)
            for at in range(0, len(directory) - _ENTRY_BYTES + 1, _ENTRY_BYTES)
        }
        root = unpack_from("<I", directory, 116)[0]
        for name in names:
            if name in entries:
                sector, size = entries[name]
                return self._contents(sector, size, root)
        raise ValueError("it has no workbook")

    def _contents(self, sector: int, size: int, root: int) -> bytes:
        """Streams below a size that the head states lie in smaller sectors, within a stream of the root."""
        if size >= unpack_from("<I", self._data, 56)[0]:
            return self.chain(sector)[:size]
        small = self.chain(root)
        following = array("I", self.chain(unpack_from("<I", self._data, 60)[0]))
        pieces = (small[n * self._mini_bytes : (n + 1) * self._mini_bytes] for n in _chain(sector, following))
        return b"".join(pieces)[:size]


def _workbook_stream(data: bytes) -> bytes:
    return _CompoundFile(data).stream(_STREAMS)


def _numbers(data: bytes) -> Iterator[int]:
    return (number for number in array("I", data) if number < _END_OF_CHAIN)


def _chain(sector: int, following: array[int]) -> Iterator[int]:
    """Raises ValueError for a chain that never ends."""
    for _ in range(len(following) + 1):
        if sector >= _END_OF_CHAIN:
            return
        yield sector
        sector = following[sector]
    raise ValueError("a chain of sectors goes round in a circle")


def _name(directory: bytes, at: int) -> str:
    (length,) = unpack_from("<H", directory, at + 64)
    return directory[at : at + max(0, min(length, 64) - 2)].decode("utf-16-le", "replace")
