"""Fakes that are products: a clock that stands still, a bell that remembers, a launcher without processes."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from tidegate.core.attempt import Assignment, AttemptEnd, Usage
from tidegate.core.job import AttemptKey
from tidegate.core.plan import Start
from tidegate.core.states import AttemptState, TaskState
from tidegate.ports import AttemptStore, Bell, Clock, LeaderStore

START = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    """A clock that moves only when told. Thread-safe."""

    def __init__(self, at: datetime = START) -> None:
        self._start = self._now = at
        self._lock = threading.Lock()

    def now(self) -> datetime:
        with self._lock:
            return self._now

    def monotonic(self) -> float:
        with self._lock:
            return (self._now - self._start).total_seconds()

    def advance(self, seconds: float) -> datetime:
        """Let time pass; the new instant. Raises ValueError for a negative step: `monotonic` only grows."""
        if seconds < 0:
            raise ValueError(f"A clock cannot advance by {seconds} s.")
        with self._lock:
            self._now += timedelta(seconds=seconds)
            return self._now


class SoleLeader:
    """The only server there is: leads from its first question on."""

    def __init__(self, store: LeaderStore, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._epoch: int | None = None

    @property
    def leads(self) -> bool:
        return True

    @property
    def epoch(self) -> int:
        if self._epoch is None:
            self._epoch = self._store.seize("sole", self._clock.now(), 1e6)
        return self._epoch

    def doubt(self) -> None:
        self._epoch = None


class RecordingBell:
    """Remembers every ring in `rings`, and calls the subscribers as a real bell does."""

    def __init__(self) -> None:
        self.rings: list[str] = []
        self._callbacks: dict[str, list[Callable[[], None]]] = {}
        self._changed = threading.Condition()

    def ring(self, topic: str) -> None:
        with self._changed:
            self.rings.append(topic)
            self._changed.notify_all()
            callbacks = list(self._callbacks.get(topic, ()))
        for callback in callbacks:
            callback()

    def subscribe(self, topic: str, callback: Callable[[], None]) -> Callable[[], None]:
        with self._changed:
            self._callbacks.setdefault(topic, []).append(callback)

        def end() -> None:
            with self._changed:
                if callback in self._callbacks.get(topic, ()):
                    self._callbacks[topic].remove(callback)

        return end

    def wait_for(self, topic: str, *, times: int = 1, deadline_s: float = 10.0) -> bool:
        """Wait until the topic has rung so often; whether it has."""
        with self._changed:
            return self._changed.wait_for(lambda: self.rings.count(topic) >= times, deadline_s)


class FakeLauncher:
    """Collects what it is told to launch and cancel, in `started` and `cancelled`.

    With `finish=True` it also plays the worker: a thread claims the attempts and reports them as succeeded in batches,
    then rings `schedule` and `job:<id>`. `result` is what each leaves behind. Use it as a context manager, or `close()`.
    """

    def __init__(
        self,
        store: AttemptStore | None = None,
        clock: Clock | None = None,
        bell: Bell | None = None,
        *,
        finish: bool = False,
        result: Mapping[str, object] | None = None,
    ) -> None:
        self.started: list[Start] = []
        self.cancelled: list[AttemptKey] = []
        self.failure: Exception | None = None
        self._store, self._clock, self._bell = store, clock, bell
        self._result = dict(result or {})
        self._inbox: queue.SimpleQueue[Sequence[Start] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        if finish:
            if store is None or clock is None:
                raise ValueError("FakeLauncher(finish=True) needs a store and a clock to report with.")
            self._thread = threading.Thread(target=self._work, name="fake-launcher", daemon=True)
            self._thread.start()

    def launch(self, starts: Sequence[Start]) -> None:
        if self._thread is None:
            self.started.extend(starts)
        else:
            self._inbox.put(starts)

    def cancel(self, keys: Sequence[AttemptKey]) -> None:
        self.cancelled.extend(keys)

    def close(self) -> None:
        """Finish what was launched, then stop. Raises what went wrong on the thread, if anything did."""
        if self._thread is not None:
            self._inbox.put(None)
            self._thread.join()
        if self.failure is not None:
            raise self.failure

    def __enter__(self) -> FakeLauncher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self) -> None:
        try:
            while (batch := self._gather()) is not None:
                self._finish(batch)
        except Exception as failure:  # noqa: BLE001  it is raised again by close()
            self.failure = failure

    def _gather(self) -> list[Start] | None:
        """All that was launched meanwhile, waiting for something; None when it is time to stop."""
        batches = [self._inbox.get()]
        while not self._inbox.empty():
            batches.append(self._inbox.get())
        starts = list(itertools.chain.from_iterable(batch for batch in batches if batch is not None))
        if None in batches:
            self._inbox.put(None)
            return starts or None
        return starts

    def _finish(self, starts: Sequence[Start]) -> None:
        assert self._store is not None
        assert self._clock is not None
        by_holder: dict[tuple[str, int], list[AttemptKey]] = {}
        ends: list[AttemptEnd] = []
        for start in starts:
            if start.assignment is not None:
                ends.append(self._end(start.assignment, start.worker_id, start.generation))
            else:
                by_holder.setdefault((start.worker_id, start.generation), []).append(start.key)
        for (worker_id, generation), keys in by_holder.items():
            claimed = self._store.claim(worker_id, generation, keys, self._clock.now())
            ends += [self._end(assignment, worker_id, generation) for assignment in claimed]
        self._store.report(ends)
        self._ring(starts)

    def _end(self, assignment: Assignment, worker_id: str, generation: int) -> AttemptEnd:
        assert self._clock is not None
        return AttemptEnd(
            assignment.key, worker_id, generation, AttemptState.SUCCEEDED, self._clock.now(), TaskState.SUCCEEDED,
            usage=Usage(wall_seconds=0.0), result=self._result,
        )  # fmt: skip

    def _ring(self, starts: Sequence[Start]) -> None:
        if self._bell is None:
            return
        self._bell.ring("schedule")
        for job_id in {start.key.job_id for start in starts}:
            self._bell.ring(f"job:{job_id}")
