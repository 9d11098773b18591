"""The kind `sql`: one SELECT over named sources, its result written as Parquet and registered as a source.

This half lives in the server: it judges a submission, finds the sources it names and what it will need. It
never loads DuckDB; `sql_run` does that, inside the sandbox.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidegate.core.names import (
    DEFAULT_QUEUE,
    INTERACTIVE_QUEUE,
    RESERVED_WORDS,
    check_source_name,
    managed_file,
)
from tidegate.core.resources import GIB, MIB, Resources
from tidegate.core.source import Source
from tidegate.errors import InvalidInput
from tidegate.ports import IntakeContext, WorkOrder
from tidegate.workloads.files import DataFile, compression_of, expand
from tidegate.workloads.sql_text import first_words, table_names

MAX_SQL_BYTES = MIB
MAX_INLINE_ROWS = 1_000_000
MAX_INLINE_BYTES = 64 * MIB
FILE_FORMATS = ("parquet", "csv", "jsonl", "arrow", "xlsx")
INTERACTIVE_REQUEST = Resources(cpu_milli=0, memory_bytes=256 * MIB, disk_bytes=GIB)
"""No CPU: it runs in the gaps that the others leave. Memory and disk are counted like everybody's."""

EXPORT_REQUEST = Resources(cpu_milli=0, memory_bytes=512 * MIB, disk_bytes=4 * GIB)
"""Of an export by a library beside DuckDB: pyarrow alone takes 70 MB. A workbook's parts lie on disk until it is packed."""

_OUTPUT_FIELDS: Mapping[str, frozenset[str]] = {
    "source": frozenset(),
    "inline": frozenset({"max_rows", "max_bytes"}),
    "file": frozenset({"format"}),
}
_LARGE_INPUT_BYTES = 256 * MIB
_SOURCE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_NAMES_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Input:
    """A source that a query names, with the files it has now."""

    source: Source
    files: tuple[DataFile, ...]

    @property
    def working_set_bytes(self) -> int:
        """Guess of the bytes its rows take in memory; see `default_request`."""
        return sum(int(file.size_bytes * self._growth(file)) for file in self.files)

    def _growth(self, file: DataFile) -> float:
        if self.source.format == "parquet":
            return 3.0
        return 6.0 if compression_of(file.path) else 1.5

    def spec(self) -> dict[str, Any]:
        """What the runner needs to make a view of it."""
        return {
            "name": self.source.name,
            "format": self.source.format,
            "paths": [file.path for file in self.files],
            "options": dict(self.source.options),
            "columns": [[column.name, column.type] for column in self.source.columns],
            **({"cast": True} if self.source.parts else {}),
        }


class SqlWorkload:
    """Judges submissions of kind `sql`."""

    kind = "sql"
    fields = frozenset({"sql", "result_name", "output"})
    internal_fields = frozenset({"output"})
    """Fields that only the service itself may give, for its own queries: previews, downloads, `POST
    /query`.
    """
    runner = "tidegate.workloads.sql_run:run"

    def order(self, fields: Mapping[str, Any], context: IntakeContext) -> WorkOrder:
        """Raises InvalidInput for a bad field, and for a source whose files are gone."""
        sql = _checked_sql(fields.get("sql"))
        output = _checked_output(fields.get("output"))
        result_name = _checked_result_name(fields.get("result_name"), output)
        inputs = _inputs(sql, context)
        spec: dict[str, Any] = {
            "sql": sql,
            "inputs": [source.spec() for source in inputs],
            "readable_paths": sorted({file.path for source in inputs for file in source.files}),
            "output": output,
        }
        if result_name:
            spec["result_name"] = result_name
        interactive = output["kind"] != "source"
        return WorkOrder(
            name=first_words(sql) or "sql",
            spec=spec,
            request=(
                within(
                    EXPORT_REQUEST if output.get("format") in ("arrow", "xlsx") else INTERACTIVE_REQUEST,
                    context.largest,
                )
                if interactive
                else default_request(inputs, context.largest)
            ),
            timeout_s=0.0,  # the setting's default,
            result_name=result_name,
            queue=INTERACTIVE_QUEUE if interactive else DEFAULT_QUEUE,
        )


def default_request(inputs: Sequence[Input], largest: Resources) -> Resources:
    """What a query asks for when its submitter does not say, from the size of its input files.

    CPUs: 1; 2 from 256 MiB of input on, where a second thread begins to pay; half a one without input, since such a
    query is over before it has used its core for half the time that it is allocated: the rest is setting up, waiting for
    the disk and being published (docs/decisions/small-attempts.md). It is a weight, not a cap: one that computes for long
    has a whole core where one is free. Memory: 256 MiB without input;
    else the guessed working set (1.5 times the bytes of CSV and JSON, 6 times when compressed, 3 times those
    of Parquet, whose pages are encoded and compressed), rounded up to a power of two, at least 512 MiB and
    at most 4 GiB or half the largest worker: what is larger spills, and a query should not hold a whole
    machine for a guess. Disk for spilling and the result: 4 times the input, at least 1 GiB, at most a
    quarter of the largest worker's. None is more than the largest worker has.
    """
    read_bytes = sum(file.size_bytes for source in inputs for file in source.files)
    working_set = sum(source.working_set_bytes for source in inputs)
    memory = 256 * MIB
    if inputs:
        memory = _clamp(
            _next_power_of_two(working_set), 512 * MIB, min(4 * GIB, largest.memory_bytes // 2 or 4 * GIB)
        )
    return within(
        Resources(
            cpu_milli=_cpu_milli(read_bytes) if inputs else 500,
            memory_bytes=memory,
            disk_bytes=_clamp(4 * read_bytes, GIB, largest.disk_bytes // 4 or 4 * read_bytes + GIB),
        ),
        largest,
    )


def _cpu_milli(read_bytes: int) -> int:
    return 2000 if read_bytes >= _LARGE_INPUT_BYTES else 1000


def _checked_sql(sql: object) -> str:
    if not isinstance(sql, str) or not sql.strip():
        raise InvalidInput(
            "`sql` must be the text of one SELECT statement; it is empty or missing.", code="sql_missing"
        )
    if "\0" in sql:
        raise InvalidInput("`sql` must not hold a NUL character.", code="sql_nul")
    try:
        size = len(sql.encode())
    except UnicodeEncodeError:
        raise InvalidInput(
            "`sql` holds half of a surrogate pair, which is no text.", code="sql_not_text"
        ) from None
    if size > MAX_SQL_BYTES:
        raise InvalidInput(
            f"`sql` has {size} bytes, at most {MAX_SQL_BYTES} are taken. Put long lists of values into a source.",
            code="sql_too_long",
            numbers={"asked": size, "limit": MAX_SQL_BYTES},
        )
    return sql


def _checked_result_name(name: object, output: Mapping[str, Any]) -> str | None:
    """None: no source is made. The empty string: `async_result_{job_id}`."""
    if output["kind"] != "source":
        if name:
            raise InvalidInput("`result_name` goes with a result that becomes a source; leave it out here.")
        return None
    return "" if name is None or name == "" else check_source_name(name, field="result_name")


def _checked_output(output: object) -> dict[str, Any]:
    if output is None:
        return {"kind": "source"}
    if not isinstance(output, Mapping):
        raise InvalidInput(f"`output` must be an object with a `kind`, not {type(output).__name__}.")
    kind = output.get("kind", "source")
    allowed = _OUTPUT_FIELDS.get(str(kind))
    if allowed is None:
        raise InvalidInput("`output.kind` must be one of source, inline, file.")
    unknown = sorted(set(map(str, output)) - allowed - {"kind"})
    if unknown:
        raise InvalidInput(f"`output` of kind {kind} has no field {unknown[0]!r}.")
    if kind == "inline":
        return {
            "kind": kind,
            "max_rows": _whole(output.get("max_rows", 10_000), "output.max_rows", MAX_INLINE_ROWS),
            "max_bytes": _whole(output.get("max_bytes", 16 * MIB), "output.max_bytes", MAX_INLINE_BYTES),
        }
    if kind == "file":
        if output.get("format", "parquet") not in FILE_FORMATS:
            raise InvalidInput(f"`output.format` must be one of {', '.join(FILE_FORMATS)}.")
        return {"kind": kind, "format": output.get("format", "parquet")}
    return {"kind": kind}


def _whole(value: object, name: str, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise InvalidInput(f"`{name}` must be a whole number from 1 to {most}.", numbers={"limit": most})
    return value


def _inputs(sql: str, context: IntakeContext) -> list[Input]:
    return [
        Input(source, tuple(_files_of(source, context)))
        for names in _slices([name for name in table_names(sql) if _may_be_a_source(name)])
        for source in context.sources_named(names)
    ]


def _files_of(source: Source, context: IntakeContext) -> list[DataFile]:
    what = f"The path of source {source.name}"
    return [
        file
        for path in source.paths
        for file in expand(
            managed_file(path, context.data_dir) if source.managed else path,
            context,
            what=what,
            kind=source.format,
            roots=source.roots,
        )
    ]


def _may_be_a_source(name: str) -> bool:
    """Saves most queries a look-up: a word that SQL reserves names no source."""
    return name.lower() not in RESERVED_WORDS and _SOURCE_NAME.fullmatch(name) is not None


def _slices(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """Small enough for one statement of any database, each name once whatever its case."""
    distinct = list({name.lower(): name for name in names}.values())
    return (distinct[at : at + _NAMES_AT_ONCE] for at in range(0, len(distinct), _NAMES_AT_ONCE))


def within(request: Resources, largest: Resources) -> Resources:
    """`request`, lowered to what the largest worker has; as it is where there is no worker yet."""
    if largest == Resources():
        return request
    return Resources(
        min(request.cpu_milli, largest.cpu_milli),
        min(request.memory_bytes, largest.memory_bytes),
        min(request.disk_bytes, largest.disk_bytes),
    )


def _next_power_of_two(amount: int) -> int:
    return 1 << max(amount - 1, 0).bit_length()


def _clamp(amount: int, least: int, most: int) -> int:
    """Between the two; `most` wins when they cross."""
    return min(max(amount, least), most)
