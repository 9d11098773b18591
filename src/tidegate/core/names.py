"""Names that mean something, and the rules for the names of sources."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tidegate.core.identity import LOCAL_OWNER
from tidegate.errors import InvalidInput

DEFAULT_QUEUE = "default"
"""The queue of jobs that name none."""
INTERACTIVE_QUEUE = "interactive"
"""The queue of the service's own small work; no user may submit to it."""
FUNCTION_MODULES_VARIABLE = "TIDEGATE_FUNCTION_MODULES"
"""In the environment of attempts: the modules whose functions may be called there, with commas between."""
OUTPUT_PREFIX = "output-"
"""Folders among the results that begin so are the output files of attempts."""
CONVERTED_ENDINGS = (".xlsx", ".xlsm", ".xls", ".xlsb", ".ods", ".arrow", ".feather", ".ipc")
"""Files that become Parquet when they are registered as sources, which may take a while."""
PARTS = "parts"
"""The folder among the results that holds the files of sources made by loads."""
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,62}")
MOST_LABELS = 20
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
RESULT_PREFIX = "async_result_"
"""Results that nobody named are registered as this and the job's id; nobody else may use such a name."""

# Words that DuckDB 2.0 does not take as a bare table name (a test tries all of `duckdb_keywords()`). A
# source called so could be queried only in double quotes.
_RESERVED = """
    all analyse analyze and anti any array as asc asof asymmetric at authorization binary both by case cast
    check collate collation column columns concurrently constraint create cross default deferrable desc
    describe distinct do else end except false fetch for foreign freeze from full generated glob group having
    ilike in initially inner intersect into is isnull join lambda lateral leading left like limit map natural
    not notnull null offset on only or order outer overlaps pivot pivot_longer pivot_wider placing positional
    primary qualify references returning right select semi show similar some struct summarize symmetric table
    tablesample then to trailing true try_cast tuple union unique unpack unpivot using variadic verbose when
    where window with
"""
RESERVED_WORDS = frozenset(_RESERVED.split())
_SYSTEM = frozenset({"information_schema", "pg_catalog", "main", "memory", "system", "temp"})


def check_source_name(name: object, *, field: str = "name", reserved_ok: bool = False) -> str:
    """The name, if a source may have it. Raises InvalidInput that says which rule it breaks.

    `reserved_ok` admits names that start with `async_result_`: for results that nobody named.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{field} must be 1 to 63 letters, digits and underscores and not start with a digit, not {_short(name)}."
        )
    lower = name.lower()
    if lower in RESERVED_WORDS or lower in _SYSTEM:
        raise InvalidInput(
            f"{field} must not be {name!r}: SQL reserves this word. Choose another, such as '{name}_data'."
        )
    if lower.startswith(("duckdb_", "pg_", "sqlite_", "pragma_")):
        raise InvalidInput(
            f"{field} must not start like {name!r}: DuckDB has tables of its own there. Choose another."
        )
    if lower.startswith(RESULT_PREFIX) and not reserved_ok:
        raise InvalidInput(
            f"{field} must not start with '{RESULT_PREFIX}': results that nobody named are called so."
        )
    return name


def check_labels(labels: object) -> frozenset[tuple[str, str]]:
    """The labels of a worker or of a request as pairs. Raises InvalidInput that says which rule they break."""
    if not isinstance(labels, Mapping) or len(labels) > MOST_LABELS:
        raise InvalidInput(
            f'labels must be an object of at most {MOST_LABELS} names and values, such as {{"disk": "ssd"}}.'
        )
    for name, value in labels.items():
        if not (isinstance(value, str) and _LABEL.fullmatch(str(name)) and _LABEL.fullmatch(value)):
            raise InvalidInput(
                f"Label {name!r}: names and values are 1 to 63 letters, digits, or _ . / -, not {value!r}."
            )
    return frozenset(labels.items())


def source_name_of(text: str) -> str:
    """A name for SQL from a file's or another text: `2026 trips.csv.gz` becomes `_2026_trips`.

    It may still be a reserved word.
    """
    stem = text.partition(".")[0]
    name = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in stem)[:62]
    return f"_{name}" if name[:1].isdigit() else name


def managed_file(path: str, data_dir: str) -> str:
    """Where a file lies that Tidegate made, in the data directory as it is called now.

    Such paths are kept relative to the data directory, as `results/<file>` or below `files/`, so that it may be moved. Paths
    of earlier versions are absolute; of them the last two parts count.
    """
    return "/".join((data_dir, *(path.split("/")[-2:] if path.startswith("/") else [path])))


def files_folder(owner: str) -> str:
    """Where an owner's uploads lie, below the data directory. Those of the local owner lie where they always did."""
    return "files" if owner == LOCAL_OWNER else f"files/.owners/{owner}"


def source_key(owner: str, name: str) -> str:
    """What is one owner's one source: `ann/cities`, in lower case; of the local owner the bare name.

    Databases from before there were owners hold the bare names of the local one. No name has a `/`.
    """
    folded = name.lower()
    return folded if owner == LOCAL_OWNER else f"{owner}/{folded}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
