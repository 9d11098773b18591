"""The parts of an xls file: its streams, the records of the workbook's, and how large its sheets say they are.

An xls file is a compound file ([MS-CFB]), a small file system, in which one stream holds the records of the workbook
([MS-XLS] 2.1): two bytes of type, two of length, and that many bytes.
"""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from struct import unpack, unpack_from

from tidegate.workloads.tables.xlsx_parts import corrupt

_SECTOR_LISTS_IN_HEAD = 109
_END_OF_CHAIN = 0xFFFF_FFFA
"""From here on a sector number is none."""
_ENTRY_BYTES = 128
_STREAMS = ("Workbook", "Book")
_SHEET, _BEGIN, _END, _DIMENSIONS, _TEXTS = 0x85, 0x809, 0x0A, 0x200, 0xFC
_MOST_ROWS, _MOST_COLUMNS = 65_536, 256


def stated_cells(path: str) -> list[int]:
    """The cells of each sheet's rectangle as its DIMENSIONS record states them ([MS-XLS] 2.4.90), 0 without one.

    Reads little of the file, however large it is. Raises TaskError `corrupt_file`.
    """
    with (
        corrupt("Workbook"),
        Path(path).open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        stream = workbook_stream(data)
        return [_stated(stream, begin) for begin in sheet_begins(stream)]


def _stated(stream: bytes | Stream, begin: int) -> int:
    for kind, at, size in records(stream, begin):
        if kind == _DIMENSIONS:
            form = "<IIHH" if size >= 12 else "<HHHH"
            edges: tuple[int, int, int, int] = unpack_from(form, stream[at : at + size])
            top, bottom, left, right = edges
            return max(0, min(bottom, _MOST_ROWS) - top) * max(0, min(right, _MOST_COLUMNS) - left)
    return 0


def workbook_stream(data: bytes | mmap.mmap) -> bytes | Stream:
    """The records of the workbook, of the bytes of its file. Raises ValueError without one."""
    return _CompoundFile(data).stream(_STREAMS)


def sheet_begins(stream: bytes | Stream) -> list[int]:
    """Where the records of each sheet begin, sheets of every kind counted. The texts of all sheets come after that."""
    before = takewhile(lambda record: record[0] != _TEXTS, records(stream, 0))
    return [unpack("<I", stream[at : at + 4])[0] for kind, at, _ in before if kind == _SHEET]


def records(stream: bytes | Stream, at: int) -> Iterator[tuple[int, int, int]]:
    """Type, place and length of the records from here to the end of what begins here, charts within left out."""
    depth = 0
    while at + 4 <= len(stream):
        kind, size = unpack("<HH", stream[at : at + 4])
        if kind == _BEGIN:
            depth += 1
        elif kind == _END:
            depth -= 1
        if depth <= 1:
            yield kind, at + 4, size
        if depth <= 0:
            return
        at += 4 + size


class Stream:
    """What lies in a chain of sectors: like bytes, but read from the file only where it is looked at."""

    def __init__(self, data: bytes | mmap.mmap, sectors: array[int], sector_bytes: int, size: int) -> None:
        self._data, self._sectors, self._sector_bytes = data, sectors, sector_bytes
        self._size = min(size, len(sectors) * sector_bytes)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, wanted: slice) -> bytes:
        begin, end, _ = wanted.indices(self._size)
        first = begin // self._sector_bytes
        sectors = self._sectors[first : -(-end // self._sector_bytes)]
        pieces = (_sector(self._data, number, self._sector_bytes) for number in sectors)
        skipped = first * self._sector_bytes
        return b"".join(pieces)[begin - skipped : end - skipped]


class _CompoundFile:
    """The chains of sectors of a compound file."""

    def __init__(self, data: bytes | mmap.mmap) -> None:
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
        return _sector(self._data, number, self._sector_bytes)

    def chain(self, sector: int) -> bytes:
        return b"".join(map(self._sector, _chain(sector, self._next)))

    def stream(self, names: tuple[str, ...]) -> bytes | Stream:
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

    def _contents(self, sector: int, size: int, root: int) -> bytes | Stream:
        """Streams below a size that the head states lie in smaller sectors, within a stream of the root."""
        if size >= unpack_from("<I", self._data, 56)[0]:
            sectors = array("I", _chain(sector, self._next))
            return Stream(self._data, sectors, self._sector_bytes, size)
        small = self.chain(root)
        following = array("I", self.chain(unpack_from("<I", self._data, 60)[0]))
        pieces = (small[n * self._mini_bytes : (n + 1) * self._mini_bytes] for n in _chain(sector, following))
        return b"".join(pieces)[:size]


def _sector(data: bytes | mmap.mmap, number: int, sector_bytes: int) -> bytes:
    begin = (number + 1) * sector_bytes
    return data[begin : begin + sector_bytes]


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
