"""The records of an xlsb file, and its small parts: which sheets it has, which number formats are dates, its shared strings.

An xlsb file is an xlsx file whose parts are records in place of XML: a type, a length, and that many bytes ([MS-XLSB] 2.1.4).
"""

from __future__ import annotations

import zipfile
from collections.abc import Generator, Iterator
from struct import unpack_from
from typing import IO

from tidegate.core.resources import KIB, MIB
from tidegate.workloads.tables.xlsx_parts import Workbook, assembled, corrupt, main_part, number_kind
from tidegate.workloads.tables.xlsx_text import Strings, kept_strings

_CHUNK_BYTES = 512 * KIB
_HEADER_BYTES = 6
"""Longest: two bytes of type, four of length."""
_LONGEST_BYTES = 16 * MIB
"""The longest record that real workbooks have, a text with its runs, is far below."""
_BOOK_PROPERTIES, _SHEET = 0x99, 0x9C
_FORMAT, _FORMATS_OF_CELLS, _END_OF_FORMATS, _STYLE = 0x2C, 0x269, 0x26A, 0x2F
_STRING = 0x13
_NO_TEXT = 0xFFFF_FFFF


def records(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Type and bytes of each record. Raises ValueError where the part ends within one, or one is longer than any."""
    data = b""
    while chunk := file.read(_CHUNK_BYTES):
        data += chunk
        data = data[(yield from _whole(data, len(data) - _HEADER_BYTES)) :]
    if (yield from _whole(data + bytes(_HEADER_BYTES), len(data) - 1)) != len(data):
        raise ValueError("it ends within a record")


def _whole(data: bytes, last: int) -> Generator[tuple[int, bytes], None, int]:
    """The records that begin not after `last` and are there as a whole; returns where they end."""
    at = 0
    while at <= last:
        kind, place = data[at], at + 1
        if kind > 0x7F:
            kind, place = kind & 0x7F | data[place] << 7, place + 1
        size, place = data[place], place + 1
        if size > 0x7F:
            size, place = _long_size(data, place - 1)
        if place + size > len(data):
            break
        yield kind, data[place : place + size]
        at = place + size
    return at


def _long_size(data: bytes, at: int) -> tuple[int, int]:
    """A length of several bytes, seven bits each, and where it ends."""
    size = 0
    for number in range(4):
        byte = data[at + number]
        size |= (byte & 0x7F) << 7 * number
        if byte < 0x80:
            break
    if size > _LONGEST_BYTES:
        raise ValueError(f"a record of {size} bytes")
    return size, at + number + 1


def text_at(body: bytes, at: int) -> tuple[str, int]:
    """The text at this place of a record, and where it ends. Raises ValueError where the record is too short for it."""
    (length,) = unpack_from("<I", body, at) if at + 4 <= len(body) else (_NO_TEXT - 1,)
    if length == _NO_TEXT:
        return "", at + 4
    end = at + 4 + 2 * length
    if end > len(body):
        raise ValueError("a text is longer than its record")
    return body[at + 4 : end].decode("utf-16-le", "replace"), end


def read_workbook(archive: zipfile.ZipFile) -> Workbook:
    """Raises TaskError: `corrupt_file`, `not_a_workbook`."""
    main = main_part(archive)
    from_1904 = False
    found: list[tuple[str, bool, str]] = []
    with corrupt(main):
        for kind, body in _part_records(archive, main):
            if kind == _BOOK_PROPERTIES:
                from_1904 = bool(body[0] & 1)
            elif kind == _SHEET:
                relation, end = text_at(body, 8)
                found.append((text_at(body, end)[0], body[:4] == bytes(4), relation))
    return assembled(archive, main, found, from_1904=from_1904)


def _part_records(archive: zipfile.ZipFile, part: str) -> Iterator[tuple[int, bytes]]:
    if part not in archive.NameToInfo:
        raise ValueError("it is missing")
    with archive.open(part) as file:
        yield from records(file)


def cell_kinds(archive: zipfile.ZipFile, book: Workbook) -> list[str]:
    """By style number, the kind of its numeric cells: '' a number, DATE or DURATION."""
    formats: dict[int, str] = {}
    kinds: list[str] = []
    inside = False
    with corrupt(book.styles):
        for kind, body in _part_records(archive, book.styles) if book.styles else ():
            if kind == _FORMAT:
                formats[int.from_bytes(body[:2], "little")] = text_at(body, 2)[0]
            elif kind in (_FORMATS_OF_CELLS, _END_OF_FORMATS):
                inside = kind == _FORMATS_OF_CELLS
            elif kind == _STYLE and inside:
                kinds.append(number_kind(int.from_bytes(body[2:4], "little"), formats))
    return kinds


def shared_strings(archive: zipfile.ZipFile, part: str, spill: str) -> Strings:
    """As `xlsx_text.shared_strings`."""
    if not part:
        return []
    texts = (text_at(body, 1)[0] for kind, body in _part_records(archive, part) if kind == _STRING)
    with corrupt(part):
        return kept_strings(texts, archive.getinfo(part).file_size, spill)
