"""The spans of the scheduler: which pass has planned an attempt, and how long it took to hand it over."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from tidegate.core.plan import Start
from tidegate.errors import TidegateError
from tidegate.ports import JobStore
from tidegate.telemetry.tracing import Tracing, traceparent_of

log = logging.getLogger("tidegate.tracing")

MOST_WAITING = 10_000
"""Passes that wait to be told of; more are forgotten."""


class _Pass(NamedTuple):
    starts: Sequence[Start]
    began_at: datetime
    committed_at: datetime
    launched_at: datetime


class PlanSpans:
    """Tells `plan` and `launch` of each attempt whose job belongs to a trace, on a thread of its own: in a cluster the store
    alone knows to which trace a job belongs, and the scheduler does not wait for that."""

    def __init__(self, tracing: Tracing, store: JobStore) -> None:
        self._tracing = tracing
        self._store = store
        self._passes: queue.Queue[_Pass | None] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name="tidegate-spans", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._passes.put(None)
        self._thread.join()

    def started(
        self, starts: Sequence[Start], began_at: datetime, committed_at: datetime, launched_at: datetime
    ) -> None:
        """A pass has started these. Never blocks."""
        try:
            self._passes.put_nowait(_Pass(starts, began_at, committed_at, launched_at))
        except queue.Full:
            log.warning(
                "Spans of %d starts were forgotten: more than %d passes wait.", len(starts), MOST_WAITING
            )

    def _run(self) -> None:
        while (one := self._passes.get()) is not None:
            for start in one.starts:
                try:
                    self._tell(start, one)
                except TidegateError as error:  # the job is gone, or the store away
                    log.debug("The spans of %s were not told: %s", start.key, error)

    def _tell(self, start: Start, one: _Pass) -> None:
        spec = self._store.job(start.key.job_id).spec if start.assignment is None else start.assignment.spec
        parent = traceparent_of(spec)
        if parent is None:
            return
        about: dict[str, str | int | float] = {
            "tidegate.job_id": str(start.key.job_id),
            "tidegate.task_id": str(start.key.task),
            "tidegate.attempt": start.key.attempt,
            "tidegate.queue": start.queue,
            "tidegate.worker": start.worker_id,
        }
        self._tracing.begin("plan", parent, one.began_at).end(one.committed_at, about)
        self._tracing.begin("launch", parent, one.committed_at).end(one.launched_at, about)


__all__ = ["PlanSpans"]
