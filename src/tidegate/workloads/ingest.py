"""The kind `ingest`: files become tables of a database, or a data source.

This half lives in the server: it finds the files, judges options and target, and sizes every file before it is read. What is
in the files is read by `ingest_run`, inside the sandbox. There is one task for each file and sheet; a workbook of which all
sheets are asked for has a first task that looks which there are, and adds one for each.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tidegate.core.job import TaskOrder
from tidegate.core.names import INTERACTIVE_QUEUE
from tidegate.core.resources import MIB, Resources, format_bytes
from tidegate.errors import InvalidInput, NeverFits
from tidegate.ports import IntakeContext, WorkOrder
from tidegate.workloads.errors import TaskError
from tidegate.workloads.files import DataFile, expand, own_path, refuse_foreign
from tidegate.workloads.ingest_names import TABLE_SUFFIXES, TableNames, is_workbook, refuse_other_formats
from tidegate.workloads.ingest_targets import Destination, destination
from tidegate.workloads.sql import within
from tidegate.workloads.tables.model import TableOptions, parse_options
from tidegate.workloads.tables.sizing import estimate
from tidegate.workloads.targets.model import Mode

MOST_FILES = 10_000
MOST_KEYS = 32
MOST_PREVIEW_ROWS = 1000
LEAST_REQUEST = Resources(cpu_milli=1000, memory_bytes=256 * MIB, disk_bytes=128 * MIB)
"""Of a task that looks which sheets a workbook has, and of a file that cannot be sized: it says itself what is wrong."""
_READER_OPTIONS = frozenset(
    {
        "header",
        "types",
        "skip_rows",
        "null_texts",
        "max_bad_rows",
        "ragged",
        "encoding",
        "delimiter",
        "decimal",
    }
)
_OWN_FIELDS = frozenset(
    {"files", "into", "table", "schema", "mode", "keys", "sheets", "again", "add_columns", "preview_rows"}
)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The fields of a submission, judged."""

    files: tuple[DataFile, ...]
    sheets: tuple[str | int | None, ...] | None
    """None: all that a workbook has."""
    options: TableOptions
    mode: Mode
    keys: tuple[str, ...]
    again: bool
    add_columns: bool


class IngestWorkload:
    """Judges submissions of kind `ingest`."""

    kind = "ingest"
    connects = True
    expands = True
    preload = "on_demand"
    """Its readers bring OpenSSL and the compressors, which every fork for a query would copy."""
    fields = _OWN_FIELDS | _READER_OPTIONS
    internal_fields = frozenset({"preview_rows"})
    """Only the service itself asks for rows in place of a load."""
    runner = "tidegate.workloads.ingest_run:run"

    def order(self, fields: Mapping[str, Any], context: IntakeContext) -> WorkOrder:
        """Raises InvalidInput for a bad field, for files and targets that may not be used, Conflict for a source that does
        not grow. A file that cannot be read as a table is no reason to refuse: its task fails, and the others load."""
        asked = _asked(fields, context)
        if fields.get("preview_rows") is not None:
            return _preview(asked, fields["preview_rows"], context)
        to = destination(fields.get("into"), fields.get("schema"), asked.mode, asked.keys, context)
        many = asked.sheets is None or len(asked.sheets) > 1
        tables = TableNames.asked(fields.get("table"), of_source=to.is_source, many_sheets=many)
        _refuse_many_replacing(asked, tables, to)
        tasks = tuple(_tasks(asked, tables, to, context))
        names = dict.fromkeys(str(task.spec["table"]) for task in tasks if "table" in task.spec)
        known = {name: loads for name in names if (loads := to.loads_of(name))}
        most = max(tasks, key=lambda task: task.resources.memory_bytes if task.resources else 0)
        return WorkOrder(
            name=_name(asked.files, to),
            spec={
                "options": asked.options.spec(),
                "mode": str(asked.mode),
                "keys": list(asked.keys),
                "again": asked.again,
                "known_loads": {} if asked.again else known,
                "add_columns": asked.add_columns,
                "memory_bytes": context.memory_bytes,
                **to.spec,
                "readable_paths": sorted({*(file.path for file in asked.files), *to.readable_paths}),
            },
            request=most.resources or LEAST_REQUEST,
            timeout_s=0.0,
            tasks=tasks,
        )


def _asked(fields: Mapping[str, Any], context: IntakeContext) -> _Asked:
    files = _files(fields.get("files"), context)
    given = {name: fields[name] for name in _READER_OPTIONS if fields.get(name) is not None}
    return _Asked(
        files=files,
        sheets=_sheets(fields.get("sheets")),
        options=parse_options(given),
        mode=_mode(fields.get("mode")),
        keys=_keys(fields.get("keys")),
        again=_truth(fields, "again"),
        add_columns=_truth(fields, "add_columns"),
    )


def _files(given: object, context: IntakeContext) -> tuple[DataFile, ...]:
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not names:
        raise InvalidInput(
            '`files` must be a list of paths or globs, such as ["files/orders.xlsx", "files/2026/*.csv"].',
            code="files_missing",
        )
    found: dict[str, DataFile] = {}
    for name in names:
        path = own_path(name, context)
        refuse_foreign(path, context, what="files")
        for file in expand(path, context, what="files", suffixes=TABLE_SUFFIXES):
            refuse_foreign(file.path, context, what="files")  # links have been followed now
            refuse_other_formats(file.path)
            found[file.path] = file
    if len(found) > MOST_FILES:
        raise InvalidInput(
            f"`files` names {len(found)} files, at most {MOST_FILES} are taken. Submit several jobs.",
            numbers={"asked": len(found), "limit": MOST_FILES},
        )
    return tuple(found.values())


def _sheets(given: object) -> tuple[str | int | None, ...] | None:
    if given is None:
        return (None,)
    if given == "all":
        return None
    sheets = given if isinstance(given, list) else [given]
    if not sheets or len(sheets) > 1000 or not all(_is_sheet(sheet) for sheet in sheets):
        raise InvalidInput(
            "`sheets` must be 'all', a sheet's name or its place from 1, or a list of at most 1000 of these."
        )
    return tuple(dict.fromkeys(sheets))


def _is_sheet(sheet: object) -> bool:
    if isinstance(sheet, str):
        return 0 < len(sheet) <= 255 and "\0" not in sheet
    return isinstance(sheet, int) and not isinstance(sheet, bool) and 1 <= sheet <= 100_000


def _mode(given: object) -> Mode:
    try:
        return Mode(str(given or "append"))
    except ValueError:
        raise InvalidInput(f"`mode` must be one of {', '.join(Mode)}, not {given!r:.80}.") from None


def _keys(given: object) -> tuple[str, ...]:
    keys = given if isinstance(given, list) else [given] if given is not None else []
    if len(keys) > MOST_KEYS or not all(isinstance(key, str) and 0 < len(key) <= 200 for key in keys):
        raise InvalidInput(f"`keys` must be a list of at most {MOST_KEYS} names of columns.")
    return tuple(dict.fromkeys(keys))


def _truth(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name, False)
    if value not in (True, False, None):
        raise InvalidInput(f"`{name}` must be true or false, not {value!r:.80}.")
    return bool(value)


def _refuse_many_replacing(asked: _Asked, tables: TableNames, to: Destination) -> None:
    """A database's table would end up with the rows of whichever file came last."""
    if asked.mode is not Mode.REPLACE or to.is_source:
        return
    several_files = len(asked.files) > 1 and not tables.by_file
    several_sheets = asked.sheets is None or len(asked.sheets) > 1
    if several_files or (several_sheets and not tables.by_sheet and any(map(_is_workbook, asked.files))):
        raise InvalidInput(
            "`mode` replace with several files or sheets into one table would keep only the one that comes last. Put "
            "{file} or {sheet} into `table`, or load the first with replace and the others with append.",
            code="many_replace",
        )


def _is_workbook(file: DataFile) -> bool:
    return is_workbook(file.path)


def _tasks(asked: _Asked, tables: TableNames, to: Destination, context: IntakeContext) -> list[TaskOrder]:
    made: list[TaskOrder] = []
    for file in asked.files:
        context.before_look()
        name = os.path.basename(file.path)
        spec = {"path": file.path, "input": name}
        if asked.sheets is None and is_workbook(file.path):
            listing = {**spec, "all_sheets": True, "tables": tables.for_sheets(file.path)}
            made.append(TaskOrder(name, listing, _listing_request(file, asked.options, context)))
            continue
        for sheet in asked.sheets if asked.sheets and is_workbook(file.path) else (None,):
            label = name if sheet is None else f"{name} [{sheet}]"
            table = tables.of(file.path, None if sheet is None else str(sheet))
            resources = _request(file, asked.options, sheet, context)
            one = {**spec, "sheet": sheet, "table": table, **to.of_table(table, asked.again)}
            made.append(TaskOrder(label[:1000], one, resources))
    return made


def _listing_request(file: DataFile, options: TableOptions, context: IntakeContext) -> Resources:
    """What it takes to see which sheets there are: of an xls file, which is read as a whole, as much as a load."""
    if file.path.lower().endswith(".xls"):
        return _request(file, options, None, context)
    return within(LEAST_REQUEST, context.largest)


def _request(
    file: DataFile, options: TableOptions, sheet: str | int | None, context: IntakeContext
) -> Resources:
    """What one task asks for. It is not lowered to what a worker has, or to what its user allows: what can never fit is
    refused, with the numbers."""
    largest = context.largest
    try:
        size = estimate(file.path, replace(options, sheet=sheet))
    except (TaskError, OSError):
        return within(LEAST_REQUEST, largest)
    limit = context.memory_bytes
    if limit is not None and limit < size.memory_bytes:
        raise NeverFits(
            f"Reading {os.path.basename(file.path)!r:.200} takes about {format_bytes(size.memory_bytes)} of memory, and "
            f"`memory` allows {format_bytes(limit)}. Raise it, or leave it out.",
            numbers={"resource": "memory", "asked": size.memory_bytes, "limit": limit},
        )
    return Resources(
        min(LEAST_REQUEST.cpu_milli, largest.cpu_milli or LEAST_REQUEST.cpu_milli),
        limit or size.memory_bytes,
        size.disk_bytes,
    )


def _name(files: tuple[DataFile, ...], to: Destination) -> str:
    first = os.path.basename(files[0].path)
    what = first if len(files) == 1 else f"{first} and {len(files) - 1} more"
    text = f"{what} into {to.label}"
    return "".join(char if char.isprintable() else " " for char in text)[:200]


def _preview(asked: _Asked, rows: object, context: IntakeContext) -> WorkOrder:
    """The order for looking at the beginning of one file."""
    if len(asked.files) != 1 or asked.sheets is None or len(asked.sheets) != 1:
        raise InvalidInput("A preview is of one file and one sheet; name just one of each.")
    if not isinstance(rows, int) or not 1 <= rows <= MOST_PREVIEW_ROWS:
        raise InvalidInput(f"`rows` must be a whole number from 1 to {MOST_PREVIEW_ROWS}.")
    file = asked.files[0]
    return WorkOrder(
        name=f"preview {os.path.basename(file.path)}"[:200],
        spec={
            "options": asked.options.spec(),
            "preview_rows": rows,
            "path": file.path,
            "input": os.path.basename(file.path),
            "sheet": asked.sheets[0],
            "readable_paths": [file.path],
        },
        request=_request(file, asked.options, asked.sheets[0], context),
        timeout_s=0.0,
        queue=INTERACTIVE_QUEUE,
    )
