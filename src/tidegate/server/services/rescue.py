"""Watches over the workers: declares the silent dead, ends what they held exactly once, gives their tasks another try."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime

from tidegate.core.attempt import AttemptEnd, Exit
from tidegate.core.membership import Silent, Watch, doubt, look
from tidegate.core.retry import Decision, Losses, decide, quarantined
from tidegate.core.states import AttemptState, ExitReason
from tidegate.ports import Bell, Clock, LostAttempt, RescueStore
from tidegate.server.leader import Leadership

log = logging.getLogger("tidegate.rescue")


class Rescue:
    """A duty of the leader. `core.membership` judges; SQL decides, since a sign of life that came meanwhile wins.

    Whatever may be our own fault (we have just begun to lead, stood still, could not read the store, or so many are silent
    at once) gives every worker two leases more. `lease_s` is that of the settings, for those cases.
    """

    name = "rescue"

    def __init__(
        self,
        store: RescueStore,
        bell: Bell,
        clock: Clock,
        leader: Leadership,
        *,
        interval_s: float,
        max_losses: Losses,
        lease_s: float,
    ) -> None:
        self.interval_s = interval_s
        self._store = store
        self._bell = bell
        self._clock = clock
        self._leader = leader
        self._max_losses = max_losses
        self._lease_s = lease_s
        self._watch = Watch()
        self._epoch: int | None = None
        self._last_s: float | None = None
        self._troubled = False
        self._suspects: frozenset[str] = frozenset()

    def run_once(self, now: datetime) -> None:
        epoch = self._leader.epoch
        self._doubt_ourselves(epoch)
        self._troubled = True  # unless this look comes to its end
        self._look(epoch, now)
        self._troubled = False

    def _look(self, epoch: int, now: datetime) -> None:
        dead = self._declare_dead(epoch, now)
        lost = self._store.lost()
        if not lost:
            return
        recorded = self._store.end_lost([self._end(attempt, dead, now) for attempt in lost], epoch)
        log.warning("%s attempts of lost workers were ended.", len(recorded))
        self._bell.ring("schedule")
        for end in recorded:
            self._bell.ring(f"job:{end.key.job_id}")

    def _be_patient(self, why: str) -> None:
        """Nobody is declared dead for two leases."""
        log.warning("%s; no worker is declared dead for %g s.", why, 2 * self._lease_s)
        self._watch = doubt(self._watch, self._clock.monotonic(), self._lease_s)

    def _declare_dead(self, epoch: int, now: datetime) -> Mapping[str, Silent]:
        """End the generations of those who are dead; by worker."""
        beats = self._store.beats()
        self._watch, found = look(self._watch, beats, self._clock.monotonic())
        if found.mass_silence:
            silent = len(found.suspect)
            log.error(
                "%s of %s workers are silent: network or database may be at fault. None is declared dead for %g s.",
                silent, len(beats), self._watch.patient_until_s - self._clock.monotonic(),
            )  # fmt: skip
        self._tell_suspects(found.suspect)
        return {
            silent.beat.worker_id: silent
            for silent in found.dead
            if self._store.declare_dead(silent.beat, now, epoch) and _told(silent)
        }

    def _doubt_ourselves(self, epoch: int) -> None:
        now_s, last_s = self._clock.monotonic(), self._last_s
        began, self._epoch, self._last_s = epoch != self._epoch, epoch, now_s
        if began:
            self._watch = doubt(Watch(), now_s, self._lease_s)
        elif self._troubled:
            self._be_patient("The store did not answer")
        elif last_s is not None and now_s - last_s > 3 * self.interval_s:
            self._be_patient(f"This server stood still for {now_s - last_s:.0f} s")

    def _tell_suspects(self, suspects: tuple[Silent, ...]) -> None:
        for one in suspects:
            if one.beat.worker_id not in self._suspects:
                log.warning(
                    "Worker %r has said nothing for %.0f s; nothing is started there. It is dead after %g s.",
                    one.beat.worker_id, one.silent_s, one.dead_after_s,
                )  # fmt: skip
        self._suspects = frozenset(one.beat.worker_id for one in suspects)

    def _end(self, attempt: LostAttempt, dead: Mapping[str, Silent], now: datetime) -> AttemptEnd:
        follows = decide(
            ExitReason.LEASE_EXPIRED,
            attempt=attempt.key.attempt,
            losses=attempt.losses,
            put_back=attempt.put_back,
            max_attempts=attempt.max_attempts,
            max_losses=self._max_losses.of(attempt.kind),
            now=now,
            jitter=0.0,
        )
        return AttemptEnd(
            key=attempt.key,
            worker_id=attempt.worker_id,
            generation=attempt.generation,
            state=AttemptState.LOST,
            ended_at=now,
            next_state=follows.state,
            not_before=follows.not_before,
            exit=self._exit(attempt, dead.get(attempt.worker_id), follows),
            quarantined=follows.quarantined,
        )

    def _exit(self, attempt: LostAttempt, silent: Silent | None, follows: Decision) -> Exit:
        losses, most = attempt.losses + 1, self._max_losses.of(attempt.kind)
        message = (
            f"Worker {attempt.worker_id!r} was lost while it ran attempt {attempt.key.attempt} "
            f"(loss {losses} of at most {most}): {_why(attempt, silent)}."
        )
        if follows.quarantined:
            return quarantined(Exit(ExitReason.LEASE_EXPIRED, message), losses)
        if silent is not None:
            return Exit(
                ExitReason.LEASE_EXPIRED,
                message,
                limit=silent.dead_after_s,
                observed=round(silent.silent_s, 1),
            )
        return Exit(ExitReason.LEASE_EXPIRED, message, limit=most, observed=losses)


def _why(attempt: LostAttempt, silent: Silent | None) -> str:
    if silent is not None:
        return f"it said nothing for {silent.silent_s:.1f} s, and is dead after {silent.dead_after_s:g} s"
    if attempt.returned:
        return f"it has registered anew since, after generation {attempt.generation}"
    return "it left, or was declared dead"


def _told(silent: Silent) -> bool:
    log.error(
        "Worker %r is dead: it said nothing for %.1f s, %g s are allowed. What it ran is run again elsewhere.",
        silent.beat.worker_id, silent.silent_s, silent.dead_after_s,
    )  # fmt: skip
    return True
