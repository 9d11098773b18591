"""Batches in real sandboxes: one process for many tasks, and what one of them does to the others."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.lab import Lab, is_progress
from tidegate.core.job import AttemptKey
from tidegate.core.states import ExitReason
from tidegate.runtime import reporter
from tidegate.runtime.sandbox import SandboxEnd, SandboxOrder, Turn


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(f"batch{secrets.token_hex(4)}", tmp_path_factory.mktemp("batches"))
    yield lab
    lab.close()


def batch_of(lab: Lab, *specs: dict[str, Any], **options: Any) -> SandboxOrder:
    """An order for these, each with `timeout_s` of its own if it has one."""
    first, *others = specs
    timeout_s = first.pop("timeout_s", 20.0)
    order = lab.order("as_told", **first, **options, timeout_s=timeout_s)
    turns = [
        Turn(
            AttemptKey(order.key.job_id, number, 1),
            {"does": "answer", **spec},
            float(spec.pop("timeout_s", 20.0)),
            f"{order.folder}.log.{number}",
        )
        for number, spec in enumerate(others, start=2)
    ]
    return SandboxOrder(
        order.key, order.runner, {"does": "answer", **first}, order.resources, timeout_s, order.folder,
        log_path=f"{order.folder}.log.1", others=turns,
    )  # fmt: skip


def run(lab: Lab, order: SandboxOrder) -> list[SandboxEnd]:
    """The ends in the order in which they came, the last of which is that of the sandbox."""
    lab.sandboxes.start(order)
    ends: list[SandboxEnd] = []
    until = time.monotonic() + 30
    while time.monotonic() < until:
        ends += [event for event in lab.sandboxes.poll(1.0) if isinstance(event, SandboxEnd)]
        if ends and ends[-1].over:
            assert ends[-1].tree_gone
            assert lab.strays() == []
            return ends
    raise AssertionError(f"it did not end: {ends}")


def keys(order: SandboxOrder) -> list[AttemptKey]:
    return [key for key, _ in order.turns]


def reasons(ends: list[SandboxEnd]) -> list[ExitReason | None]:
    return [end.exit.reason if end.exit else None for end in ends]


def test_one_process_runs_them_one_after_another_each_with_its_own_result(lab: Lab) -> None:
    order = batch_of(lab, {"does": "pid"}, {"does": "pid", "timeout_s": 3.0}, {"does": "pid"})
    ends = run(lab, order)
    assert [end.key for end in ends] == keys(order)
    assert [end.over for end in ends] == [False, False, True]
    results = [end.result or {} for end in ends]
    assert len({result["pid"] for result in results}) == 1
    assert [tuple(result["key"]) for result in results] == keys(order)
    assert [result["timeout_s"] for result in results] == [20.0, 3.0, 20.0]
    assert [Path(f"{order.folder}.log.{n}").read_text() for n in (1, 2, 3)] == [
        f"task {key}\n" for key in keys(order)
    ]


def test_what_each_used_adds_up_to_what_the_process_used(lab: Lab) -> None:
    ends = run(lab, batch_of(lab, {"does": "spin", "seconds": 0.2}, {}, {"does": "spin", "seconds": 0.1}))
    first, idle, last = (end.usage for end in ends)
    assert first.cpu_seconds is not None
    assert idle.cpu_seconds is not None
    assert last.cpu_seconds is not None
    assert first.cpu_seconds > 0.1 > idle.cpu_seconds
    assert last.cpu_seconds > idle.cpu_seconds
    assert [end.usage.peak_memory_bytes is not None for end in ends] == [True] * 3


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"does": "segfault"}, ExitReason.SIGNAL),
        ({"does": "exit_with", "status": 3}, ExitReason.ERROR),
        ({"does": "eat"}, ExitReason.MEMORY_LIMIT),
        ({"does": "sleep", "timeout_s": 0.3}, ExitReason.TIME_LIMIT),
        ({"does": "crash"}, ExitReason.ERROR),
        ({"does": "refuse_memory"}, ExitReason.MEMORY_LIMIT),
    ],
)
def test_what_ends_the_process_is_the_end_of_the_one_that_ran(
    lab: Lab, bad: dict[str, Any], reason: ExitReason
) -> None:
    order = batch_of(lab, {"answer": 1}, {"answer": 2}, dict(bad), {}, {})
    ends = run(lab, order)
    assert [end.key for end in ends] == keys(order)[:3]
    assert [end.result for end in ends] == [{"answer": 1}, {"answer": 2}, None]
    assert reasons(ends) == [None, None, reason]
    assert ends[-1].unbegun == keys(order)[3:]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ({"does": "fail"}, None),
        ({"does": "report_much"}, "result_too_large"),
        ({"does": "leave_file"}, "file_in_batch"),
    ],
)
def test_an_error_that_leaves_the_process_sound_is_of_that_one_alone(
    lab: Lab, bad: dict[str, Any], code: str | None
) -> None:
    ends = run(lab, batch_of(lab, {}, bad, {"answer": 3}))
    assert [end.succeeded for end in ends] == [True, False, True]
    assert ends[1].exit is not None
    assert ends[1].exit.code == code or code is None
    assert ends[2].result == {"answer": 3}


def test_a_time_limit_is_that_of_each_and_not_of_all(lab: Lab) -> None:
    naps = [{"does": "sleep", "seconds": 0.3, "timeout_s": 0.8} for _ in range(4)]
    assert reasons(run(lab, batch_of(lab, *naps))) == [None] * 4


def test_a_batch_begins_nothing_more_when_it_has_run_for_long(lab: Lab) -> None:
    nap = reporter.BATCH_S * 0.6
    order = batch_of(lab, *({"does": "sleep", "seconds": nap} for _ in range(4)))
    ends = run(lab, order)
    assert reasons(ends) == [None, None]
    assert ends[-1].unbegun == keys(order)[2:]


def test_a_cancel_ends_all_of_it(lab: Lab) -> None:
    order = batch_of(lab, {}, {"does": "sleep"}, {})
    lab.sandboxes.start(order)
    ends: list[SandboxEnd] = []
    until = time.monotonic() + 30
    while not (ends and ends[-1].over) and time.monotonic() < until:
        for event in lab.sandboxes.poll(1.0):
            if is_progress(event):
                lab.sandboxes.cancel(order.key)
            if isinstance(event, SandboxEnd):
                ends.append(event)
    assert reasons(ends) == [None, ExitReason.CANCELLED]
    assert ends[-1].unbegun == keys(order)[2:]
    assert lab.sandboxes.running == frozenset()


def test_who_loses_its_keeper_is_the_one_that_ran(lab: Lab) -> None:
    order = batch_of(lab, {}, {"does": "sleep"}, {})
    before = set(lab.keeper_pids())
    lab.sandboxes.start(order)
    ends: list[SandboxEnd] = []
    until = time.monotonic() + 30
    while not (ends and ends[-1].over) and time.monotonic() < until:
        for event in lab.sandboxes.poll(1.0):
            if is_progress(event):
                for pid in set(lab.keeper_pids()) - before or before:
                    os.kill(pid, signal.SIGKILL)
            if isinstance(event, SandboxEnd):
                ends.append(event)
    assert [end.key for end in ends] == keys(order)[:2]
    assert ends[-1].exit is not None
    assert ends[-1].exit.code == "keeper_died"
    assert ends[-1].unbegun == keys(order)[2:]
