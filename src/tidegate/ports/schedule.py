"""What the scheduling cycle reads and writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tidegate.core.job import TaskKey, WaitingTask
from tidegate.core.plan import Plan, QueueView, Start, WorkerView


@dataclass(frozen=True, slots=True)
class Changes:
    """What has changed since a cursor, and the present workers and queues. `gone` no longer wait."""

    cursor: int
    waiting: Sequence[WaitingTask]
    gone: Sequence[TaskKey]
    workers: tuple[WorkerView, ...]
    queues: Mapping[str, QueueView]


class ScheduleStore(Protocol):
    """What the scheduling cycle reads and writes."""

    def changes(self, cursor: int) -> Changes:
        """Everything that started or stopped waiting after `cursor` (0: all that waits), in one consistent read."""
        ...

    def commit(self, plan: Plan, at: datetime, epoch: int, *, claim: bool = False) -> list[Start]:
        """Make the plan's starts true, and answer those that became true.

        In one transaction, for each start: the task goes queued → running under the next attempt number if it is still
        queued, not cancelled, and has made exactly `attempt - 1` attempts; the attempt and its allocation are inserted;
        the worker's allocated counters and the queue's running count grow, only if the worker still has that generation
        and room, and the queue's cap allows it. What does not match is left out. A `started` event each.

        With `claim` the attempts are running at once, claimed for their workers, and each start has its `assignment`:
        for a launcher in this process, which saves a transaction. Otherwise their workers claim them.

        Raises NotLeader, and stores nothing, when `epoch` is no longer that of the leading server.
        """
        ...

    def wake_scheduled(self, now: datetime, epoch: int) -> datetime | None:
        """Queue the tasks whose `not_before` has come; the next such instant, if any. Raises NotLeader like `commit`."""
        ...
