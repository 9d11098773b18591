"""Rows of an xlsx sheet by expat: every form that the standard allows."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, time
from typing import Any
from xml.parsers import expat

from tidegate.workloads.errors import TaskError
from tidegate.workloads.tables.cells import BOOLEAN, DATE, ERROR, DateSystem, Row, serial, text_cell
from tidegate.workloads.tables.model import MOST_COLUMNS
from tidegate.workloads.tables.xlsx_parts import column_place, safe_parser
from tidegate.workloads.tables.xlsx_text import Strings, unescaped

_REFERENCE = re.compile(r"\$?([A-Z]{1,3})\$?([0-9]{1,7})", re.IGNORECASE)
_FIRST_ROW = re.compile(r"<row[ />]")
_LAST_ROW = 1_048_576


class CellText:
    """Staged cells of what a sheet says about them."""

    def __init__(self, strings: Strings, kinds: list[str], system: DateSystem) -> None:
        self.strings = strings
        self._kinds = kinds
        self._system: DateSystem = system

    def kind_of(self, style: str) -> str:
        """'' of a number; DATE or DURATION. Of a style that does not exist: a number."""
        number = int(style) if style.isdigit() and len(style) < 7 else 0
        return self._kinds[number] if number < len(self._kinds) else ""

    def cell(self, kind: str, style: str, value: str, inline: str) -> str:
        """The staged cell. Raises TaskError for a shared string that is not there."""
        if kind == "inlineStr":
            return text_cell(unescaped(inline))
        if kind == "str":
            return text_cell(unescaped(value))
        value = " ".join(value.split())  # no end of a line may get into staged rows
        if not value:
            return ""
        if kind == "s":
            return self._shared(value)
        if kind == "d":
            return _iso_cell(value, self._system)
        return {"b": BOOLEAN, "e": ERROR}.get(kind, self.kind_of(style)) + value

    def _shared(self, value: str) -> str:
        try:
            number = int(value)
            if number < 0:
                raise IndexError(number)
            return self.strings[number]
        except (ValueError, IndexError):
            raise TaskError(
                f"The workbook is damaged: a cell names the shared string {value[:20]!r}, and there is none.",
                code="corrupt_file",
            ) from None


def _iso_cell(value: str, system: DateSystem) -> str:
    """A date that is written out (ISO 8601); as an unreadable date when it is none."""
    try:
        if "-" not in value[1:]:
            return DATE + serial(time.fromisoformat(value.removeprefix("T")), system)
        return DATE + serial(datetime.fromisoformat(value.removesuffix("Z")), system)
    except ValueError:
        return DATE + value


class SheetParser:
    """Gathers rows while a sheet is fed to it. `last_row` is the row that rows without a number follow."""

    def __init__(self, text: CellText, last_row: int = 0) -> None:
        self.merged: list[tuple[int, int, int, int]] = []
        self._text = text
        self._row = last_row
        self._column = -1
        self._cells: list[str] = []
        self._done: list[Row] = []
        self._kind, self._style = "n", ""
        self._into: list[str] | None = None
        self._value: list[str] = []
        self._inline: list[str] = []
        self._phonetic = False
        self._parser: Any = None

    def feed(self, data: bytes) -> list[Row]:
        """The rows that end in this piece of the whole part."""
        if self._parser is None:
            self._parser = safe_parser()
            self._handle(self._parser, _local_name)
        self._parser.Parse(data)
        return self._take()

    def close(self) -> None:
        """Raises ExpatError if the part does not end well."""
        if self._parser is not None:
            self._parser.Parse(b"", True)

    def fragment(self, piece: str) -> list[Row]:
        """The rows of a piece of a sheet without prefixed names; what stands before its first row is left out."""
        found = _FIRST_ROW.search(piece)
        parser = expat.ParserCreate()  # no namespaces: their declarations stand elsewhere
        parser.buffer_text = True
        self._handle(parser, lambda name: name)
        parser.Parse(f"<sheetData>{piece[found.start() if found else 0 :]}</sheetData>".encode(), True)
        return self._take()

    def _handle(self, parser: Any, local: Callable[[str], str]) -> None:
        parser.StartElementHandler = lambda name, attributes: self._start(local(name), attributes)
        parser.EndElementHandler = lambda name: self._end(local(name))
        parser.CharacterDataHandler = self._characters

    def _take(self) -> list[Row]:
        done, self._done = self._done, []
        return done

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "c":
            self._start_cell(attributes)
        elif name == "row":
            self._start_row(attributes.get("r", ""))
        elif name == "v":
            self._into = self._value
        elif name == "t":
            self._into = None if self._phonetic else self._inline
        elif name == "rPh":
            self._phonetic = True
        elif name == "mergeCell":
            self._merge(attributes.get("ref", ""))

    def _end(self, name: str) -> None:
        if name in ("v", "t"):
            self._into = None
        elif name == "rPh":
            self._phonetic = False
        elif name == "c":
            self._end_cell()
        elif name == "row":
            self._done.append((self._row, self._cells))
            self._cells = []

    def _characters(self, data: str) -> None:
        if self._into is not None:
            self._into.append(data)

    def _start_row(self, number: str) -> None:
        row = int(number) if number else self._row + 1
        if not self._row < row <= _LAST_ROW:
            raise ValueError(f"row {number[:20]} stands behind row {self._row}")
        self._row, self._column = row, -1

    def _start_cell(self, attributes: dict[str, str]) -> None:
        found = _REFERENCE.fullmatch(attributes.get("r", ""))
        self._column = column_place(found[1].upper()) if found else self._column + 1
        if self._column >= MOST_COLUMNS:
            raise ValueError("a row has more columns than there are")
        self._kind, self._style = attributes.get("t", "n"), attributes.get("s", "")
        self._value.clear()
        self._inline.clear()

    def _end_cell(self) -> None:
        cell = self._text.cell(self._kind, self._style, "".join(self._value), "".join(self._inline))
        if cell:
            self._cells += [""] * (self._column + 1 - len(self._cells))
            self._cells[self._column] = cell

    def _merge(self, reference: str) -> None:
        ends = [_REFERENCE.fullmatch(end) for end in reference.split(":")]
        if len(ends) == 2 and ends[0] and ends[1]:
            (left, top), (right, bottom) = ends[0].groups(), ends[1].groups()
            self.merged.append((int(top), column_place(left), int(bottom), column_place(right)))


def _local_name(name: str) -> str:
    """The name of an element of spreadsheets; '' for those of others."""
    uri, _, local = name.rpartition(" ")
    return local if not uri or ("spreadsheetml" in uri and uri.endswith("main")) else ""
