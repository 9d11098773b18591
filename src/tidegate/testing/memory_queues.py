"""`QueueStore` in memory."""

from __future__ import annotations

from tidegate.core.identity import Action, Caller
from tidegate.errors import NotFound
from tidegate.ports import QueueRecord
from tidegate.store.queues import check_queue_settings
from tidegate.testing.memory_state import MemoryQueue, MemoryState, locked


class MemoryQueues(MemoryState):
    """`QueueStore` in memory."""

    @locked
    def queues(self) -> list[QueueRecord]:
        return [self.queue(name) for name in sorted(self._queues)]

    @locked
    def queue(self, name: str) -> QueueRecord:
        if name not in self._queues:
            raise NotFound(
                f"There is no queue {name!r}. Known queues: {', '.join(self._queues) or 'none yet'}."
            )
        view, waiting = self._queue_view(name), self._count(name)[0]
        return QueueRecord(name, view.weight, view.max_concurrent, view.paused, waiting, view.running)

    @locked
    def set_queue(
        self,
        name: str,
        *,
        paused: bool | None = None,
        max_concurrent: int | None = None,
        no_cap: bool = False,
        weight: int | None = None,
        by: Caller | None = None,
    ) -> QueueRecord:
        check_queue_settings(name, max_concurrent=max_concurrent, no_cap=no_cap, weight=weight)
        queue = self._queues.setdefault(name, MemoryQueue())
        queue.paused = queue.paused if paused is None else paused
        queue.weight = queue.weight if weight is None else weight
        if no_cap or max_concurrent is not None:
            queue.cap = max_concurrent
        changes = {"paused": paused, "max_concurrent": max_concurrent, "weight": weight}
        detail = {field: value for field, value in changes.items() if value is not None}
        self._note(by, Action.CHANGE_QUEUE, f"queue {name}", **detail, **({"no_cap": True} if no_cap else {}))
        return self.queue(name)
