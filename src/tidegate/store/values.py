"""Between Python's values and the columns: instants, JSON, shapes, usage."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, cast

from tidegate.core.attempt import Exit, Usage
from tidegate.core.job import Priority, Shape
from tidegate.core.resources import Resources
from tidegate.core.states import ExitReason
from tidegate.ports import TAKES_BATCHES

PRIORITIES = {priority.value: priority for priority in Priority}  # calling the enum costs 1 µs for each row
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_encode = json.JSONEncoder(separators=(",", ":")).encode  # `json.dumps` would make a new encoder at each call


def to_micros(at: datetime) -> int:
    """Microseconds since 1970, exactly. Raises TypeError for a naive instant."""
    passed = at - _EPOCH
    return (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds


def to_micros_or_none(at: datetime | None) -> int | None:
    return None if at is None else to_micros(at)


def from_micros(value: int) -> datetime:
    return _EPOCH + timedelta(microseconds=value)


def from_micros_or_none(value: int | None) -> datetime | None:
    return None if value is None else from_micros(value)


def to_json(value: Mapping[str, Any] | Sequence[Any]) -> str:
    """Compact JSON. Raises TypeError or ValueError for what JSON cannot hold."""
    if value:
        return _encode(value)
    return "[]" if isinstance(value, list | tuple) else "{}"


def to_json_or_none(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else to_json(value)


def from_json(text: str) -> dict[str, Any]:
    return {} if text == "{}" else cast("dict[str, Any]", json.loads(text))


def from_json_or_none(text: str | None) -> dict[str, Any] | None:
    return None if text is None else from_json(text)


@lru_cache(maxsize=1024)
def labels_to_json(labels: frozenset[tuple[str, str]]) -> str:
    return to_json(sorted(labels))


@lru_cache(maxsize=1024)
def labels_from_json(text: str) -> frozenset[tuple[str, str]]:
    return frozenset((name, value) for name, value in json.loads(text))


@lru_cache(maxsize=4096)
def shape_of(cpu_milli: int, memory_bytes: int, disk_bytes: int, labels: str) -> Shape:
    """One object per shape, so that 100,000 waiting tasks of a shape share it."""
    return Shape(Resources(cpu_milli, memory_bytes, disk_bytes), labels_from_json(labels))


@lru_cache(maxsize=1024)
def takes_batches(versions: str) -> bool:
    """Whether a worker that tells these versions does."""
    return TAKES_BATCHES.items() <= from_json(versions).items()


_EXIT_FIELDS = tuple(field.name for field in fields(Exit))


def exit_to_json(exit: Exit | None) -> str | None:
    if exit is None:
        return None
    told = ((name, getattr(exit, name)) for name in _EXIT_FIELDS)
    return to_json({name: value for name, value in told if value is not None})


def exit_from_json(text: str | None) -> Exit | None:
    if text is None:
        return None
    told = from_json(text)
    return Exit(**{**told, "reason": ExitReason(told["reason"])})


USAGE_COLUMNS = (
    "peak_memory_bytes",
    "peak_memory_with_cache_bytes",
    "cpu_seconds",
    "wall_seconds",
    "read_bytes",
    "written_bytes",
    "enforced_by",
)
"""Of attempts and jobs, in the order of `Usage`."""


def usage_to_row(usage: Usage) -> tuple[int | float | str | None, ...]:
    """In the order of `USAGE_COLUMNS`."""
    return (
        usage.peak_memory_bytes,
        usage.peak_memory_with_cache_bytes,
        usage.cpu_seconds,
        usage.wall_seconds,
        usage.read_bytes,
        usage.written_bytes,
        usage.enforced_by,
    )
