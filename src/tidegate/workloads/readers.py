"""How DuckDB is told to read the files of a source: reader calls and views.

The options of a source are fixed at registration (`inspect`), so that every query reads the same columns and
types.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tidegate.core.resources import MIB
from tidegate.errors import BrokenInvariant
from tidegate.workloads.errors import TaskError
from tidegate.workloads.files import compression_of
from tidegate.workloads.literals import literal, quote_name

_FUNCTIONS = {"csv": "read_csv", "parquet": "read_parquet", "json": "read_json"}


def reader_call(kind: str, paths: Sequence[str], options: Mapping[str, Any]) -> str:
    """A table function call such as `read_csv(['/a.csv'], delim = ',')`. Raises BrokenInvariant for an
    unknown format.
    """
    if kind not in _FUNCTIONS:
        raise BrokenInvariant(f"There is no reader for format {kind!r}.")
    arguments = [
        literal(list(paths)),
        *(f"{quote_name(name)} = {literal(value)}" for name, value in options.items()),
    ]
    return f"{_FUNCTIONS[kind]}({', '.join(arguments)})"


def view_statement(source: Mapping[str, Any]) -> str:
    """CREATE VIEW for one of the `inputs` of a job's spec."""
    call = reader_call(source["format"], source["paths"], source["options"])
    return f"CREATE VIEW {quote_name(source['name'])} AS {_columns_of(source)}FROM {call}"


def _columns_of(source: Mapping[str, Any]) -> str:
    """Of a source made by loads each column by name and as the type it is registered with: parts may differ in both."""
    if not source.get("cast"):
        return ""
    columns = ", ".join(
        f"CAST({quote_name(name)} AS {kind}) AS {quote_name(name)}" for name, kind in source["columns"]
    )
    return f"SELECT {columns} "


def check_headers(kind: str, paths: Sequence[str], options: Mapping[str, Any]) -> None:
    """Refuse CSV files whose header lines differ: DuckDB would read them by place, into the wrong columns.

    Looked at are files that are not compressed, or by gzip; those of a source read by name need not be alike.
    Raises TaskError.
    """
    if kind != "csv" or len(paths) < 2 or not options.get("header") or options.get("union_by_name"):
        return
    encoding = str(options.get("encoding", "utf-8"))
    headers = ((path, _header(path, int(options.get("skip", 0)), encoding)) for path in paths)
    alike = [(path, header) for path, header in headers if header]
    for path, header in alike[1:]:
        if header != alike[0][1]:
            raise TaskError(
                f"The files do not have the same columns: the header of {path.rsplit('/', 1)[-1]!r} differs from that of "
                f"{alike[0][0].rsplit('/', 1)[-1]!r}. Register them with the option `union_by_name`, or apart from "
                "each other.",
                code="unlike_columns",
            )


def _header(path: str, skip: int, encoding: str) -> str:
    """The header line without what may differ from file to file: quotes, blanks, case, the end of the
    line.
    """
    compression = compression_of(path)
    if compression not in (None, "gzip"):
        return ""
    try:
        with gzip.open(path) if compression else Path(path).open("rb") as file:
            lines = [file.readline(MIB) for _ in range(skip + 1)]
        text = lines[-1].decode(encoding, errors="replace")
    except (OSError, EOFError, LookupError):
        return ""  # DuckDB says better what is wrong with it
    return re.sub(r"""["'\s\ufeff]""", "", text).lower()


def path_names(sources: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """For each file, what users know it by: the source's name, and the file's own if the source has
    several.
    """
    return {
        path: source["name"] if len(source["paths"]) == 1 else f"{source['name']} ({path.rsplit('/', 1)[-1]})"
        for source in sources
        for path in source["paths"]
    }
