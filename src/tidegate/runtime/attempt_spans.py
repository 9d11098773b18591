"""The spans of attempts: made by the worker, so that a job that ends its process takes none of them along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from tidegate.core.attempt import Assignment, Exit, Usage
from tidegate.core.job import AttemptKey
from tidegate.telemetry.tracing import NO_TRACING, Span, Tracing, traceparent_of, with_traceparent


class AttemptSpans:
    """Owned by the worker's thread."""

    def __init__(self) -> None:
        self.tracing: Tracing = NO_TRACING
        self._open: dict[AttemptKey, tuple[Assignment, Span]] = {}

    def begin(self, batch: Sequence[Assignment], at: datetime) -> Sequence[Assignment]:
        """The attempts as they are to be run: what they do belongs below their spans. Those of no trace begin none."""
        return batch if not self.tracing.on else [self._begin(assignment, at) for assignment in batch]

    def end(self, key: AttemptKey, at: datetime, exit: Exit | None, usage: Usage | None = None) -> None:
        """An attempt has ended, or was never begun."""
        if key not in self._open:
            return
        assignment, span = self._open.pop(key)
        told: dict[str, str | int | float] = {
            "tidegate.job_id": str(key.job_id),
            "tidegate.task_id": str(key.task),
            "tidegate.attempt": key.attempt,
            "tidegate.kind": assignment.kind,
            "tidegate.queue": assignment.queue,
            "tidegate.reason": "succeeded" if exit is None else exit.reason.value,
        }
        if usage is not None and usage.peak_memory_bytes is not None:
            told["tidegate.peak_memory_bytes"] = usage.peak_memory_bytes
        if usage is not None and usage.cpu_seconds is not None:
            told["tidegate.cpu_seconds"] = usage.cpu_seconds
        span.end(at, told, None if exit is None else exit.message)

    def _begin(self, assignment: Assignment, at: datetime) -> Assignment:
        parent = traceparent_of(assignment.spec)
        if parent is None or assignment.key in self._open:  # it has begun, and waited for a zygote since
            return assignment
        span = self.tracing.begin("attempt", parent, at)
        self._open[assignment.key] = (assignment, span)
        return replace(assignment, spec=with_traceparent(assignment.spec, span.context))
