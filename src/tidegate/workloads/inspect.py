"""The kind `inspect`: looks at the files of a source that is being registered.

This half lives in the server: it finds the files and judges path, format and options. What is in the files
is read by `inspect_run`, inside the sandbox.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tidegate.core.names import INTERACTIVE_QUEUE
from tidegate.core.resources import GIB, MIB, Resources
from tidegate.errors import InvalidInput
from tidegate.ports import IntakeContext, WorkOrder
from tidegate.workloads.errors import TaskError
from tidegate.workloads.files import CONVERTED, DataFile, expand, format_of, refuse_foreign, roots_of
from tidegate.workloads.sql import INTERACTIVE_REQUEST, within
from tidegate.workloads.tables.model import TableOptions, parse_options
from tidegate.workloads.tables.sizing import estimate

CONVERT_REQUEST = Resources(cpu_milli=0, memory_bytes=512 * MIB, disk_bytes=4 * GIB)
"""For an Arrow file, which is read batch by batch, and for a workbook that cannot be sized."""
_LONGEST_TEXT = 200
_MOST_COLUMNS = 10_000


def _text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_TEXT and "\0" not in value


def _texts(value: object) -> bool:
    return _text(value) or (isinstance(value, list) and 0 < len(value) <= 100 and all(map(_text, value)))


def _truth(value: object) -> bool:
    return isinstance(value, bool)


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -1 <= value <= 2**40


def _mapping(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and 0 < len(value) <= _MOST_COLUMNS
        and all(_text(name) and _text(kind) for name, kind in value.items())
    )


_Check = tuple[Callable[[object], bool], str]
_TEXT: _Check = (_text, "a text")
_TEXTS: _Check = (_texts, "a text or a list of texts")
_TRUTH: _Check = (_truth, "true or false")
_COUNT: _Check = (_count, "a whole number")
_MAPPING: _Check = (_mapping, "an object of column names and types")

_SHARED: Mapping[str, _Check] = {"union_by_name": _TRUTH, "hive_partitioning": _TRUTH, "filename": _TRUTH}
OPTIONS: Mapping[str, Mapping[str, _Check]] = {
    "csv": {
        **_SHARED,
        "delim": _TEXT,
        "quote": _TEXT,
        "escape": _TEXT,
        "comment": _TEXT,
        "header": _TRUTH,
        "skip": _COUNT,
        "nullstr": _TEXTS,
        "types": _MAPPING,
        "all_varchar": _TRUTH,
        "dateformat": _TEXT,
        "timestampformat": _TEXT,
        "decimal_separator": _TEXT,
        "encoding": _TEXT,
        "null_padding": _TRUTH,
        "strict_mode": _TRUTH,
        "sample_size": _COUNT,
    },
    "parquet": {**_SHARED, "binary_as_string": _TRUTH},
    "json": {
        **_SHARED,
        "columns": _MAPPING,
        "dateformat": _TEXT,
        "timestampformat": _TEXT,
        "sample_size": _COUNT,
        "maximum_object_size": _COUNT,
    },
}
"""Reader options that may be given at registration, by format, with their names in DuckDB. None of them
drops rows.
"""


class InspectWorkload:
    """Judges what shall become a source. Only the service itself submits this kind."""

    kind = "inspect"
    internal = True
    fields = frozenset({"path", "format", "options", "sheet"})
    runner = "tidegate.workloads.inspect_run:run"

    def order(self, fields: Mapping[str, Any], context: IntakeContext) -> WorkOrder:
        """Raises InvalidInput for a path that names nothing or may not be read, and for a format or option
        not known.
        """
        refuse_foreign(fields.get("path"), context)
        given = fields.get("format")
        kind = None if given is None else format_of([""], given)
        files = expand(fields.get("path"), context, kind=kind)
        for file in files:  # links have been followed now
            refuse_foreign(file.path, context)
        kind = kind or format_of([file.path for file in files])
        if fields.get("sheet") is not None and kind != "excel":
            raise InvalidInput("`sheet` is for Excel files.")
        if kind in CONVERTED:
            return _conversion(kind, files, fields, context)
        spec = {
            "format": kind,
            "paths": [file.path for file in files],
            "sizes_bytes": [file.size_bytes for file in files],
            "options": _checked(fields.get("options"), kind, tab_separated=str(given).lower() == "tsv"),
            "readable_paths": sorted({file.path for file in files}),
            "roots": roots_of(files, context),
        }
        return WorkOrder(
            name=f"inspect {fields['path']}"[:200],
            spec=spec,
            request=within(INTERACTIVE_REQUEST, context.largest),
            timeout_s=0.0,
            queue=INTERACTIVE_QUEUE,
        )


def _conversion(
    kind: str, files: Sequence[DataFile], fields: Mapping[str, Any], context: IntakeContext
) -> WorkOrder:
    """The order for a file that becomes Parquet. It asks for what reading the whole of it takes."""
    if len(files) > 1:
        raise InvalidInput(
            f"{len(files)} files of the format {kind} cannot be one source. Register them one by one, or load them into one "
            "table by an ingest job."
        )
    options = parse_options(fields.get("options")) if kind == "excel" else TableOptions()
    if kind == "arrow" and fields.get("options"):
        raise InvalidInput("`options`: there are none for Arrow files.")
    request = CONVERT_REQUEST
    if kind == "excel":
        context.before_look()
        with contextlib.suppress(TaskError):  # it says itself, when it is read, what is wrong
            size = estimate(files[0].path, replace(options, sheet=fields.get("sheet")))
            request = Resources(0, size.memory_bytes, size.disk_bytes)
    return WorkOrder(
        name=f"convert {fields['path']}"[:200],
        spec={
            "format": kind,
            "paths": [files[0].path],
            "sizes_bytes": [files[0].size_bytes],
            "sheet": fields.get("sheet"),
            "options": options.spec(),
            "readable_paths": [files[0].path],
            "roots": roots_of(files, context),
        },
        request=within(request, context.largest) if request is CONVERT_REQUEST else request,
        timeout_s=0.0,
        queue=INTERACTIVE_QUEUE,
    )


def _checked(options: object, kind: str, *, tab_separated: bool) -> dict[str, Any]:
    if options is None:
        options = {}
    if not isinstance(options, Mapping):
        raise InvalidInput(f"`options` must be an object, not {type(options).__name__}.")
    known = OPTIONS[kind]
    for name, value in options.items():
        if name not in known:
            raise InvalidInput(f"`options` has no {name!r} for {kind}. It knows: {', '.join(sorted(known))}.")
        accepts, what = known[name]
        if not accepts(value):
            raise InvalidInput(f"`options.{name}` must be {what}.")
    return {"delim": "\t", **options} if tab_separated else dict(options)
