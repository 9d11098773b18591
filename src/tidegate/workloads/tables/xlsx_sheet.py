"""The rows of one sheet of an xlsx file, streamed: memory does not grow with the sheet.

Most rows that programs write have one plain form. `_PlainRows` recognises it with a regular expression and must account for
every cell of a piece of the sheet; a piece in which anything else occurs is parsed by expat, and so is a whole sheet that
holds comments, CDATA or prefixed names.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Generator, Iterator
from typing import IO

from tidegate.core.resources import MIB
from tidegate.workloads.tables.cells import BOOLEAN, ERROR, DateSystem, Row, text_cell
from tidegate.workloads.tables.xlsx_parts import UTF8_XML, column_place, corrupt
from tidegate.workloads.tables.xlsx_text import Strings, unescaped, xml_text
from tidegate.workloads.tables.xlsx_xml import CellText, SheetParser

_CHUNK_BYTES = MIB // 2
_CELL = re.compile(
    r'<c r="([A-Z]+)[0-9]+"([^<>]*)>(?:'
    r"(?:<f(?: [^<>]*)?(?:/>|>[^<]*</f>))?"
    r'(?:<v>|<is><t(?: xml:space="preserve")?>)([^<\r\n\x1c\x1f]*)(?:</v>|</t></is>)</c>'  # by far the most
    r"|(?<=/>)|(?:<f(?: [^<>]*)?(?:/>|>[^<]*</f>))?(?:<v/>|<v></v>)?</c>)"
)
_ROW = re.compile(r'<row r="([0-9]{1,7})"[^<>]*(?<!/)>')
_ATTRIBUTES = re.compile(r'(?: [a-z]{1,3}="[A-Za-z0-9]*")*/?')
_ATTRIBUTE = re.compile(r' ([a-z]{1,3})="([A-Za-z0-9]*)"')
_MERGED = re.compile(r'<mergeCell ref="([A-Z]{1,3})([0-9]{1,7}):([A-Z]{1,3})([0-9]{1,7})"')
_SHARED, _OWN = object(), object()
"""A text among the shared strings; one that stands in the cell."""
_END_OF_ROW = "</row>"


class XlsxSheet:
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
        self._text = CellText(strings, kinds, date_system)
        self._merged: list[tuple[int, int, int, int]] = []
        self._size = max(1, archive.getinfo(part).file_size)
        self._read = 0

    def share(self) -> float:
        return min(1.0, self._read / self._size)

    def merged(self) -> list[tuple[int, int, int, int]]:
        return self._merged

    def rows(self) -> Iterator[Row]:
        plain = _PlainRows(self._text)
        with corrupt(self._part):
            with self._archive.open(self._part) as file:
                finished = yield from self._by_pattern(file, plain)
            if not finished:
                yield from self._by_parser(plain.last_row)

    def _by_pattern(self, file: IO[bytes], plain: _PlainRows) -> Generator[Row, None, bool]:
        """Rows while the sheet is plain; returns whether that was to the end."""
        self._read = 0
        rest = b""
        began = False
        while chunk := file.read(_CHUNK_BYTES):
            self._read += len(chunk)
            rest += chunk
            if not began and b"<sheetData" not in rest:
                if len(rest) > 8 * MIB or not UTF8_XML.match(rest):
                    return False
                continue
            if not began and not UTF8_XML.match(rest):
                return False
            if b"<!" in rest or b"<?" in rest[8:]:
                return False
            began = True
            end = rest.rfind(b"</row>") + 6
            if end < 6:
                if b"</sheetData>" in rest or b"<sheetData/>" in rest:
                    break
                continue
            piece, rest = rest[:end].decode(), rest[end:]
            yield from plain.rows(piece)
        self._find_merged(rest, file)
        return began

    def _find_merged(self, rest: bytes, file: IO[bytes]) -> None:
        while True:
            text = rest.decode("utf-8", "replace")
            last = 0
            for found in _MERGED.finditer(text):
                left, top, right, bottom = found.groups()
                self._merged.append((int(top), column_place(left), int(bottom), column_place(right)))
                last = found.end()
            chunk = file.read(_CHUNK_BYTES)
            if not chunk:
                return
            rest = text[max(last, len(text) - 200) :].encode() + chunk

    def _by_parser(self, after: int) -> Iterator[Row]:
        """All rows after one, of a sheet that expat reads as a whole."""
        self._merged.clear()
        parser = SheetParser(self._text)
        self._read = 0
        with self._archive.open(self._part) as file:
            while chunk := file.read(_CHUNK_BYTES):
                self._read += len(chunk)
                yield from (row for row in parser.feed(chunk) if row[0] > after)
            parser.close()
        self._merged += parser.merged


class _PlainRows:
    """Rows of a piece of a sheet that ends with a row's end."""

    def __init__(self, text: CellText) -> None:
        self._text = text
        self._places = _Places()
        self._forms = _Forms(text)
        self._width = 1
        self.last_row = 0

    def rows(self, piece: str) -> Iterator[Row]:
        found = self._plain(piece)
        if found is None:
            parser = SheetParser(self._text, self.last_row)
            found = parser.fragment(piece)
        for row in found:
            if row[0] <= self.last_row:
                raise ValueError(f"row {row[0]} stands behind row {self.last_row}")
            self.last_row = row[0]
            yield row

    def _plain(self, piece: str) -> list[Row] | None:
        """The rows, or None where something in the piece is not of the plain form."""
        rows: list[Row] = []
        find, number = _CELL.findall, _ROW.match
        for text in piece.split(_END_OF_ROW)[:-1]:
            start = text.rfind("<row ")
            head = number(text, start) if start >= 0 else None
            if head is None:
                return None
            found = find(text, head.end())
            if text.count("<c", head.end()) != len(found):
                return None
            try:
                if "&" in text:
                    found = [(letters, attributes, xml_text(value)) for letters, attributes, value in found]
                rows.append((int(head[1]), self._cells(found)))
            except (LookupError, ValueError):
                return None  # the parser says what is wrong
        return rows

    def _cells(self, found: list[tuple[str, str, str]]) -> list[str]:
        places, forms, strings = self._places, self._forms, self._text.strings
        cells = [""] * self._width
        for letters, attributes, value in found:
            if not value:
                continue
            form = forms[attributes]
            place = places[letters]
            if place >= self._width:
                cells += [""] * (place + 1 - self._width)
                self._width = place + 1
            if form is _SHARED:
                number = int(value)
                if number < 0:
                    raise LookupError(value)
                cells[place] = strings[number]
            elif form is _OWN:
                cells[place] = text_cell(unescaped(value))
            else:
                cells[place] = form + value  # type: ignore[operator]
        return cells


class _Places(dict[str, int]):
    """Column places by letters, filled as they are met."""

    def __missing__(self, letters: str) -> int:
        self[letters] = place = column_place(letters)
        return place


class _Forms(dict[str, object]):
    """How the value of a cell is staged, by the text of the cell's attributes."""

    def __init__(self, text: CellText) -> None:
        super().__init__()
        self._text = text

    def __missing__(self, attributes: str) -> object:
        if not _ATTRIBUTES.fullmatch(attributes):
            raise LookupError(attributes)
        given = dict(_ATTRIBUTE.findall(attributes))
        self[attributes] = form = self._form(given.get("t", "n"), given.get("s", ""))
        return form

    def _form(self, kind: str, style: str) -> object:
        simple = {"s": _SHARED, "str": _OWN, "inlineStr": _OWN, "b": BOOLEAN, "e": ERROR}
        if kind == "n":
            return self._text.kind_of(style)
        if kind not in simple:
            raise LookupError(kind)
        return simple[kind]
