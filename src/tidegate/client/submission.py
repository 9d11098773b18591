"""The fields of a submission, as both faces take them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from tidegate.functions import Function


class CommonFields(TypedDict, total=False):
    """What any job may say. Amounts are bytes or text such as `2GiB`; what is left out the server decides."""

    name: str | None
    queue: str | None
    priority: str | None
    """`low`, `normal` or `high`."""
    cpus: float | None
    memory: int | str | None
    max_memory: int | str | None
    """What an attempt may ask for after one that ran out of memory; `memory` when that alone is given."""
    disk: int | str | None
    timeout_s: float | None
    max_attempts: int | None
    labels: Mapping[str, str] | None
    not_before: str | None


class SqlFields(CommonFields, total=False):
    """What an sql job may say beside its text."""

    result_name: str | None
    """The source to register the result as; `async_result_<job id>` when left out."""


class IngestFields(CommonFields, total=False):
    """What an ingest job may say beside its files; see docs/ingest.md."""

    mode: str | None
    """`append`, `replace` or `upsert`."""
    keys: Sequence[str] | None
    sheets: str | int | Sequence[str | int] | None
    """`all`, a sheet's name or place, or several; the first visible one with rows when left out."""
    header: str | int | None
    """`auto`, `none`, or the header's row."""
    types: Mapping[str, str] | None
    """By column: `text`, `integer`, `decimal`, `double`, `boolean`, `date`, `timestamp`, `time`."""
    again: bool | None
    """Load also what was loaded before."""
    add_columns: bool | None
    schema: str | None
    skip_rows: int | None
    null_texts: Sequence[str] | None
    max_bad_rows: int | None
    ragged: str | None
    encoding: str | None
    delimiter: str | None
    decimal: str | None


def ingest_body(
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    into: str | None,
    table: str | None,
    fields: Mapping[str, Any],
) -> dict[str, Any]:
    """The body of an ingest job; of its fields those that were given."""
    paths = [files] if isinstance(files, str | os.PathLike) else files
    given = {"into": into, "table": table, **fields}
    return {
        "kind": "ingest",
        "files": [os.fspath(path) for path in paths],
        **{name: value for name, value in given.items() if value is not None},
    }


def body_of(what: str | Function[..., Any], args: Sequence[Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a submission: of a kind with its fields, or of a function with its arguments."""
    if isinstance(what, Function):
        return what.submission(*args, **fields)
    if args:
        raise TypeError("Only a function takes arguments without a name; a kind's fields are given by name.")
    return with_kind(what, fields)


def new_key() -> str:
    """An idempotency key for one submission."""
    return uuid.uuid4().hex


def with_kind(kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a submission."""
    return {"kind": kind, **fields}
