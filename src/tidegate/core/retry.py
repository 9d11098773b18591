"""What becomes of a task when an attempt of it has ended: done, again now, again later, or failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

from tidegate.core.attempt import Exit
from tidegate.core.states import OF_THE_MACHINE, ExitReason, TaskState

FIRST_DELAY_S = 5.0
LONGEST_DELAY_S = 600.0
JITTER = 0.1
QUARANTINED = "quarantined"
"""Code of the exit of such a task."""
MOST_OUT_OF_MEMORY = 3
"""Attempts of a task that may run out of memory while each asks for more than the one before. Ray has such a budget, too."""
LEAST_RAISE = 1.25
"""With less than this times as much, another attempt would most likely end as the last one did."""


class Decision(NamedTuple):
    """The task's next state; `not_before` is set exactly for `scheduled`, `memory_bytes` when it asks for more from now on."""

    state: TaskState
    not_before: datetime | None = None
    memory_bytes: int | None = None
    quarantined: bool = False
    """It fails because it has taken what watches over it with it as often as it may."""


class Memory(NamedTuple):
    """What an attempt had and needed, and what the next one may ask for: the job's own ceiling, and what the worker gives."""

    asked_bytes: int
    peak_bytes: int
    ceiling_bytes: int
    raises: int = 0
    """Earlier attempts that ran out of memory and were followed by one that asked for more."""

    def more_bytes(self) -> int | None:
        """What the next attempt asks for: twice as much, or half more than the peak; None when that is not to be had."""
        if self.raises + 1 >= MOST_OUT_OF_MEMORY:
            return None
        wanted = max(2 * self.asked_bytes, self.peak_bytes * 3 // 2)
        given = min(wanted, self.ceiling_bytes)
        return given if given >= LEAST_RAISE * self.asked_bytes else None


def decide(
    reason: ExitReason | None,
    attempt: int,
    losses: int,
    max_attempts: int,
    max_losses: int,
    now: datetime,
    jitter: float = 0.0,
    put_back: int = 0,
    memory: Memory | None = None,
    *,
    keeper_died: bool = False,
) -> Decision:
    """Judge the end of attempt number `attempt`; `reason` is None for a success.

    `losses` counts earlier attempts that ended by what the task did not cause (`AttemptEnd.counts_as_loss`); they use up
    `max_losses`, never `max_attempts`.
    `put_back` counts those that an orderly stop took away; they use up nothing.

    - `lease_expired`: again at once, `max_losses` times. The lease was delay enough.
    - `evicted`, `host_memory`: again after a delay that grows with the losses, from the same budget: a job that may be
      tried once must not fail because others filled the machine, nor be tried for ever.
    - `keeper_died`: our own process went with the attempt; like `evicted`.
    - `memory_limit`: again at once with more memory, as far as `memory` allows; at most `MOST_OUT_OF_MEMORY` attempts, none
      of which uses up the job's own. Then like all others.
    - all others (`error`, `signal` and the limits): again after a delay, while the job's own `max_attempts` allow it.

    A task that was lost, or whose keeper died, `max_losses` times and once more is quarantined: it may be what kills them.

    `jitter` from -1 to 1 spreads the delay by up to 10 %.
    """
    if reason is None:
        return Decision(TaskState.SUCCEEDED)
    if reason is ExitReason.CANCELLED:
        return Decision(TaskState.CANCELLED)
    if reason is ExitReason.LEASE_EXPIRED:
        spent = losses >= max_losses
        return Decision(TaskState.FAILED, quarantined=True) if spent else Decision(TaskState.QUEUED)
    if reason in OF_THE_MACHINE or keeper_died:
        used, most = losses + 1, max_losses + 1
    else:
        more_bytes = memory.more_bytes() if memory and reason is ExitReason.MEMORY_LIMIT else None
        if more_bytes is not None:
            return Decision(TaskState.QUEUED, memory_bytes=more_bytes)
        used, most = attempt - put_back - losses - (memory.raises if memory else 0), max_attempts
    if used >= most:
        return Decision(TaskState.FAILED, quarantined=keeper_died)
    return Decision(TaskState.SCHEDULED, now + timedelta(seconds=delay_s(used, jitter)))


class Losses(NamedTuple):
    """How often tasks may be lost by what they did not cause and be started again: usually, and by kind where that differs."""

    usual: int
    by_kind: Mapping[str, int] = MappingProxyType({})

    def of(self, kind: str) -> int:
        return self.by_kind.get(kind, self.usual)


def delay_s(tries: int, jitter: float = 0.0) -> float:
    """The delay after this many failed tries: 5 s, doubled each time, at most ten minutes, give or take the jitter."""
    exponent = min(max(tries - 1, 0), 30)
    return min(FIRST_DELAY_S * (1 << exponent), LONGEST_DELAY_S) * (1 + JITTER * jitter)


def quarantined(exit: Exit, losses: int) -> Exit:
    """The exit of a task that is quarantined after so many losses, from that of its last attempt."""
    message = (
        f"{exit.message.removesuffix(' It can be run again.')} This was loss {losses}, so the task is quarantined: it may be "
        "what ends the processes around it. See `tidegate quarantine show`; `tidegate quarantine release` runs it again."
    )
    return replace(exit, message=message, limit=losses, observed=losses, code=QUARANTINED)
