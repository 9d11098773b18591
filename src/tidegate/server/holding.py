"""What the levels of workers, and the pressure here, keep from starting: from rules and time to what `plan` is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tidegate.core.holding import Hold
from tidegate.core.plan import QueueView, Start, WorkerView
from tidegate.core.pressure import Level
from tidegate.core.pressure_rules import PressureRules
from tidegate.core.readings import Readings
from tidegate.ports import Clock, Overload


@dataclass(slots=True)
class _Pace:
    """Starts that may be made at once; one more for each `1 / starts_per_s` that passes, up to a second's worth."""

    left: float
    at_s: float


class Holding:
    """Marks workers and queues by the rules. Used by the cycle alone, so by one thread at a time.

    `overload` is that of this server's machine: its level cuts the caps of queues. `felt` tells the readings of workers; it
    is asked only while one is under pressure.
    """

    def __init__(
        self,
        overload: Overload,
        rules: Callable[[], PressureRules],
        clock: Clock,
        felt: Callable[[], Mapping[str, Readings]],
        *,
        watch_only: bool = False,
    ) -> None:
        self._overload = overload
        self._rules = rules
        self._clock = clock
        self._felt = felt
        self._watch_only = watch_only
        self._paces: dict[str, _Pace] = {}

    def workers(self, workers: Sequence[WorkerView]) -> tuple[WorkerView, ...]:
        """The same with what is held back on those under pressure."""
        if self._watch_only or not any(worker.level for worker in workers):
            self._paces.clear()
            return tuple(workers)
        felt = self._felt()
        return tuple(
            replace(worker, hold=self._hold(worker, felt.get(worker.id, Readings())))
            if worker.level
            else worker
            for worker in workers
        )

    def queues(self, queues: Mapping[str, QueueView]) -> Mapping[str, QueueView]:
        """The same with their caps cut."""
        share = self._overload.allowed().concurrency_share
        if share >= 1.0:
            return queues
        return {name: replace(queue, share=share) for name, queue in queues.items()}

    def started(self, starts: Iterable[Start]) -> None:
        """Count what was begun against the pace."""
        for start in starts:
            if start.worker_id in self._paces:
                self._paces[start.worker_id].left -= 1.0

    def _hold(self, worker: WorkerView, readings: Readings) -> Hold:
        rules = self._rules()
        allowed = rules.levels[worker.level]
        left = None if allowed.starts_per_s is None else self._left(worker.id, allowed.starts_per_s)
        return Hold(worker.level, allowed.start, left, allowed.starts_per_s, _because(rules, readings))

    def _left(self, worker_id: str, per_s: float) -> int:
        now_s, most = self._clock.monotonic(), max(per_s, 1.0) if per_s else 0.0
        pace = self._paces.setdefault(worker_id, _Pace(most, now_s))
        pace.left = min(pace.left + (now_s - pace.at_s) * per_s, most)
        pace.at_s = now_s
        return max(int(pace.left + 1e-9), 0)


def _because(rules: PressureRules, readings: Readings) -> dict[str, float]:
    """The readings that keep a level, in the words of the rules."""
    return {
        threshold.reading: value
        for row in rules.machine_rows
        for level, triggers in row.triggers.items()
        if level is not Level.NORMAL
        for trigger in triggers
        if all(one.kept(readings) for one in trigger.thresholds)
        for threshold in trigger.thresholds
        if (value := getattr(readings, threshold.reading)) is not None
    }
