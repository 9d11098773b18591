"""The fields of a submission, as both faces take them."""

from __future__ import annotations

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
    disk: int | str | None
    timeout_s: float | None
    max_attempts: int | None
    labels: Mapping[str, str] | None
    not_before: str | None


class SqlFields(CommonFields, total=False):
    """What an sql job may say beside its text."""

    result_name: str | None
    """The source to register the result as; `async_result_<job id>` when left out."""


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
