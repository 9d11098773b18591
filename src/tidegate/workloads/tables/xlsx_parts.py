"""The small parts of xlsx and xlsb files: which sheets it has, where they lie, which number formats are dates."""

from __future__ import annotations

import posixpath
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.parsers import expat

from tidegate.core.resources import MIB
from tidegate.workloads.errors import TaskError
from tidegate.workloads.tables.cells import DATE, DURATION, DateSystem
from tidegate.workloads.tables.model import MOST_COLUMNS, Sheet

_PART_BYTES = 64 * MIB
"""Largest of the small parts; styles of a badly grown workbook reach 20 MB."""
_OFFICE_DOCUMENT = "/officeDocument"
_DATES = frozenset([*range(14, 23), *range(27, 37), 45, 47, *range(50, 59)])
"""Number formats that are dates or times without being written down (ECMA-376 part 1, 18.8.30)."""
_DURATIONS = frozenset([46])
_LITERAL = re.compile(r'"[^"]*"|\\.|_.|\*.|\[(?!h+\]|m+\]|s+\])[^\]]*\]', re.IGNORECASE)
UTF8_XML = re.compile(
    rb"\s*(?:<\?xml[^>]*encoding=[\"'](?:utf-8|us-ascii)[\"'][^>]*\?>|<\?xml(?![^>]*encoding)[^>]*\?>|<[a-z])",
    re.IGNORECASE,
)
"""The beginning of XML in UTF-8 without a byte order mark."""
_ELAPSED = re.compile(r"\[(h+|m+|s+)\]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Workbook:
    """What must be known before a sheet is read."""

    sheets: tuple[Sheet, ...]
    parts: tuple[str, ...]
    """Of each sheet, its name in the archive; '' where it is missing or no worksheet."""
    date_system: DateSystem
    styles: str
    strings: str
    """Names of the parts for styles and shared strings; '' where there is none."""


def read_workbook(archive: zipfile.ZipFile) -> Workbook:
    """Raises TaskError: `corrupt_file`, `not_a_workbook`."""
    main = main_part(archive)
    found = _Book()
    parse_part(archive, main, found.start)
    return assembled(archive, main, found.sheets, from_1904=found.from_1904)


def main_part(archive: zipfile.ZipFile) -> str:
    """The name of the part that lists the sheets. Raises TaskError `not_a_workbook`."""
    main = next(
        (target for kind, target in _relations(archive, "").values() if kind.endswith(_OFFICE_DOCUMENT)), ""
    )
    if not main:
        raise TaskError(
            "The archive is no workbook: it names no document in _rels/.rels.", code="not_a_workbook"
        )
    return main


def assembled(
    archive: zipfile.ZipFile, main: str, found: Sequence[tuple[str, bool, str]], *, from_1904: bool
) -> Workbook:
    """A workbook of the sheets that its main part lists: name, whether it is visible, and the relation to its part."""
    related = _relations(archive, main)
    parts = [related.get(rel, ("", "")) for _, _, rel in found]
    names = set(archive.namelist())
    places = tuple(t if k.endswith("/worksheet") and t in names else "" for k, t in parts)
    sheets = tuple(
        Sheet(name, visible, uncompressed_bytes=archive.getinfo(place).file_size if place else None)
        for (name, visible, _), place in zip(found, places, strict=True)
    )
    by_kind = {kind.rsplit("/", 1)[-1]: target for kind, target in related.values() if target in names}
    return Workbook(
        sheets,
        places,
        "1904" if from_1904 else "1900",
        by_kind.get("styles", ""),
        by_kind.get("sharedStrings", ""),
    )


class _Book:
    def __init__(self) -> None:
        self.sheets: list[tuple[str, bool, str]] = []
        self.from_1904 = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "sheet":
            rel = next((value for key, value in attributes.items() if key == "id"), "")
            visible = attributes.get("state", "visible") == "visible"
            self.sheets.append((attributes.get("name", ""), visible, rel))
        elif name == "workbookPr":
            self.from_1904 = attributes.get("date1904", "0") in ("1", "true")


def _relations(archive: zipfile.ZipFile, part: str) -> dict[str, tuple[str, str]]:
    """Kind and target (a name in the archive) by id."""
    folder, name = posixpath.split(part)
    path = posixpath.join(folder, "_rels", f"{name}.rels")
    found: dict[str, tuple[str, str]] = {}

    def start(element: str, attributes: dict[str, str]) -> None:
        if element == "Relationship" and attributes.get("TargetMode") != "External":
            target = posixpath.normpath(posixpath.join("/", folder, attributes.get("Target", ""))).lstrip("/")
            found[attributes.get("Id", "")] = (attributes.get("Type", ""), target)

    if path in archive.NameToInfo:
        parse_part(archive, path, start)
    return found


def cell_kinds(archive: zipfile.ZipFile, workbook: Workbook) -> list[str]:
    """By style number, the kind of its numeric cells: '' a number, DATE or DURATION."""
    formats: dict[int, str] = {}
    kinds: list[str] = []
    inside: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if name == "numFmt":
            formats[_number(attributes.get("numFmtId"))] = attributes.get("formatCode", "")
        elif name in ("cellXfs", "cellStyleXfs"):
            inside[:] = [name]
        elif name == "xf" and inside == ["cellXfs"]:
            kinds.append(number_kind(_number(attributes.get("numFmtId")), formats))

    if workbook.styles:
        parse_part(archive, workbook.styles, start)
    return kinds


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() and len(text) < 10 else 0


def number_kind(number: int, formats: Mapping[int, str]) -> str:
    """The kind that the number format of this number makes of a number; `formats` are those that the file defines."""
    if number in formats:
        return format_kind(formats[number])
    return DURATION if number in _DURATIONS else DATE if number in _DATES else ""


def format_kind(code: str) -> str:
    """The kind that a number format makes of a number: '' stays a number."""
    section = _LITERAL.sub("", code.split(";")[0])
    if _ELAPSED.search(section):
        return DURATION
    return DATE if re.search("[dmhysDMHYS]", section) and "general" not in section.lower() else ""


def parse_part(archive: zipfile.ZipFile, name: str, start: Any) -> None:
    """Parse a small part; `start` gets names without their namespace. Raises TaskError `corrupt_file`."""
    size = archive.getinfo(name).file_size if name in archive.NameToInfo else -1
    if size < 0 or size > _PART_BYTES:
        what = f"is {size} bytes, more than {_PART_BYTES}" if size > 0 else "is missing"
        raise TaskError(f"The workbook cannot be read: its part {name!r} {what}.", code="corrupt_file")
    parser = safe_parser()

    def local(element: str, attributes: dict[str, str]) -> None:
        start(
            element.rsplit(" ", 1)[-1], {key.rsplit(" ", 1)[-1]: value for key, value in attributes.items()}
        )

    parser.StartElementHandler = local
    with corrupt(name), archive.open(name) as file:
        parser.Parse(file.read(), True)


def safe_parser() -> Any:
    """An XML parser that knows namespaces (`uri local`) and refuses document types, and so entities of any kind."""
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse
    return parser


def _refuse(*_: object) -> None:
    raise TaskError(
        "The workbook declares an XML document type, which none needs and which could define entities without end. "
        "Save it anew with a spreadsheet program.",
        code="corrupt_file",
    )


_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    expat.ExpatError,
    EOFError,
    OSError,
    IndexError,
    NotImplementedError,
    ValueError,
    RuntimeError,
    struct.error,
)


class corrupt:  # noqa: N801  read as a phrase: `with corrupt(part):`
    """Around reading a part: what zipfile, zlib, expat and struct raise becomes TaskError `corrupt_file`."""

    def __init__(self, part: str) -> None:
        self._part = part

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        if isinstance(error, _FAULTS):
            raise TaskError(
                f"The workbook is damaged: its part {self._part!r} cannot be read ({error}). Get it anew, or save it "
                "anew with a spreadsheet program.",
                code="corrupt_file",
            ) from None


def column_place(letters: str) -> int:
    """0 for A. Raises TaskError beyond XFD, the last that there is."""
    place = 0
    for letter in letters:
        place = place * 26 + ord(letter) - 64
    if place > MOST_COLUMNS:
        raise TaskError(
            f"The sheet has a column {letters}, and there are none beyond XFD, the {MOST_COLUMNS}th.",
            code="corrupt_file",
        )
    return place - 1
