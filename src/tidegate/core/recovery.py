"""When a part that has crashed is begun again, when nothing more is started, and how starting comes back.

Safe mode is for a service that keeps dying, or whose books do not add up: it reads, cancels and drains, and starts
nothing. It ends by an operator's word, or by itself after five minutes of health, and then starts come back in steps. No
clock and no chance: both are arguments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from tidegate.core.plan import Plan, Reason, ReasonCode, Start, WorkerView
from tidegate.core.resources import Resources

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 300.0
HEALTHY_AFTER_S = 600.0
"""A part that has lived for so long since its last crash begins to count anew."""
MOST_CRASHES = 5
"""So many crashes of one process within `WINDOW_S` are borne; one more leads to safe mode."""
WINDOW_S = 600.0
HEALTH_S = 300.0
"""Safe mode that nobody has ordered ends after so long without a crash or a fault."""
RAMP = (0.10, 0.25, 0.50)
"""The share of each worker that may be filled, one step after the other; then all of it."""
STEP_S = 60.0


class Crash(NamedTuple):
    """A part of a process ended, or stood still, that should not have. `place` names the process, `part` what of it."""

    place: str
    part: str
    at: datetime
    what: str
    """For people: the error, or what was seen."""

    @property
    def of_worker(self) -> bool:
        """Whether it is that of a worker process, which has a safe mode of its own."""
        return self.place.startswith(_WORKER)


_WORKER = "worker "


def worker_place(worker_id: str) -> str:
    """What a worker process is called among those that crash."""
    return f"{_WORKER}{worker_id}"


class Mode(StrEnum):
    """`normal`; `safe`: nothing is started or taken in; `ramp`: safe mode is over and starts come back in steps."""

    NORMAL = "normal"
    SAFE = "safe"
    RAMP = "ramp"


class Cause(StrEnum):
    """What led to safe mode."""

    CRASHES = "crashes"
    LEDGER = "ledger"
    MIGRATION = "migration"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class SafeMode:
    """In which mode the service is since when, and why. `version` grows with each change, so that no two are made of one."""

    mode: Mode = Mode.NORMAL
    since: datetime | None = None
    cause: Cause | None = None
    message: str = ""
    numbers: Mapping[str, int | float | str] = field(default_factory=dict)
    by: str | None = None
    """The operator who ordered it, or its end."""
    trouble_at: datetime | None = None
    """The last crash or fault; health is counted from here."""
    forgiven_at: datetime | None = None
    """Crashes up to then are not counted again."""
    version: int = 0

    @property
    def takes_jobs(self) -> bool:
        """Whether submissions are taken."""
        return self.mode is not Mode.SAFE

    def share(self, now: datetime) -> float:
        """How much of each worker may be filled: 0 in safe mode, 1 when all is well."""
        if self.mode is Mode.NORMAL:
            return 1.0
        if self.mode is Mode.SAFE or self.since is None:
            return 0.0
        step = int((now - self.since).total_seconds() // STEP_S)
        return RAMP[max(step, 0)] if step < len(RAMP) else 1.0

    def leaves_at(self) -> datetime | None:
        """When it ends by itself if nothing more happens; None when an operator has to end it, or there is nothing to end."""
        if self.since is None or self.mode is Mode.NORMAL:
            return None
        if self.mode is Mode.RAMP:
            return self.since + timedelta(seconds=len(RAMP) * STEP_S)
        if self.cause is Cause.OPERATOR:
            return None
        return max(self.since, self.trouble_at or self.since) + timedelta(seconds=HEALTH_S)

    def next_step_at(self, now: datetime) -> datetime | None:
        """When the next larger share is allowed, while starts come back."""
        if self.mode is not Mode.RAMP or self.since is None:
            return None
        steps = int((now - self.since).total_seconds() // STEP_S) + 1
        return self.since + timedelta(seconds=steps * STEP_S)


def restart_delay_s(earlier: Iterable[datetime], now: datetime, chance: float) -> float:
    """How long to wait before a part that has crashed now is begun again: `min(300, 2^n)` s with full jitter.

    `n` counts its earlier crashes, back to the first ten minutes without one. `chance` is even from 0 up to 1.
    """
    since, n = now, 0
    for at in sorted(earlier, reverse=True):
        if (since - at).total_seconds() >= HEALTHY_AFTER_S:
            break
        since, n = at, n + 1
    return chance * min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(n, 30))


def judge(
    state: SafeMode, crashes: Sequence[Crash], now: datetime, *, most_crashes: int = MOST_CRASHES
) -> SafeMode:
    """What the mode is now; `state` itself when nothing changes. `crashes` are those of the last ten minutes and more."""
    if state.mode is Mode.NORMAL:
        return _entered_by_crashes(state, crashes, now, most_crashes) or state
    assert state.since is not None
    newest = max((crash for crash in crashes if crash.at > state.since), key=lambda c: c.at, default=None)
    if state.mode is Mode.RAMP and newest is not None:
        message = f"{newest.part} of {newest.place} crashed while starts came back: {newest.what}"
        numbers: dict[str, int | float | str] = {
            "part": newest.part,
            "place": newest.place,
            "share": state.share(now),
        }
        return _enter(state, Cause.CRASHES, message, numbers, now)
    if newest is not None and newest.at > (state.trouble_at or state.since):
        state = replace(state, trouble_at=newest.at)
    leaves_at = state.leaves_at()
    if leaves_at is None or now < leaves_at:
        return state
    if state.mode is Mode.RAMP:
        return replace(state, mode=Mode.NORMAL, since=now, forgiven_at=now)
    return replace(state, mode=Mode.RAMP, since=now, forgiven_at=now)


def _entered_by_crashes(
    state: SafeMode, crashes: Sequence[Crash], now: datetime, most: int
) -> SafeMode | None:
    begin = now - timedelta(seconds=WINDOW_S)
    if state.forgiven_at is not None:
        begin = max(begin, state.forgiven_at)
    counted = [crash for crash in crashes if begin < crash.at <= now]
    for place, count in Counter(crash.place for crash in counted).most_common(1):
        if count > most:
            mine = [crash for crash in counted if crash.place == place]
            parts = Counter(crash.part for crash in mine)
            listed = ", ".join(f"{part} {times}" for part, times in parts.most_common())
            message = (
                f"{place} crashed {count} times in {WINDOW_S / 60:g} minutes ({listed}), at most {most} are borne. "
                f"Last: {mine[-1].what}"
            )
            numbers: dict[str, int | float | str] = {
                "crashes": count,
                "limit": most,
                "window_s": WINDOW_S,
                "place": place,
            }
            return _enter(state, Cause.CRASHES, message, numbers, now)
    return None


def faulted(
    state: SafeMode,
    cause: Cause,
    message: str,
    now: datetime,
    numbers: Mapping[str, int | float | str] | None = None,
) -> SafeMode:
    """Safe mode for a fault that was found now. In safe mode already, the five minutes of health begin again."""
    if state.mode is Mode.SAFE:
        return replace(state, trouble_at=now)
    return _enter(state, cause, message, numbers or {}, now)


def ordered(state: SafeMode, by: str, why: str, now: datetime) -> SafeMode:
    """Safe mode by an operator: it stays until an operator ends it."""
    message = f"{by} ordered it: {why}" if why else f"{by} ordered it."
    return replace(_enter(state, Cause.OPERATOR, message, {}, now), by=by)


def left(state: SafeMode, by: str, now: datetime) -> SafeMode:
    """Safe mode, or the steps after it, ended by an operator: everything is started again at once."""
    return replace(state, mode=Mode.NORMAL, since=now, by=by, forgiven_at=now)


def _enter(
    state: SafeMode, cause: Cause, message: str, numbers: Mapping[str, int | float | str], now: datetime
) -> SafeMode:
    return SafeMode(
        Mode.SAFE, now, cause, message, dict(numbers), None, now, state.forgiven_at, state.version
    )


def within(plan: Plan, workers: Iterable[WorkerView], share: float) -> Plan:
    """The plan with as many of its starts as fill each worker to this share.

    The start that reaches the share is the last one there, so that one task runs on each worker however large it is.
    """
    if share >= 1.0 or not plan.starts:
        return plan
    if share <= 0.0:
        return replace(plan, starts=(), more=False)
    allocated = {worker.id: worker.allocated for worker in workers}
    allocatable = {worker.id: worker.allocatable for worker in workers}
    kept: list[Start] = []
    for start in plan.starts:
        if _filled(allocated[start.worker_id], allocatable[start.worker_id]) < share:
            allocated[start.worker_id] += start.resources
            kept.append(start)
    return replace(plan, starts=tuple(kept), more=False)


def _filled(allocated: Resources, allocatable: Resources) -> float:
    return max(
        allocated.cpu_milli / max(allocatable.cpu_milli, 1),
        allocated.memory_bytes / max(allocatable.memory_bytes, 1),
    )


def explain(state: SafeMode, now: datetime) -> Reason | None:
    """Why a task that could start does not; None when nothing is held back."""
    if state.mode is Mode.NORMAL:
        return None
    at = state.leaves_at() if state.mode is Mode.SAFE else state.next_step_at(now)
    if state.mode is Mode.RAMP:
        sentence = (
            f"Safe mode is over and starts come back in steps: each worker is filled to {state.share(now):.0%} now, "
            f"to more from {at:%H:%M:%S} UTC on."
        )
    else:
        ends = (
            f"It ends at {at:%H:%M:%S} UTC if nothing more happens, or by `tidegate safe-mode leave`."
            if at is not None
            else "An operator ends it by `tidegate safe-mode leave`."
        )
        sentence = f"The service is in safe mode and starts nothing. {state.message.rstrip('.')}. {ends}"
    numbers: dict[str, int | float | str] = {
        **state.numbers,
        "mode": state.mode.value,
        "share": state.share(now),
    }
    return Reason(ReasonCode.SAFE_MODE, sentence, numbers)
