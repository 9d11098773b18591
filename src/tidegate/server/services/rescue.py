"""Ends the attempts of lost workers exactly once and gives their tasks another try where that is allowed."""

from __future__ import annotations

import logging
from datetime import datetime

from tidegate.core.job import AttemptEnd, AttemptState, Exit, ExitReason
from tidegate.core.retry import decide
from tidegate.ports import AttemptStore, Bell, Clock, LostAttempt

log = logging.getLogger("tidegate.rescue")


class Rescue:
    """Finds attempts whose worker's lease ended, or who belong to an earlier registration of it.

    When this server itself stood still (a stopped process, a suspended machine), leases ran out without anybody's fault:
    such a turn is left out, so that the beats come first.
    """

    name = "rescue"

    def __init__(
        self, store: AttemptStore, bell: Bell, clock: Clock, *, interval_s: float, max_losses: int
    ) -> None:
        self.interval_s = interval_s
        self._store = store
        self._bell = bell
        self._clock = clock
        self._max_losses = max_losses
        self._last_s: float | None = None

    def run_once(self, now: datetime) -> None:
        late = self._last_s is not None and self._clock.monotonic() - self._last_s > 3 * self.interval_s
        self._last_s = self._clock.monotonic()
        if late:
            log.warning("This server stood still for a while; nobody is declared lost in this turn.")
            return
        lost = self._store.lost(now)
        if not lost:
            return
        recorded = self._store.report([self._end(attempt, now) for attempt in lost])
        log.warning("%s attempts of lost workers were ended.", len(recorded))
        self._bell.ring("schedule")
        for end in recorded:
            self._bell.ring(f"job:{end.key.job_id}")

    def _end(self, attempt: LostAttempt, now: datetime) -> AttemptEnd:
        next_state, not_before = decide(
            ExitReason.LEASE_EXPIRED,
            attempt=attempt.key.attempt,
            losses=attempt.losses,
            max_attempts=attempt.max_attempts,
            max_losses=self._max_losses,
            now=now,
            jitter=0.0,
        )
        message = (
            f"Worker {attempt.worker_id!r} was lost while it ran attempt {attempt.key.attempt} "
            f"(loss {attempt.losses + 1} of at most {self._max_losses})."
        )
        return AttemptEnd(
            key=attempt.key,
            worker_id=attempt.worker_id,
            generation=attempt.generation,
            state=AttemptState.LOST,
            ended_at=now,
            next_state=next_state,
            not_before=not_before,
            exit=Exit(ExitReason.LEASE_EXPIRED, message, limit=self._max_losses, observed=attempt.losses + 1),
        )
