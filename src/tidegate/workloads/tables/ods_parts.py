"""Which tables an ods file has (OpenDocument 1.2, part 1), and what a cell of one is."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

from tidegate.core.resources import MIB
from tidegate.workloads.errors import TaskError
from tidegate.workloads.tables.cells import BOOLEAN, DATE, DURATION, ERROR, serial, text_cell
from tidegate.workloads.tables.model import MOST_COLUMNS, Sheet
from tidegate.workloads.tables.xlsx_parts import corrupt, parse_part, safe_parser

CONTENT = "content.xml"
_MANIFEST = "META-INF/manifest.xml"
_CHUNK_BYTES = MIB // 2
_HEAD_BYTES = 4 * MIB
"""Of the contents, unpacked, that an estimate looks at: a row of 16,384 cells takes about two."""
OFFICE = "urn:oasis:names:tc:opendocument:xmlns:office:1.0 "
TABLE = "urn:oasis:names:tc:opendocument:xmlns:table:1.0 "
TEXT = "urn:oasis:names:tc:opendocument:xmlns:text:1.0 "
_STYLE = "urn:oasis:names:tc:opendocument:xmlns:style:1.0 "
_SHOWN_TYPE = "urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0 value-type"
_ERROR_TEXT = re.compile(r"#(?:DIV/0!|N/A|NAME\?|NULL!|NUM!|REF!|VALUE!)|Err:[0-9]{3}")
_DURATION = re.compile(
    r"(-)?P(?:([0-9]{1,8})D)?T?(?:([0-9]{1,8})H)?(?:([0-9]{1,8})M)?(?:([0-9]{1,8}(?:[.,][0-9]+)?)S)?"
)


def sheets(archive: zipfile.ZipFile) -> list[Sheet]:
    """The tables in their order, those without a cell with `row_count` 0. Raises TaskError: `corrupt_file`,
    `encrypted_file`.
    """
    _refuse_encrypted(archive)
    found = _Tables()
    parser = safe_parser()
    parser.StartElementHandler, parser.EndElementHandler = found.start, found.end
    with corrupt(CONTENT), archive.open(CONTENT) as file:
        while chunk := file.read(_CHUNK_BYTES):
            parser.Parse(chunk)
        parser.Parse(b"", True)
    return found.sheets()


def widest_row(archive: zipfile.ZipFile) -> int:
    """The columns of the widest row at the beginning of the contents, up to its last cell with a value, repeated cells
    counted as often as they stand there. Raises TaskError `corrupt_file`.
    """
    found = _Widths()
    parser = safe_parser()
    parser.StartElementHandler = found.start
    with corrupt(CONTENT), archive.open(CONTENT) as file:
        parser.Parse(file.read(_HEAD_BYTES))
    return min(found.widest, MOST_COLUMNS)


class _Widths:
    """Gathers how wide rows are, those of tables within cells among them."""

    def __init__(self) -> None:
        self.widest = 0
        self._column = 0

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == TABLE + "table-row":
            self._column = 0
        elif name in (TABLE + "table-cell", TABLE + "covered-table-cell"):
            self._column += int(attributes.get(TABLE + "number-columns-repeated", 1))
            if OFFICE + "value-type" in attributes:
                self.widest = max(self.widest, self._column)


def _refuse_encrypted(archive: zipfile.ZipFile) -> None:
    def start(name: str, _: Mapping[str, str]) -> None:
        if name == "encryption-data":
            raise TaskError(
                "The workbook is encrypted. Save it without a password, and load that.", code="encrypted_file"
            )

    if _MANIFEST in archive.NameToInfo:
        parse_part(archive, _MANIFEST, start)


class _Tables:
    """Gathers names, whether they are visible, and whether they hold anything."""

    def __init__(self) -> None:
        self._depth = 0
        self._style = ""
        self._hidden: set[str] = set()
        self._found: list[tuple[str, bool, bool]] = []

    def sheets(self) -> list[Sheet]:
        return [Sheet(name, visible, None if filled else 0) for name, visible, filled in self._found]

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == TABLE + "table-cell":
            if self._depth and not self._found[-1][2] and OFFICE + "value-type" in attributes:
                self._found[-1] = (*self._found[-1][:2], True)
        elif name == TABLE + "table":
            self._depth += 1
            if self._depth == 1:
                visible = attributes.get(TABLE + "style-name", "") not in self._hidden
                self._found.append((attributes.get(TABLE + "name", ""), visible, False))
        elif name == _STYLE + "style":
            self._style = attributes.get(_STYLE + "name", "")
        elif name == _STYLE + "table-properties" and attributes.get(TABLE + "display") == "false":
            self._hidden.add(self._style)

    def end(self, name: str) -> None:
        if name == TABLE + "table":
            self._depth -= 1


def cell(attributes: Mapping[str, str], text: str) -> str:
    """The staged cell of an element's attributes and its text.

    OpenDocument has no errors: programs write a formula without a value, or with 0, and show the error as text.
    """
    kind = attributes.get(OFFICE + "value-type", "string" if text else "")
    is_error = attributes.get(_SHOWN_TYPE) == "error"
    if is_error or (TABLE + "formula" in attributes and _ERROR_TEXT.fullmatch(text)):
        return ERROR + " ".join(text.split())
    if kind == "string":
        return text_cell(attributes.get(OFFICE + "string-value", text))
    if kind == "boolean":
        return BOOLEAN + ("1" if attributes.get(OFFICE + "boolean-value") == "true" else "0")
    if kind == "date":
        return _date(_one_line(attributes.get(OFFICE + "date-value")))
    if kind == "time":
        return _time(_one_line(attributes.get(OFFICE + "time-value")))
    return _one_line(attributes.get(OFFICE + "value")) if kind in ("float", "percentage", "currency") else ""


def _one_line(value: str | None) -> str:
    """No end of a line may get into staged rows; what is no value is told as unreadable."""
    return " ".join((value or "?").split())


def _date(value: str) -> str:
    try:
        at: Any = (
            datetime.fromisoformat(value.removesuffix("Z")) if "T" in value else date.fromisoformat(value)
        )
    except ValueError:
        return DATE + value
    return DATE + serial(at, "plain")


def _time(value: str) -> str:
    """A time of day below 24 hours, else a duration: the file says the same of both."""
    found = _DURATION.fullmatch(value)
    if found is None:
        return DURATION + value
    sign, days, hours, minutes, seconds = found.groups()
    length = timedelta(
        days=int(days or 0),
        hours=int(hours or 0),
        minutes=int(minutes or 0),
        seconds=float((seconds or "0").replace(",", ".")),
    )
    is_of_day = not sign and length < timedelta(days=1)
    return (DATE if is_of_day else DURATION) + serial(-length if sign else length, "plain")
