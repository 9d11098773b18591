"""Why an attempt ended, from the facts: a pure function."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidegate.core.attempt import Exit
from tidegate.core.resources import format_bytes
from tidegate.core.states import ExitReason


@dataclass(frozen=True, slots=True)
class Ending:
    """What made the keeper end the attempt. `limit` and `observed` are bytes or seconds, by the reason."""

    reason: ExitReason
    message: str | None = None
    limit: int | float | None = None
    observed: int | float | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known when the tree of an attempt is gone."""

    enforced_by: str
    memory_limit_bytes: int
    disk_limit_bytes: int
    timeout_s: float
    wait_status: int | None
    """Of the attempt's first process; None when it never ran."""
    ending: Ending | None = None
    oom_kills: int = 0
    memory_limit_hit: bool = False
    host_oom_kills: int = 0
    """Kills by the out-of-memory killer anywhere on the machine while the attempt ran."""
    peak_memory_bytes: int | None = None
    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None


def judge(facts: Facts) -> Exit | None:
    """The exit of an attempt; None when it succeeded.

    In order: what the keeper ended it for; the kernel's memory kills, even when the first process ended well, since a
    part of the work died; what the runner itself reported; how the process ended.
    """
    if facts.ending is not None:
        return _ended(facts, facts.ending)
    if facts.oom_kills:
        return _own_memory(facts) if facts.memory_limit_hit else _host_memory(facts)
    if facts.error is not None:
        return _reported(facts, facts.error)
    status = facts.wait_status
    if status is None:
        return Exit(ExitReason.ERROR, "The sandbox could not be started.", code="sandbox")
    if status < 0 or status & 0x7F:
        return _signalled(facts, status & 0x7F)
    if status >> 8:
        return Exit(
            ExitReason.ERROR,
            f"The job ended with exit code {status >> 8}.",
            code="exit_code",
            observed=status >> 8,
        )
    if facts.result is None:
        return Exit(ExitReason.ERROR, "The job ended without a result.", code="no_result")
    return None


def memory_message(limit_bytes: int, observed_bytes: int, enforced_by: str) -> str:
    """The sentence for an attempt that went over its memory limit."""
    return (
        f"The job needed more than its {format_bytes(limit_bytes)} of memory (peak {format_bytes(observed_bytes)}, "
        f"enforced by {enforced_by}). Ask for more with `memory`."
    )


def _own_memory(facts: Facts) -> Exit:
    observed = max(facts.memory_limit_bytes, facts.peak_memory_bytes or 0)
    message = memory_message(facts.memory_limit_bytes, observed, facts.enforced_by)
    return Exit(
        ExitReason.MEMORY_LIMIT,
        message,
        facts.memory_limit_bytes,
        observed,
        facts.enforced_by,
        "memory_limit",
    )


def _host_memory(facts: Facts) -> Exit:
    peak = facts.peak_memory_bytes
    used = (
        ""
        if peak is None
        else f" while it used {format_bytes(peak)} of its {format_bytes(facts.memory_limit_bytes)}"
    )
    message = (
        f"The machine ran out of memory and the kernel ended the job{used}. The job kept its limit: lower what else "
        "runs here, or raise `headroom_memory`."
    )
    return Exit(ExitReason.HOST_MEMORY, message, facts.memory_limit_bytes, peak, "host", "host_memory")


def _ended(facts: Facts, ending: Ending) -> Exit:
    by = facts.enforced_by
    match ending.reason:
        case ExitReason.MEMORY_LIMIT:
            limit, observed = facts.memory_limit_bytes, int(ending.observed or facts.memory_limit_bytes)
            return Exit(
                ending.reason, memory_message(limit, observed, by), limit, observed, by, "memory_limit"
            )
        case ExitReason.TIME_LIMIT:
            message = (
                f"The job ran longer than its time limit of {facts.timeout_s:g} s. Allow more with `timeout_s`, or make "
                "it smaller."
            )
            return Exit(ending.reason, message, facts.timeout_s, ending.observed, "keeper", "time_limit")
        case ExitReason.DISK_LIMIT:
            return _disk(facts, ending.observed)
        case ExitReason.CANCELLED:
            return Exit(ending.reason, ending.message or "The job was cancelled.", code="cancelled")
        case ExitReason.EVICTED:
            message = (
                ending.message or "The service ended the job to protect the machine. It can be run again."
            )
            return Exit(ending.reason, message, ending.limit, ending.observed, "service", "evicted")
        case _:
            message = ending.message or "The service ended the job."
            return Exit(ending.reason, message, ending.limit, ending.observed, by, ending.code)


def _disk(facts: Facts, observed: int | float | None) -> Exit:
    limit = facts.disk_limit_bytes
    used = "" if observed is None else f" (used {format_bytes(int(observed))})"
    message = (
        f"The job needed more than its {format_bytes(limit)} of scratch disk{used}. Ask for more with `disk`."
    )
    return Exit(ExitReason.DISK_LIMIT, message, limit, observed, "keeper", "disk_limit")


_REASONS = {reason.value: reason for reason in ExitReason}


def _reported(facts: Facts, error: Mapping[str, Any]) -> Exit:
    """What the runner said itself. A limit it kept is named with the attempt's own figures."""
    reason = _REASONS.get(str(error.get("reason")), ExitReason.ERROR)
    code = str(error.get("code") or "exception")
    message = str(error.get("message") or "The job failed without saying why.")
    numbers = error.get("numbers")
    numbers = numbers if isinstance(numbers, dict) else {}
    limit, observed = numbers.get("limit"), numbers.get("observed")
    match reason:
        case ExitReason.MEMORY_LIMIT:
            limit = limit or facts.memory_limit_bytes
            observed = observed or facts.peak_memory_bytes
            if error.get("type") == "MemoryError":
                peak = max(facts.peak_memory_bytes or 0, 0)
                message = memory_message(
                    facts.memory_limit_bytes, peak, "the runner, which was refused memory"
                )
        case ExitReason.DISK_LIMIT:
            limit = limit or facts.disk_limit_bytes
            if code == "disk_limit" and error.get("type") != "TaskError":
                message = _disk(facts, None).message
        case ExitReason.TIME_LIMIT:
            limit = limit or facts.timeout_s
        case _:
            return Exit(reason, message, limit, observed, code=code)
    return Exit(reason, message, limit, observed, "runner", code)


def _signalled(facts: Facts, number: int) -> Exit:
    if number == signal.SIGKILL and facts.host_oom_kills:
        return _host_memory(facts)
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal_{number}"
    crash = number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT)
    what = "crashed" if crash else "was ended from outside"
    return Exit(ExitReason.SIGNAL, f"The job's process {what} by {name}.", observed=number, code=name.lower())
