"""What an answer, or the end of a process, says to the call that it had: pure functions."""

from __future__ import annotations

from typing import Any

from tidegate.core.attempt import Exit
from tidegate.core.resources import format_bytes
from tidegate.core.states import ExitReason
from tidegate.errors import (
    ExecutorDied,
    ExecutorError,
    ExecutorMemoryLimit,
    ExecutorStopped,
    ExecutorTimeLimit,
)
from tidegate.runtime.executors.calls import Call, unpack
from tidegate.runtime.executors.wire import Frame, Kind
from tidegate.runtime.sandbox import SandboxEnd

_CRASHES = ("sigsegv", "sigbus", "sigill", "sigfpe", "sigabrt")


def answer(call: Call, frame: Frame, rung: str) -> tuple[Any, BaseException | None]:
    """The value that the process sent, or the error. `rung` names what holds the memory limit."""
    try:
        content = unpack(frame.parts)
    except Exception as error:  # noqa: BLE001  a class may raise anything when it is made again
        return None, ExecutorError(
            f"The answer of {call.name} cannot be read: {type(error).__name__}: {error}"
        )
    if frame.kind is Kind.RESULT:
        return content, None
    if frame.kind is Kind.UNSENDABLE:
        return None, content
    raised, trace = content
    if isinstance(raised, MemoryError):
        refused = _memory_limit(call, None, rung, "was refused more than")
        refused.__cause__, raised = raised, refused
    raised.add_note(f"In a process of the executors:\n{trace}")
    return None, raised


def died(end: SandboxEnd, call: Call) -> ExecutorError:
    """The error of a call whose process came to this end."""
    exit_, peak, ran_s = end.exit, end.usage.peak_memory_bytes, call.ran_s()
    after = f"after {ran_s:.3g} s"
    if exit_ is None:
        return ExecutorDied(
            f"The process of {call.name} ended {after} without an answer.", numbers={"ran_s": ran_s}
        )
    if exit_.reason is ExitReason.MEMORY_LIMIT:
        return _memory_limit(call, exit_.observed or peak, end.enforced_by)
    limit = format_bytes(call.memory_bytes)
    used = f" It had used {format_bytes(peak)} of its {limit} of memory." if peak else ""
    return ExecutorDied(
        f"The process of {call.name} {_how(exit_)} {after}.{used} No other call is affected.",
        code=exit_.code or exit_.reason.value,
        numbers=_numbers(exit_, ran_s, call.memory_bytes, peak),
    )


def never_begun(end: SandboxEnd, call: Call) -> ExecutorDied:
    """The error of a call for which again and again no process could be started."""
    why = end.exit.message if end.exit is not None else "No reason is known."
    return ExecutorDied(f"No process could be started for {call.name}: {why}", code="sandbox")


def time_limit(call: Call) -> ExecutorTimeLimit:
    """The error of a call that was ended because of its time limit."""
    limit_s, ran_s = call.timeout_s or 0.0, call.ran_s()
    return ExecutorTimeLimit(
        f"{call.name} ran longer than its time limit of {limit_s:g} s, and was ended after {ran_s:.3g} s. Allow more with "
        "`timeout`, or make it smaller.",
        numbers={"limit_s": limit_s, "ran_s": ran_s},
    )


def stopped(call: Call) -> ExecutorStopped:
    """The error of a call that was ended because the executors were closed."""
    ran_s = call.ran_s()
    return ExecutorStopped(
        f"The executors were closed, and {call.name} was ended after {ran_s:.3g} s, when the time of grace was over. Run it "
        "again if it may run twice.",
        numbers={"ran_s": ran_s},
    )


def _memory_limit(
    call: Call, observed_bytes: float | None, by: str, why: str = "needed more than"
) -> ExecutorMemoryLimit:
    numbers: dict[str, float | int | str] = {"limit_bytes": call.memory_bytes, "enforced_by": by}
    seen = ""
    if observed_bytes:
        numbers["observed_bytes"] = int(observed_bytes)
        seen = f"peak {format_bytes(int(observed_bytes))}, "
    return ExecutorMemoryLimit(
        f"{call.name} {why} its {format_bytes(call.memory_bytes)} of memory ({seen}enforced by {by}). Give it more with "
        "`memory`.",
        numbers=numbers,
    )


def _how(exit_: Exit) -> str:
    match exit_.reason, exit_.code:
        case ExitReason.SIGNAL, "keeper_died":
            return "was ended with the process that watched over it"
        case ExitReason.SIGNAL, _:
            what = "crashed by" if exit_.code in _CRASHES else "was ended from outside by"
            return f"{what} {(exit_.code or '').upper()} (signal {exit_.observed})"
        case ExitReason.HOST_MEMORY, _:
            return "was ended by the kernel, since the machine ran out of memory,"
        case _, "exit_code":
            return f"left with exit code {exit_.observed}"
        case _, "no_result":
            return "left"
        case _:
            return f"ended: {exit_.message.rstrip('.')}"


def _numbers(exit_: Exit, ran_s: float, memory_bytes: int, peak: int | None) -> dict[str, float | int | str]:
    numbers: dict[str, float | int | str] = {"ran_s": ran_s, "limit_bytes": memory_bytes}
    if exit_.observed is not None:
        name = "signal" if exit_.reason is ExitReason.SIGNAL else exit_.code or "observed"
        numbers[name] = exit_.observed
    if peak:
        numbers["observed_bytes"] = peak
    return numbers
