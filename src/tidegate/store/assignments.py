"""What a worker needs to run an attempt, read with its claim."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import and_, case, or_

from tidegate.core.attempt import Assignment
from tidegate.core.job import AttemptKey
from tidegate.core.resources import Resources
from tidegate.store.engine import Row
from tidegate.store.growth import own_timeout_s
from tidegate.store.schema import jobs, tasks
from tidegate.store.shared import number
from tidegate.store.values import PRIORITIES, from_json

_MAKES_RESULT = or_(
    and_(jobs.c.task_count == number(1), jobs.c.last.is_(None)), tasks.c.number == jobs.c.last_number
)
COLUMNS = (
    jobs.c.kind, jobs.c.owner, jobs.c.queue, tasks.c.name, jobs.c.spec, tasks.c.spec, own_timeout_s(),
    jobs.c.max_attempts, tasks.c.losses, tasks.c.put_back, case((_MAKES_RESULT, jobs.c.result_name)), jobs.c.priority,
    tasks.c.memory_raises, jobs.c.max_memory_bytes,
)  # fmt: skip
"""What `assignment` reads, in its order."""


def assignment(key: AttemptKey, resources: Resources, row: Row, head: AttemptKey | None) -> Assignment:
    """The assignment of an attempt from a row of `COLUMNS`."""
    (kind, owner, queue, name, spec, own, timeout_s, max_attempts, losses, put_back, result_name, priority,
     memory_raises, max_memory_bytes) = row  # fmt: skip
    laid: Mapping[str, Any] = from_json(spec) if own == "{}" else {**from_json(spec), **from_json(own)}
    return Assignment(
        key, kind, owner, queue, name, laid, resources, timeout_s, max_attempts, losses, result_name, PRIORITIES[priority],
        put_back, memory_raises, max_memory_bytes, head,
    )  # fmt: skip
