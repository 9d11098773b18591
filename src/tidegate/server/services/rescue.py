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

    When this server itself stood still (a stopped process, a suspended machine), or the clock was set forward, leases ran
    out without anybody's fault: nobody is declared lost before every worker has had `lease_s` to beat again.
    """

    name = "rescue"

    def __init__(
        self,
        store: AttemptStore,
        bell: Bell,
        clock: Clock,
        *,
        interval_s: float,
        max_losses: int,
        lease_s: float = 0.0,
    ) -> None:
        self.interval_s = interval_s
        self._store = store
        self._bell = bell
        self._clock = clock
        self._max_losses = max_losses
        self._lease_s = lease_s
        self._last: tuple[float, datetime] | None = None
        self._patient_until_s = float("-inf")

    def run_once(self, now: datetime) -> None:
        if self._late(now):
            log.warning(
                "This server stood still, or the clock was set forward; nobody is declared lost for a while."
            )
            self._patient_until_s = self._clock.monotonic() + self._lease_s
            return
        if self._clock.monotonic() < self._patient_until_s:
            return
        lost = self._store.lost(now)
        if not lost:
            return
        recorded = self._store.report([self._end(attempt, now) for attempt in lost])
        log.warning("%s attempts of lost workers were ended.", len(recorded))
        self._bell.ring("schedule")
        for end in recorded:
            self._bell.ring(f"job:{end.key.job_id}")

    def _late(self, now: datetime) -> bool:
        """By either clock: leases are instants, and the monotonic clock stands still while the machine is suspended."""
        last, self._last = self._last, (self._clock.monotonic(), now)
        if last is None:
            return False
        passed_s = max(self._last[0] - last[0], (now - last[1]).total_seconds())
        return passed_s > 3 * self.interval_s

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
