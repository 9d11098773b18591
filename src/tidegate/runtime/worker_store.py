"""What a worker says to the store, each time with the event that its answer is. Whatever the store raises is tried again."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Collection, Sequence

from tidegate.core.attempt import AttemptEnd
from tidegate.core.job import AttemptKey
from tidegate.core.plan import Start
from tidegate.core.states import TaskState
from tidegate.errors import Unavailable
from tidegate.ports import AttemptStore, Clock, WorkerInfo
from tidegate.runtime import worker_events as events
from tidegate.runtime.worker_ends import Results, plain

log = logging.getLogger("tidegate.worker")


class Desk:
    """Registers, beats, claims and reports for one worker, on its thread.

    `describe` gives what the worker offers now; `told` hears of the jobs whose attempts' ends were recorded.
    """

    def __init__(
        self,
        store: AttemptStore,
        clock: Clock,
        results: Results,
        describe: Callable[[], WorkerInfo],
        told: Callable[[set[int]], None],
        lease_s: float,
    ) -> None:
        self._store = store
        self._clock = clock
        self._results = results
        self._describe = describe
        self._told = told
        self._lease_s = lease_s
        self._jitter = random.Random()  # spreads beats only
        self.info = describe()
        """What was offered last."""

    def register(self) -> events.Registered:
        """Raises what the store raises."""
        asked_s = self._clock.monotonic()
        self.info = self._describe()
        generation = self._store.register(self.info, self._clock.now(), self._lease_s)
        return events.Registered(generation, asked_s)

    def register_again(self) -> events.Event:
        try:
            return self.register()
        except Exception as error:  # noqa: BLE001 - whatever the store raises, it is tried again
            log.warning("Worker %r could not register: %s", self.info.id, error)
            return events.RegisterFailed()

    def beat(self, generation: int, running: Collection[AttemptKey]) -> events.Event:
        asked_s = self._clock.monotonic()
        try:
            self.info = self._describe()
            now = self._clock.now()
            answer = self._store.beat(self.info, generation, now, self._lease_s, running)
        except Exception as error:  # noqa: BLE001 - whatever the store raises, it is tried again
            log.warning("A beat of worker %r failed: %s", self.info.id, error)
            return events.BeatFailed()
        if answer is None:
            log.warning(
                "Generation %s of worker %r is over; what it runs is ended.", generation, self.info.id
            )
        return events.Beaten(answer, asked_s, self._jitter.uniform(-1.0, 1.0))

    def claim(self, generation: int, starts: Sequence[Start]) -> events.Event:
        asked_s = self._clock.monotonic()
        keys = [start.key for start in starts if start.generation == generation]
        try:
            claimed = self._store.claim(self.info.id, generation, keys, self._clock.now())
        except Exception as error:  # noqa: BLE001 - whatever the store raises, it is tried again
            log.warning("%d starts could not be claimed: %s", len(keys), error)
            return events.ClaimFailed()
        return events.ClaimAnswered(starts, claimed, asked_s)

    def report(self, ends: Sequence[AttemptEnd], gone: Collection[AttemptKey]) -> events.Event:
        try:
            done = self._record_all(ends)
            if gone:
                self._store.release(list(gone), self._clock.now())
        except Exception as error:  # noqa: BLE001 - whatever the store raises, it is tried again
            log.warning("%d ends could not be reported: %s", len(ends), error)
            return events.ReportFailed()
        return events.Reported(done, gone)

    def leave(self, generation: int) -> None:
        try:
            self._store.unregister(self.info.id, generation, self._clock.now())
        except Unavailable as error:
            log.warning("The worker could not be unregistered: %s", error)  # the next server takes its place

    def _record_all(self, ends: Sequence[AttemptEnd]) -> Collection[AttemptKey]:
        """Of which attempts the end needs no more reports."""
        try:
            self._record(ends)
        except Unavailable:
            self._results.doubt({end.key for end in ends})
            raise
        except Exception:
            log.exception("%d ends could not be recorded together; trying them one by one.", len(ends))
            return {end.key for end in ends if self._record_alone(end)}
        return {end.key for end in ends}

    def _record(self, ends: Sequence[AttemptEnd]) -> None:
        recorded = self._store.report(ends) if ends else []
        named = {end.key for end in recorded if end.next_state is TaskState.SUCCEEDED}
        self._results.settle({end.key for end in ends}, named)
        self._told({end.key.job_id for end in recorded})

    def _record_alone(self, end: AttemptEnd) -> bool:
        """Whether the end is recorded, as a plain failure if the store cannot take it as it is. The others go on."""
        for attempt_end in (end, plain(end)):
            try:
                self._record([attempt_end])
            except Unavailable:
                self._results.doubt({end.key})
                return False
            except Exception:
                log.exception("The end of attempt %s could not be recorded.", end.key)
            else:
                return True
        return False
