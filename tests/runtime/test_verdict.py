"""From facts to the reason an attempt ended."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest

from tidegate.core.resources import MIB
from tidegate.core.states import ExitReason
from tidegate.runtime.verdict import Ending, Facts, judge

OK = Facts(
    enforced_by="cgroup1",
    memory_limit_bytes=256 * MIB,
    disk_limit_bytes=1024 * MIB,
    timeout_s=60.0,
    wait_status=0,
    peak_memory_bytes=40 * MIB,
    result={},
)
KILLED = replace(OK, wait_status=int(signal.SIGKILL), result=None)


def test_a_result_and_a_clean_end_are_a_success() -> None:
    assert judge(OK) is None


@pytest.mark.parametrize(
    ("facts", "reason", "code", "limit", "observed", "enforced_by"),
    [
        (
            replace(KILLED, oom_kills=1, memory_limit_hit=True),
            ExitReason.MEMORY_LIMIT, "memory_limit", 256 * MIB, 256 * MIB, "cgroup1",
        ),
        (
            replace(OK, oom_kills=1, memory_limit_hit=True),
            ExitReason.MEMORY_LIMIT, "memory_limit", 256 * MIB, 256 * MIB, "cgroup1",
        ),
        (
            replace(KILLED, oom_kills=1, memory_limit_hit=False),
            ExitReason.HOST_MEMORY, "host_memory", 256 * MIB, 40 * MIB, "host",
        ),
        (replace(KILLED, host_oom_kills=1), ExitReason.HOST_MEMORY, "host_memory", 256 * MIB, 40 * MIB, "host"),
        (KILLED, ExitReason.SIGNAL, "sigkill", None, 9, None),
        (replace(OK, wait_status=int(signal.SIGSEGV) | 0x80), ExitReason.SIGNAL, "sigsegv", None, 11, None),
        (replace(OK, wait_status=40), ExitReason.SIGNAL, "signal_40", None, 40, None),
        (replace(OK, wait_status=3 << 8, result=None), ExitReason.ERROR, "exit_code", None, 3, None),
        (replace(OK, result=None), ExitReason.ERROR, "no_result", None, None, None),
        (replace(OK, wait_status=None, result=None), ExitReason.ERROR, "sandbox", None, None, None),
        (
            replace(OK, ending=Ending(ExitReason.TIME_LIMIT, observed=60.02)),
            ExitReason.TIME_LIMIT, "time_limit", 60.0, 60.02, "keeper",
        ),
        (
            replace(KILLED, ending=Ending(ExitReason.DISK_LIMIT, observed=2048 * MIB)),
            ExitReason.DISK_LIMIT, "disk_limit", 1024 * MIB, 2048 * MIB, "keeper",
        ),
        (
            replace(KILLED, enforced_by="watchdog", ending=Ending(ExitReason.MEMORY_LIMIT, observed=300 * MIB)),
            ExitReason.MEMORY_LIMIT, "memory_limit", 256 * MIB, 300 * MIB, "watchdog",
        ),
        (replace(KILLED, ending=Ending(ExitReason.CANCELLED)), ExitReason.CANCELLED, "cancelled", None, None, None),
        (replace(KILLED, ending=Ending(ExitReason.EVICTED)), ExitReason.EVICTED, "evicted", None, None, "service"),
        (
            replace(KILLED, ending=Ending(ExitReason.ERROR, "No group.", code="sandbox")),
            ExitReason.ERROR, "sandbox", None, None, "cgroup1",
        ),
        (
            replace(OK, result=None, wait_status=256, error={"code": "unknown_column", "message": "No x."}),
            ExitReason.ERROR, "unknown_column", None, None, None,
        ),
        (
            replace(OK, result=None, error={"reason": "memory_limit", "code": "memory_limit", "message": "Full."}),
            ExitReason.MEMORY_LIMIT, "memory_limit", 256 * MIB, 40 * MIB, "runner",
        ),
        (
            replace(OK, result=None, error={"reason": "disk_limit", "code": "spill", "message": "Full."}),
            ExitReason.DISK_LIMIT, "spill", 1024 * MIB, None, "runner",
        ),
        (
            replace(OK, result=None, error={"reason": "time_limit", "code": "time_limit", "message": "Late."}),
            ExitReason.TIME_LIMIT, "time_limit", 60.0, None, "runner",
        ),
        (
            replace(OK, result=None, error={"reason": "no such reason", "numbers": 7}),
            ExitReason.ERROR, "exception", None, None, None,
        ),
    ],
)  # fmt: skip
def test_the_reason_and_its_numbers(
    facts: Facts,
    reason: ExitReason,
    code: str,
    limit: float | None,
    observed: float | None,
    enforced_by: str | None,
) -> None:
    verdict = judge(facts)
    assert verdict is not None
    assert (verdict.reason, verdict.code) == (reason, code)
    assert (verdict.limit, verdict.observed, verdict.enforced_by) == (limit, observed, enforced_by)
    assert verdict.message.endswith(".")


def test_what_the_keeper_did_counts_before_what_followed_from_it() -> None:
    verdict = judge(
        replace(KILLED, ending=Ending(ExitReason.CANCELLED, "Enough."), error={"message": "Interrupted."})
    )
    assert verdict is not None
    assert (verdict.reason, verdict.message) == (ExitReason.CANCELLED, "Enough.")


def test_the_kernels_kill_counts_before_what_the_runner_made_of_it() -> None:
    verdict = judge(replace(OK, oom_kills=1, memory_limit_hit=True, error={"message": "My child died."}))
    assert verdict is not None
    assert verdict.reason is ExitReason.MEMORY_LIMIT


def test_the_memory_message_says_what_to_do() -> None:
    verdict = judge(replace(KILLED, oom_kills=1, memory_limit_hit=True))
    assert verdict is not None
    assert verdict.message == (
        "The job needed more than its 256 MiB of memory (peak 256 MiB, enforced by cgroup1). Ask for more with `memory`."
    )


def test_a_peak_above_the_limit_is_shown_as_it_was() -> None:
    verdict = judge(replace(KILLED, oom_kills=1, memory_limit_hit=True, peak_memory_bytes=257 * MIB))
    assert verdict is not None
    assert verdict.observed == 257 * MIB
