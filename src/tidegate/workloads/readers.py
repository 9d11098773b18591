"""How DuckDB is told to read the files of a source: reader calls and views.

The options of a source are fixed at registration (`inspect`), so that every query reads the same columns and
types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tidegate.errors import BrokenInvariant
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
    return f"CREATE VIEW {quote_name(source['name'])} AS FROM {call}"


def path_names(sources: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """For each file, what users know it by: the source's name, and the file's own if the source has
    several.
    """
    return {
        path: source["name"] if len(source["paths"]) == 1 else f"{source['name']} ({path.rsplit('/', 1)[-1]})"
        for source in sources
        for path in source["paths"]
    }
