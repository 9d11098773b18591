"""What a file is and what reading it will take, judged from its beginning and its directory, before anything is unpacked."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

from tidegate.core.resources import GIB, MIB, format_bytes
from tidegate.workloads.errors import TaskError
from tidegate.workloads.tables import ods_parts, xls_parts, xlsb_parts, xlsb_sheet, xlsx_parts
from tidegate.workloads.tables.model import Estimate, Sheet, TableOptions
from tidegate.workloads.tables.xlsx_parts import Workbook, column_place, corrupt
from tidegate.workloads.tables.xlsx_text import IN_MEMORY_BYTES

FileKind = Literal["csv", "xlsx", "xlsb", "xls", "ods"]
CSV_ENDINGS = (".csv", ".tsv", ".txt", ".psv")
WORKBOOK_ENDINGS = (".xlsx", ".xlsm", ".xltx", ".xltm", ".xls", ".xlsb", ".ods")
_PACKED = (".gz", ".zst")
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_HEAD_BYTES = MIB
_VALUE = re.compile(rb"<(?:[A-Za-z0-9]+:)?(?:v|t)(?: [^<>]*)?>[^<]")
_DIMENSION = re.compile(rb'<dimension ref="(?:[A-Z]{1,3}[0-9]{1,7}:)?([A-Z]{1,3})([0-9]{1,7})"')

MOST_RATIO = 200
"""Unpacked to packed bytes. Sheets of real workbooks stay below 40, one of equal rows below 100; deflate ends at 1032."""
_RATIO_FROM_BYTES = 64 * MIB
MOST_UNPACKED_BYTES = 32 * GIB
_MOST_PARTS = 20_000

_BASE_BYTES = 224 * MIB
"""Python, DuckDB and its row groups for sheets of few columns."""
_WIDE_COLUMNS = 256
_COLUMN_BYTES = 420 * 1024
"""More for each column beyond: DuckDB holds 2,048 values of each several times over. docs/decisions/workbook-sizes.md."""
_CALAMINE_FACTOR, _SPARSE_FACTOR = 12.5, 5
"""Memory of a workbook in calamine, as a multiple of its bytes; of a sparse one without its cells.
docs/decisions/workbook-sizes.md."""
_CALAMINE_CELL_BYTES = 32
"""Of a cell of a sheet's rectangle, filled or not. The rectangles of all sheets are held, and that of one once more."""


def file_kind(path: str) -> FileKind:
    """By the name's ending, held against the file's first bytes.

    Raises TaskError: `empty_file`, `not_a_workbook`, `encrypted_file`, `corrupt_file`, `unknown_format`.
    """
    name = os.path.basename(path)
    if os.stat(path).st_size == 0:
        raise TaskError(f"The file {name!r} is empty: it has no columns.", code="empty_file")
    lowered = name.lower()
    with Path(path).open("rb") as file:
        head = file.read(8)
    if lowered.removesuffix(".gz").removesuffix(".zst").endswith(CSV_ENDINGS):
        return "csv"
    if not lowered.endswith(WORKBOOK_ENDINGS):
        endings = ", ".join((*CSV_ENDINGS, *WORKBOOK_ENDINGS))
        raise TaskError(
            f"The file {name!r} has no ending of a table. Known are {endings}.", code="unknown_format"
        )
    if head.startswith(_OLE):
        return _ole_kind(path, name)
    if head.startswith(b"PK"):
        return _zip_kind(path, name)
    raise TaskError(
        f"The file {name!r} is no workbook, whatever its ending says: it begins like no Excel or OpenDocument file. "
        "If it is text, give it the ending .csv.",
        code="not_a_workbook",
    )


def _ole_kind(path: str, name: str) -> FileKind:
    with Path(path).open("rb") as file:
        while chunk := file.read(_HEAD_BYTES):
            if _ENCRYPTED in chunk:
                raise TaskError(
                    f"The workbook {name!r} is encrypted. Save it without a password, and load that.",
                    code="encrypted_file",
                )
    return "xls"


def _zip_kind(path: str, name: str) -> FileKind:
    with open_archive(path) as archive:
        names = archive.NameToInfo
        if any(part.endswith("workbook.bin") for part in names):
            return "xlsb"
        if "_rels/.rels" in names:
            return "xlsx"
        if "content.xml" in names and "mimetype" in names:
            return "ods"
    raise TaskError(f"The file {name!r} is an archive, but no workbook.", code="not_a_workbook")


@contextmanager
def open_archive(path: str) -> Iterator[zipfile.ZipFile]:
    """The archive of a workbook, its directory judged. Raises TaskError: `corrupt_file`, `encrypted_file`, `archive_bomb`."""
    name = os.path.basename(path)
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise TaskError(
            f"The workbook {name!r} is damaged: {error}. It may have been cut off; get it anew.",
            code="corrupt_file",
        ) from None
    with archive:
        _judge(archive, name)
        yield archive


def _judge(archive: zipfile.ZipFile, name: str) -> None:
    parts = archive.infolist()
    if len(parts) != len(archive.NameToInfo):
        raise TaskError(
            f"The workbook {name!r} is damaged: two of its parts have one name.", code="corrupt_file"
        )
    if len(parts) > _MOST_PARTS:
        raise TaskError(
            f"The workbook {name!r} has {len(parts)} parts, and more than {_MOST_PARTS} are not unpacked.",
            code="archive_bomb",
            numbers={"parts": len(parts), "limit": _MOST_PARTS},
        )
    for part in parts:
        if part.flag_bits & 1:
            raise TaskError(
                f"The workbook {name!r} is encrypted. Save it without a password, and load that.",
                code="encrypted_file",
            )
        if part.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise TaskError(
                f"The workbook {name!r} is packed in a way that none should be.", code="corrupt_file"
            )
        _refuse_bomb(part, name)


def _refuse_bomb(part: zipfile.ZipInfo, name: str) -> None:
    ratio = part.file_size / max(1, part.compress_size)
    if part.file_size > MOST_UNPACKED_BYTES or (part.file_size > _RATIO_FROM_BYTES and ratio > MOST_RATIO):
        raise TaskError(
            f"The workbook {name!r} was not opened: its part {part.filename[:100]!r} would grow from "
            f"{format_bytes(part.compress_size)} to {format_bytes(part.file_size)}, {ratio:.0f} times. Not more than "
            f"{MOST_RATIO} times and {format_bytes(MOST_UNPACKED_BYTES)} is unpacked.",
            code="archive_bomb",
            numbers={
                "packed_bytes": part.compress_size,
                "unpacked_bytes": part.file_size,
                "most_ratio": MOST_RATIO,
            },
        )


def estimate(path: str, options: TableOptions) -> Estimate:
    """Memory and disk for `reading.extract`, from the archive's directory.

    Cheap; loads neither DuckDB nor calamine. Raises TaskError: those of `file_kind`, `archive_bomb`, `unknown_sheet`.
    """
    kind = file_kind(path)
    size_bytes = os.stat(path).st_size
    if kind == "csv":
        packed = path.lower().endswith(_PACKED)
        unpacked = size_bytes * 10 if packed else size_bytes
        return Estimate(_BASE_BYTES + 32 * MIB, 2 * unpacked + 64 * MIB, unpacked, "csv")
    if kind == "xls":
        memory = _BASE_BYTES + _calamine_bytes(path, size_bytes)
        return Estimate(memory, 4 * size_bytes + 64 * MIB, size_bytes, "calamine")
    with open_archive(path) as archive:
        if kind == "ods":
            return _of_ods(archive)
        return _by_stream(archive, options)


def _calamine_bytes(path: str, size_bytes: int) -> int:
    stated = xls_parts.stated_cells(path)
    cells = sum(stated) + max(stated, default=0)
    return max(int(_CALAMINE_FACTOR * size_bytes), _SPARSE_FACTOR * size_bytes + _CALAMINE_CELL_BYTES * cells)


def _of_ods(archive: zipfile.ZipFile) -> Estimate:
    """A row that is wider than those at the beginning of the file is not seen."""
    size = archive.getinfo("content.xml").file_size
    wide = max(0, ods_parts.widest_row(archive) - _WIDE_COLUMNS) * _COLUMN_BYTES
    return Estimate(_BASE_BYTES + wide, 2 * size + 64 * MIB, size, "ods")


def _by_stream(archive: zipfile.ZipFile, options: TableOptions) -> Estimate:
    book = read_workbook(archive)
    sheet = book.parts[choose_sheet(filled_sheets(archive, book, options), options, book.parts)]
    size = archive.getinfo(sheet).file_size
    strings = archive.getinfo(book.strings).file_size if book.strings else 0
    in_memory = 3 * min(strings, IN_MEMORY_BYTES)
    return Estimate(
        memory_bytes=_BASE_BYTES + in_memory + _wide_bytes(archive, sheet),
        disk_bytes=2 * size + 4 * strings + 64 * MIB,
        uncompressed_bytes=size + strings,
        reader="xlsb" if is_binary(sheet) else "xlsx",
    )


def is_binary(part: str) -> bool:
    """Whether a sheet's part holds records, as in xlsb files, in place of XML."""
    return part.endswith(".bin")


def read_workbook(archive: zipfile.ZipFile) -> Workbook:
    """Of an xlsx or xlsb file. Raises TaskError: `corrupt_file`, `not_a_workbook`."""
    if is_binary(xlsx_parts.main_part(archive)):
        return xlsb_parts.read_workbook(archive)
    return xlsx_parts.read_workbook(archive)


def _wide_bytes(archive: zipfile.ZipFile, part: str) -> int:
    columns = stated_size(archive, part)[1] or 0
    return max(0, columns - _WIDE_COLUMNS) * _COLUMN_BYTES


def stated_size(archive: zipfile.ZipFile, part: str) -> tuple[int | None, int | None]:
    """Rows and columns as the sheet's `dimension` states them, which need not be true."""
    with corrupt(part), archive.open(part) as file:
        if is_binary(part):
            return xlsb_sheet.stated_size(file)
        found = _DIMENSION.search(file.read(4096))
    if not found:
        return None, None
    return int(found[2]), column_place(found[1].decode()) + 1


def choose_sheet(
    sheets: tuple[Sheet, ...] | list[Sheet], options: TableOptions, parts: tuple[str, ...] = ()
) -> int:
    """The place of the sheet that the options name; without a name the first visible one whose `row_count` is not 0, if
    there is one. Raises TaskError `unknown_sheet`.
    """
    readable = [place for place in range(len(sheets)) if not parts or parts[place]]
    wanted = options.sheet
    if wanted is None:
        visible = [place for place in readable if sheets[place].visible] or readable
        places = [place for place in visible if sheets[place].row_count != 0] or visible
    elif isinstance(wanted, int):
        places = [place for place in readable if place == wanted - 1]
    else:
        places = [place for place in readable if sheets[place].name == wanted]
    if not places:
        known = ", ".join(repr(sheets[place].name) for place in readable[:50])
        raise TaskError(
            f"The workbook has no sheet {wanted!r} with cells. It has: {known or 'none'}.",
            code="unknown_sheet",
        )
    return places[0]


def filled_sheets(archive: zipfile.ZipFile, book: Workbook, options: TableOptions) -> tuple[Sheet, ...]:
    """The workbook's sheets, those without a cell with `row_count` 0, if the options leave the choice.

    It is seen at the beginning of a sheet; one of which more than a MiB is empty cells counts as one that has some.
    """
    if options.sheet is not None:
        return book.sheets
    return tuple(
        replace(sheet, row_count=None if not part or _has_cells(archive, part) else 0)
        for sheet, part in zip(book.sheets, book.parts, strict=True)
    )


def _has_cells(archive: zipfile.ZipFile, part: str) -> bool:
    with corrupt(part), archive.open(part) as file:
        if is_binary(part):
            return xlsb_sheet.has_cells(file, _HEAD_BYTES)
        head = file.read(_HEAD_BYTES)
        return bool(_VALUE.search(head)) or b"\0" in head[:4] or bool(file.read(1))


def workbook_sheets(archive: zipfile.ZipFile, book: Workbook) -> list[Sheet]:
    """The worksheets with the sizes that they state."""
    found = []
    for sheet, part in zip(book.sheets, book.parts, strict=True):
        if part:
            rows, columns = stated_size(archive, part)
            found.append(replace(sheet, row_count=rows, column_count=columns))
    return found
