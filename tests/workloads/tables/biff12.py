"""Writes xlsb workbooks for tests: no package does. The records are those of [MS-XLSB], as Excel orders them."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

ERRORS = {
    "#NULL!": 0x00, "#DIV/0!": 0x07, "#VALUE!": 0x0F, "#REF!": 0x17, "#NAME?": 0x1D, "#NUM!": 0x24, "#N/A": 0x2A,
}  # fmt: skip
_REFERENCE_ERROR = b"\x2a" + bytes(6)
"""A parsed formula, PtgRefErr: what it says does not matter to who reads values."""


@dataclass(frozen=True)
class Error:
    """A cell that holds an error, such as #N/A."""

    text: str


@dataclass(frozen=True)
class Formula:
    """A formula's cell, by the value that was calculated last."""

    value: float | str | bool | Error


@dataclass(frozen=True)
class Styled:
    """A number with a style, by its place in `formats`."""

    value: float
    style: int


@dataclass(frozen=True)
class Sheet:
    name: str
    rows: Sequence[Sequence[Any]]
    """None is no cell; a text is a shared one, bytes are a text in the cell itself, in UTF-8."""
    merged: Sequence[tuple[int, int, int, int]] = ()
    """First row, last row, first column, last column, from 0."""
    visible: bool = True
    first_row: int = 0


def workbook(
    sheets: Sequence[Sheet], formats: Sequence[str] = ("General",), *, from_1904: bool = False
) -> bytes:
    strings: dict[str, int] = {}
    parts: dict[str, bytes | str] = {
        f"xl/worksheets/sheet{n}.bin": _sheet(one, strings) for n, one in enumerate(sheets, start=1)
    }
    relations = "".join(
        f'<Relationship Id="rId{n}" Target="worksheets/sheet{n}.bin" Type="{_RELATIONS}/worksheet"/>'
        for n in range(1, len(sheets) + 1)
    )
    relations += f'<Relationship Id="rIdT" Target="sharedStrings.bin" Type="{_RELATIONS}/sharedStrings"/>'
    relations += f'<Relationship Id="rIdS" Target="styles.bin" Type="{_RELATIONS}/styles"/>'
    parts |= {
        "[Content_Types].xml": _XML + _TYPES,
        "_rels/.rels": _XML + _PACKAGE % _MAIN,
        "xl/_rels/workbook.bin.rels": _XML + _PACKAGE % relations,
        "xl/workbook.bin": _book(sheets, from_1904),
        "xl/styles.bin": _styles(formats),
        "xl/sharedStrings.bin": _strings(strings),
    }  # fmt: skip
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in parts.items():
            archive.writestr(name, body)
    return data.getvalue()


_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_PACKAGE = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">%s</Relationships>'
)
_MAIN = f'<Relationship Id="rId1" Target="xl/workbook.bin" Type="{_RELATIONS}/officeDocument"/>'
_TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="bin" ContentType="application/vnd.ms-excel.sheet.binary.macroEnabled.main"/>'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/></Types>'
)


def _record(kind: int, body: bytes = b"") -> bytes:
    kinds = bytes([kind]) if kind < 0x80 else bytes([kind & 0x7F | 0x80, kind >> 7])
    size, rest = [], len(body)
    while rest >= 0x80:
        size.append(rest & 0x7F | 0x80)
        rest >>= 7
    return kinds + bytes([*size, rest]) + body


def _text(text: str) -> bytes:
    raw = text.encode("utf-16-le")
    return struct.pack("<I", len(raw) // 2) + raw


def _book(sheets: Sequence[Sheet], from_1904: bool) -> bytes:
    listed = b"".join(
        _record(0x9C, struct.pack("<II", 0 if one.visible else 1, n) + _text(f"rId{n}") + _text(one.name))
        for n, one in enumerate(sheets, start=1)
    )
    return b"".join(
        [
            _record(0x83),
            _record(0x99, struct.pack("<II", int(from_1904), 0) + _text("")),
            _record(0x8F),
            listed,
            _record(0x90),
            _record(0x9D, bytes(26)),
            _record(0x84),
        ]
    )


def _styles(formats: Sequence[str]) -> bytes:
    known = [(place, 163 + place) for place in range(1, len(formats))]
    return b"".join(
        [
            _record(0x116),
            _record(0x267, struct.pack("<I", len(known))),
            *(_record(0x2C, struct.pack("<H", number) + _text(formats[place])) for place, number in known),
            _record(0x268),
            _record(0x272, struct.pack("<I", 1)),
            _record(0x2F, struct.pack("<HH", 0xFFFF, 0) + bytes(12)),
            _record(0x273),
            _record(0x269, struct.pack("<I", len(formats))),
            *(
                _record(0x2F, struct.pack("<HH", 0, 163 + place if place else 0) + bytes(12))
                for place in range(len(formats))
            ),
            _record(0x26A),
            _record(0x117),
        ]
    )


def _strings(strings: dict[str, int]) -> bytes:
    items = b"".join(_record(0x13, b"\0" + _text(text)) for text in strings)
    counts = struct.pack("<II", len(strings), len(strings))
    return _record(0x9F, counts) + items + _record(0xA0)


def _sheet(sheet: Sheet, strings: dict[str, int]) -> bytes:
    width = max((len(row) for row in sheet.rows), default=1)
    last = sheet.first_row + max(0, len(sheet.rows) - 1)
    made = [
        _record(0x81),
        _record(0x94, struct.pack("<IIII", sheet.first_row, last, 0, max(0, width - 1))),
        _record(0x91),
    ]
    for number, row in enumerate(sheet.rows, start=sheet.first_row):
        made.append(_record(0x00, struct.pack("<IIHBBB", number, 0, 300, 0, 0, 0) + struct.pack("<I", 0)))
        made += [_cell(column, value, strings) for column, value in enumerate(row) if value is not None]
    made.append(_record(0x92))
    if sheet.merged:
        made.append(_record(0xB1, struct.pack("<I", len(sheet.merged))))
        made += [_record(0xB0, struct.pack("<IIII", *area)) for area in sheet.merged]
        made.append(_record(0xB2))
    return b"".join([*made, _record(0x82)])


def _cell(column: int, value: Any, strings: dict[str, int]) -> bytes:
    style = value.style if isinstance(value, Styled) else 0
    at = struct.pack("<II", column, style)
    if isinstance(value, Formula):
        kind, body = _value(value.value, strings, of_formula=True)
        rest = struct.pack("<HI", 0, len(_REFERENCE_ERROR)) + _REFERENCE_ERROR + struct.pack("<I", 0)
        return _record(kind, at + body + rest)
    kind, body = _value(value.value if isinstance(value, Styled) else value, strings, of_formula=False)
    return _record(kind, at + body)


def _value(value: Any, strings: dict[str, int], *, of_formula: bool) -> tuple[int, bytes]:
    """The record's type and the bytes of the value. Whole numbers that fit are RK, as Excel writes them."""
    if isinstance(value, Error):
        return (0x0B if of_formula else 0x03), bytes([ERRORS[value.text]])
    if isinstance(value, bool):
        return (0x0A if of_formula else 0x04), bytes([value])
    if isinstance(value, bytes):
        return 0x06, _text(value.decode())
    if isinstance(value, str):
        return (
            (0x08, _text(value))
            if of_formula
            else (0x07, struct.pack("<I", strings.setdefault(value, len(strings))))
        )
    if not of_formula and value == int(value) and abs(value) < 2**29:
        return 0x02, struct.pack("<i", int(value) << 2 | 2)
    return (0x09 if of_formula else 0x05), struct.pack("<d", value)
