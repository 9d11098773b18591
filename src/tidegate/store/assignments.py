"""What a worker needs to run an attempt, read with its claim."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidegate.core.job import Assignment, AttemptKey
from tidegate.core.resources import Resources
from tidegate.store.engine import Row
from tidegate.store.schema import jobs, tasks
from tidegate.store.values import PRIORITIES, from_json

COLUMNS = (
    jobs.c.kind, jobs.c.owner, jobs.c.queue, tasks.c.name, jobs.c.spec, tasks.c.spec, jobs.c.timeout_s,
    jobs.c.max_attempts, tasks.c.losses, tasks.c.put_back, jobs.c.result_name, jobs.c.priority,
)  # fmt: skip
"""What `assignment` reads, in its order."""


def assignment(key: AttemptKey, resources: Resources, row: Row) -> Assignment:
    """The assignment of an attempt from a row of `COLUMNS`."""
    kind, owner, queue, name, spec, own, timeout_s, max_attempts, losses, put_back, result_name, priority = (
        row
    )
    laid: Mapping[str, Any] = from_json(spec) if own == "{}" else {**from_json(spec), **from_json(own)}
    return Assignment(
        key, kind, owner, queue, name, laid, resources, timeout_s, max_attempts, losses, result_name, PRIORITIES[priority],
        put_back,
    )  # fmt: skip
