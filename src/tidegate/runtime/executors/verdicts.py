"""What the end of a process says to the call that it had: a pure function of the end."""

from __future__ import annotations

from tidegate.core.job import Exit, ExitReason
from tidegate.core.resources import format_bytes
from tidegate.errors import ExecutorDied, ExecutorError, ExecutorMemoryLimit, ExecutorTimeLimit
from tidegate.runtime.sandbox import SandboxEnd


def died(end: SandboxEnd, name: str, memory_bytes: int, ran_s: float) -> ExecutorError:
    """The error of the call `name`, whose process came to this end after so long."""
    exit_ = end.exit
    after = f"after {ran_s:.3g} s"
    peak = end.usage.peak_memory_bytes
    if exit_ is None:
        return ExecutorDied(
            f"The process of {name} ended {after} without an answer.", numbers={"ran_s": ran_s}
        )
    if exit_.reason is ExitReason.MEMORY_LIMIT:
        return memory_limit(name, memory_bytes, exit_.observed or peak, end.enforced_by)
    used = (
        ""
        if not peak
        else f" It had used {format_bytes(peak)} of its {format_bytes(memory_bytes)} of memory."
    )
    return ExecutorDied(
        f"The process of {name} {_how(exit_)} {after}.{used} No other call is affected.",
        code=exit_.code or exit_.reason.value,
        numbers=_numbers(exit_, ran_s, memory_bytes, peak),
    )


def memory_limit(
    name: str, limit_bytes: int, observed_bytes: float | None, by: str, why: str = "needed more than"
) -> ExecutorMemoryLimit:
    """The error of a call that needed more memory than it was given."""
    numbers: dict[str, float | int | str] = {"limit_bytes": limit_bytes, "enforced_by": by}
    seen = ""
    if observed_bytes:
        numbers["observed_bytes"] = int(observed_bytes)
        seen = f"peak {format_bytes(int(observed_bytes))}, "
    return ExecutorMemoryLimit(
        f"{name} {why} its {format_bytes(limit_bytes)} of memory ({seen}enforced by {by}). Give it more with `memory`.",
        numbers=numbers,
    )


def time_limit(name: str, limit_s: float, ran_s: float) -> ExecutorTimeLimit:
    """The error of a call that was ended because of its time limit."""
    return ExecutorTimeLimit(
        f"{name} ran longer than its time limit of {limit_s:g} s, and was ended after {ran_s:.3g} s. Allow more with "
        "`timeout`, or make it smaller.",
        numbers={"limit_s": limit_s, "ran_s": round(ran_s, 3)},
    )


def _how(exit_: Exit) -> str:
    observed = exit_.observed
    match exit_.reason, exit_.code:
        case ExitReason.SIGNAL, "keeper_died":
            return "was ended with the process that watched over it"
        case ExitReason.SIGNAL, _:
            crashed = exit_.code in ("sigsegv", "sigbus", "sigill", "sigfpe", "sigabrt")
            what = "crashed by" if crashed else "was ended from outside by"
            return f"{what} {(exit_.code or '').upper()} (signal {observed})"
        case ExitReason.HOST_MEMORY, _:
            return "was ended by the kernel, since the machine ran out of memory,"
        case _, "exit_code":
            return f"left with exit code {observed}"
        case _, "no_result":
            return "left"
        case _:
            return f"ended: {exit_.message.rstrip('.')}"


def _numbers(exit_: Exit, ran_s: float, memory_bytes: int, peak: int | None) -> dict[str, float | int | str]:
    numbers: dict[str, float | int | str] = {"ran_s": round(ran_s, 3), "limit_bytes": memory_bytes}
    if exit_.observed is not None:
        key = {ExitReason.SIGNAL: "signal"}.get(exit_.reason, exit_.code or "observed")
        numbers[key] = exit_.observed
    if peak:
        numbers["observed_bytes"] = peak
    return numbers
