"""Which of several servers schedules: the lease of the leader, kept by a thread, asked by whoever writes for all."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from tidegate.errors import NotLeader
from tidegate.ports import Bell, Clock, LeaderStore
from tidegate.server.services.duty import Duty
from tidegate.server.supervisor import Supervisor, kept

log = logging.getLogger("tidegate.leader")

TOPIC = "leader"
"""What the bell rings when this server has begun or ceased to lead."""
RENEWALS = 0.3
"""The lease is renewed after this share of it: every 3 s of 10 s, so that two renewals may fail."""
MARGIN = 0.2
"""This share of the lease, 2 s of 10 s, lies between the end of it by our own clock and by the database's. River keeps 1 s."""


class Leadership(Protocol):
    """What a duty of the leader asks."""

    @property
    def leads(self) -> bool: ...

    @property
    def epoch(self) -> int:
        """What every write for all is made under. Raises NotLeader while this server stands by."""
        ...

    def doubt(self) -> None:
        """The store refused a write as a former leader's: stop leading and look again."""
        ...


class Leader:
    """Takes the lease when it is free and renews it. Leads until shortly before it runs out by the monotonic clock.

    The store decides who leads, by its epoch; the deadline here only spares it what it would refuse. `sole` says that no
    other server can live (the lock of the data directory proves it), so that the lease of a dead predecessor is not waited
    for; `may_lead` false, that it always stands by. Its thread does nothing else: nobody's slow work may cost us the lease.
    Rings `leader` on each change.
    """

    def __init__(
        self,
        store: LeaderStore,
        bell: Bell,
        clock: Clock,
        holder: str,
        *,
        lease_s: float = 10.0,
        sole: bool = False,
        may_lead: bool = True,
        supervisor: Supervisor | None = None,
    ) -> None:
        self.may_lead = may_lead
        self._store = store
        self._bell = bell
        self._clock = clock
        self._holder = holder
        self._lease_s = lease_s
        self._sole = sole
        self._lock = threading.Lock()
        self._epoch: int | None = None
        self._deadline_s = 0.0
        self._told = threading.Event()
        """Set while the bell was last rung for leading."""
        self._awake = threading.Event()
        self._stopping = threading.Event()
        self._thread = kept("leader", self._run, supervisor)

    def start(self) -> None:
        """Try at once, then go on on a thread of its own. Raises Unavailable when the store does not answer."""
        asked_s = self._clock.monotonic()
        if self._sole and self.may_lead:
            self._led(self._store.seize(self._holder, self._clock.now(), self._lease_s), asked_s)
        else:
            self.look()
        self._thread.start()

    def stop(self) -> None:
        """Stop leading, and let another server do so at once. Call it when nothing of ours writes any more."""
        self._stopping.set()
        self._awake.set()
        self._thread.stop()
        with self._lock:
            epoch, self._epoch = self._epoch, None
        if epoch is not None:
            try:
                self._store.resign(self._holder, epoch, self._clock.now())
            except Exception as error:  # noqa: BLE001 - then it runs out
                log.warning("The lease could not be given back, it runs out by itself: %s", error)

    def wait(self, patience_s: float) -> bool:
        """Whether this server leads by then, which the lease of one that was killed may put off. Call it after `start`."""
        return self._told.wait(patience_s)

    @property
    def leads(self) -> bool:
        with self._lock:
            return self._epoch is not None and self._clock.monotonic() < self._deadline_s

    @property
    def epoch(self) -> int:
        with self._lock:
            if self._epoch is None:
                raise NotLeader("This server stands by; another one leads.")
            late_s = self._clock.monotonic() - self._deadline_s
            if late_s >= 0:
                raise NotLeader(
                    f"This server's lease could not be renewed in time: it ended {late_s:.1f} s ago.",
                    numbers={"late_s": round(late_s, 1)},
                )
            return self._epoch

    def doubt(self) -> None:
        with self._lock:
            self._epoch = None
        self._awake.set()

    def look(self) -> None:
        """Take or renew the lease once, if this server may. Raises Unavailable when the store does not answer."""
        if not self.may_lead:
            return
        asked_s = self._clock.monotonic()  # before the question: the answer may take long
        self._led(self._store.lead(self._holder, self._clock.now(), self._lease_s), asked_s)

    def _led(self, epoch: int | None, asked_s: float) -> None:
        with self._lock:
            self._epoch = epoch
            self._deadline_s = asked_s + self._lease_s * (1 - MARGIN)
        self._tell()

    def _tell(self) -> None:
        leads = self.leads
        if leads == self._told.is_set():
            return
        if leads:
            self._told.set()
            log.info("This server leads, under epoch %s.", self._epoch)
        else:
            self._told.clear()
            log.warning("This server stands by.")
        self._bell.ring(TOPIC)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._awake.wait(self._patience_s())
            self._awake.clear()
            if self._stopping.is_set():
                return
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - whatever the store raises: the deadline ends it
                log.warning("The leader's lease could not be asked for: %s", error)
                self._tell()

    def _patience_s(self) -> float:
        """A renewal later; earlier when the deadline comes first, so that the loss is told."""
        patience_s = self._lease_s * RENEWALS
        with self._lock:
            left_s = self._deadline_s - self._clock.monotonic()
        return min(patience_s, left_s) if left_s > 0 else patience_s


class Led:
    """A duty that only the leader does. Whatever its write was, a refused one ends our leading."""

    def __init__(self, duty: Duty, leader: Leadership) -> None:
        self.name, self.interval_s = duty.name, duty.interval_s
        self._duty = duty
        self._leader = leader

    def run_once(self, now: datetime) -> None:
        if not self._leader.leads:
            return
        try:
            self._duty.run_once(now)
        except NotLeader as error:
            log.warning("The duty %s was left to another server: %s", self.name, error.message)
            self._leader.doubt()


def led(duties: Sequence[Duty], leader: Leadership) -> list[Duty]:
    """All of them as duties of the leader."""
    return [Led(duty, leader) for duty in duties]


__all__ = ["TOPIC", "Leader", "Leadership", "Led", "led"]
