"""The catalogue of job events: every type that a job's stream can carry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["EVENTS", "EventType"]


class EventType(NamedTuple):
    """A type of job event: what it means, and its data fields, name to meaning."""

    meaning: str
    fields: Mapping[str, str]


_ENDED = {
    "attempt": "number of the attempt that ended",
    "reason": "its exit reason, if it did not succeed",
    "limit": "the limit it met, if it met one",
    "observed": "what was measured against that limit",
}

EVENTS: Mapping[str, EventType] = {
    "accepted": EventType("The job is stored. From here on it is not lost.", {}),
    "started": EventType(
        "An attempt of a task got its resources on a worker.",
        {"attempt": "number of the attempt", "worker": "id of the worker"},
    ),
    "expanded": EventType(
        "Tasks were added to the job, by a task of it that succeeded, or its last task since all others have ended.",
        {
            "added": "how many",
            "tasks": "how many the job has now",
            "known": "how many of those added have succeeded at once, if any, since their result was known",
        },
    ),
    "progress": EventType(
        "The job got further. Sent only to who is listening and not stored; its id is 0.",
        {"progress": "share done, 0 to 1"},
    ),
    "retrying": EventType("An attempt ended without success. The task will be tried again.", _ENDED),
    "lost": EventType(
        "The worker of an attempt is gone, was cut off, or is stopping. The task will be tried again.",
        {
            **_ENDED,
            "limit": "seconds of silence after which a worker is dead, or how often a task may be lost",
            "observed": "for how long it was silent, or how often the task was lost",
        },
    ),
    "cancel_requested": EventType(
        "The job shall end. From here on none of its tasks succeeds any more.",
        {
            "waiting": "tasks that ended at once because they waited",
            "running": "attempts that have to be stopped",
        },
    ),
    "succeeded": EventType("It ended well and its result is in place.", _ENDED),
    "failed": EventType("It ended without success and will not be tried again.", _ENDED),
    "cancelled": EventType("It ended because the job was cancelled.", _ENDED),
}
"""Every type of event that a job's stream can carry. The last three speak of a task, or of a whole job of several."""
