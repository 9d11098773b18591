"""Cells of an xls file that hold errors, which calamine gives as empty: found in the file's own records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from struct import unpack_from

from tidegate.workloads.tables.xls_parts import records, sheet_begins, workbook_stream
from tidegate.workloads.tables.xlsx_parts import corrupt

_BOOLEAN_OR_ERROR, _FORMULA = 0x205, 0x06
_ERRORS: Mapping[int, str] = {
    0x00: "#NULL!", 0x07: "#DIV/0!", 0x0F: "#VALUE!", 0x17: "#REF!", 0x1D: "#NAME?", 0x24: "#NUM!", 0x2A: "#N/A",
}  # fmt: skip


def errors(path: str, place: int) -> dict[int, list[tuple[int, str]]]:
    """Of the sheet at this place (from 0, sheets of every kind counted): by row (from 1) columns (from 0) and errors.

    Raises TaskError `corrupt_file`.
    """
    found: dict[int, list[tuple[int, str]]] = {}
    with corrupt("Workbook"):
        stream = workbook_stream(Path(path).read_bytes())[:]
        for row, column, code in _error_cells(stream, sheet_begins(stream)[place]):
            found.setdefault(row + 1, []).append((column, _ERRORS.get(code, f"error {code}")))
    return found


def _error_cells(stream: bytes, begin: int) -> Iterator[tuple[int, int, int]]:
    """Row, column and code. A formula whose value is no number has 0xFFFF behind it, and 2 before an error."""
    for kind, at, _ in records(stream, begin):
        if kind == _BOOLEAN_OR_ERROR and stream[at + 7]:
            yield *unpack_from("<HH", stream, at), stream[at + 6]
        elif kind == _FORMULA and stream[at + 12 : at + 14] == b"\xff\xff" and stream[at + 6] == 2:
            yield *unpack_from("<HH", stream, at), stream[at + 8]
