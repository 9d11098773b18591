"""How to wait without a busy loop and without giving up too early: state only, the faces do the sleeping."""

from __future__ import annotations

import json

import httpx2

from tidegate.client.shapes import Event
from tidegate.client.views import JobView
from tidegate.errors import ServerUnreachable

POLL_S = 20.0
"""How long one request waits for the end of a job."""
LEAST_GAP_S = 0.1
"""Least time between two requests when the server answers early."""
NO_MORE = 204
"""Status by which the server says that a job has ended and all its events were seen."""
MOST_BREAKS = 3
"""Broken connections in a row, without an event between them, after which a stream of events gives up."""


class Deadline:
    """Divides the time of a wait into requests that each wait a while. Instants are seconds of a monotonic clock."""

    def __init__(self, timeout_s: float | None, now: float) -> None:
        self._timeout_s = timeout_s
        self._end = None if timeout_s is None else now + timeout_s
        self._asked_at: float | None = None

    def pause_s(self, now: float) -> float:
        """What to sleep before the next request: nothing, unless the last one was answered at once."""
        return 0.0 if self._asked_at is None else max(self._asked_at + LEAST_GAP_S - now, 0.0)

    def wait_s(self, now: float, job: JobView) -> float:
        """How long the next request may wait. Raises TimeoutError once the time is over and the job was asked for."""
        asked_before, self._asked_at = self._asked_at is not None, now
        if self._end is None:
            return POLL_S
        if now >= self._end and asked_before:
            raise TimeoutError(f"Job {job.id} has not ended within {self._timeout_s:g} s: {job.explanation}")
        return max(min(self._end - now, POLL_S), 0.0)


class _Cursor:
    """How often connections have broken, and whether a stream has ended for good."""

    def __init__(self) -> None:
        self._breaks = 0
        self._job_was_final = False

    def broken(self, error: ServerUnreachable) -> float:
        """Seconds to wait before connecting again. Raises the error when it has happened too often in a row."""
        self._breaks += 1
        if self._breaks >= MOST_BREAKS:
            raise error
        return 0.2 * self._breaks

    def ended(self, job: JobView) -> bool:
        """Whether everything has been seen: the stream ended, and the job had ended before it was opened."""
        was_final, self._job_was_final = self._job_was_final, job.finished
        return was_final


class LogCursor(_Cursor):
    """Follows the places of an output over broken connections, so that nothing is lost and nothing comes twice."""

    def __init__(self) -> None:
        super().__init__()
        self.last_id = ""

    def take(self, sent: httpx2.ServerSentEvent) -> str:
        """The text of a message; empty for one that carries nothing."""
        if not sent.data:
            return ""
        self.last_id, self._breaks = sent.id or self.last_id, 0
        return str(json.loads(sent.data)["text"])


class EventCursor(_Cursor):
    """Follows the numbers of events over broken connections, so that none is lost and none comes twice."""

    def __init__(self, after: int = 0) -> None:
        super().__init__()
        self.after = after

    def take(self, sent: httpx2.ServerSentEvent) -> Event | None:
        """The event of a message; None for one that was seen before or carries nothing."""
        if not sent.data:
            return None
        event = Event.from_document(json.loads(sent.data), id=sent.id or "", type=sent.event)
        if event.id == 0:
            return event  # live progress, which is not kept and has no number
        if event.id <= self.after:
            return None
        self.after, self._breaks = event.id, 0
        return event
