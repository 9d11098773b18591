"""What the store commits is counted once, by the process whose commit it was."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.core.attempt import Exit, Usage
from tidegate.core.job import DIGEST, TaskOrder
from tidegate.core.states import AttemptState, ExitReason, TaskState
from tidegate.telemetry.counted import counted
from tidegate.telemetry.meters import Distribution, Meters
from tidegate.testing.conformance.world import World, new_job, new_tasks
from tidegate.testing.memory_store import MemoryStore


class Counts:
    """A world whose store is counted."""

    def __init__(self) -> None:
        self.meters = Meters()
        self.world = World(counted(MemoryStore(), self.meters))

    def __call__(self, name: str, *labels: str) -> float:
        found = {one.labels: one.value for one in self.meters.samples() if one.name == name}
        value = found.get(labels, 0.0)
        return sum(value.counts) if isinstance(value, Distribution) else value


@pytest.fixture
def counts() -> Counts:
    return Counts()


def test_a_job_is_counted_when_it_comes_starts_and_ends(counts: Counts):
    key = counts.world.run()
    assert counts("tidegate_jobs_accepted_total", "sql", "default") == 1
    assert counts("tidegate_starts_total", "default") == 1
    assert counts("sql_linting_jobs_total", "succeeded") == 0
    counts.world.report(key, usage=Usage(cpu_seconds=0.5, wall_seconds=2.0))
    assert (
        counts("sql_linting_jobs_total", "succeeded") == counts("sql_linting_tasks_total", "succeeded") == 1
    )
    assert counts("tidegate_jobs_total", "sql", "default", "succeeded") == 1
    assert counts("tidegate_tasks_total", "sql", "default", "succeeded") == 1
    assert counts("tidegate_attempts_total", "sql", "default", "succeeded") == 1
    assert counts("tidegate_attempt_cpu_seconds_total", "sql", "default") == 0.5
    assert counts("tidegate_attempt_duration_seconds", "sql") == 1
    counts.world.report(key)  # once more: not believed, not counted
    assert counts("tidegate_attempts_total", "sql", "default", "succeeded") == 1


def test_a_job_of_several_tasks_is_one_job(counts: Counts):
    counts.world.submit(tasks=new_tasks(3))
    first, second, third = counts.world.start()
    counts.world.claim([first, second, third])
    counts.world.report(first)
    assert counts("sql_linting_tasks_total", "succeeded") == 1
    assert counts("sql_linting_jobs_total", "succeeded") == 0
    store = counts.world.store
    store.report([counts.world.end(second), counts.world.end(third, TaskState.FAILED)])
    assert counts("sql_linting_tasks_total", "succeeded") == 2
    assert counts("sql_linting_tasks_total", "failed") == 1
    assert counts("sql_linting_jobs_total", "failed") == 1
    assert counts("sql_linting_jobs_total", "succeeded") == 0


def test_an_attempt_is_counted_by_why_it_ended_and_its_task_only_when_it_is_over(counts: Counts):
    key = counts.world.run(max_attempts=2)
    ended: dict[str, Any] = {
        "state": AttemptState.FAILED,
        "exit": Exit(ExitReason.MEMORY_LIMIT, "It wanted more."),
    }
    counts.world.report(key, TaskState.QUEUED, **ended)
    assert counts("tidegate_attempts_total", "sql", "default", "memory_limit") == 1
    assert counts("sql_linting_tasks_total", "failed") == 0


def test_what_is_cancelled_is_counted_wherever_it_was(counts: Counts):
    world = counts.world
    waiting = world.submit()
    world.store.request_cancel(waiting, world.now)
    world.store.request_cancel(waiting, world.now)
    assert (
        counts("sql_linting_jobs_total", "cancelled") == counts("sql_linting_tasks_total", "cancelled") == 1
    )
    started = world.submit()
    keys = world.start()
    world.store.request_cancel(started, world.now)
    assert counts("sql_linting_jobs_total", "cancelled") == 1
    assert world.claim(keys) == []
    assert (
        counts("sql_linting_jobs_total", "cancelled") == counts("sql_linting_tasks_total", "cancelled") == 2
    )


def test_what_was_known_already_is_counted_as_done_and_as_found(counts: Counts):
    world = counts.world
    digested = {"tasks": (TaskOrder("a.sql", {DIGEST: "d" * 64}),)}
    world.report(world.run(kind="lint", **digested), digest="d" * 64, result={"verdict": "linted"})
    assert counts("tidegate_kept_results_total", "lint", "miss") == 1
    assert world.store.add_jobs([new_job(world.now, kind="lint", **digested)])[0].ended  # type: ignore[union-attr]
    assert counts("tidegate_kept_results_total", "lint", "hit") == 1
    assert (
        counts("sql_linting_jobs_total", "succeeded") == counts("sql_linting_tasks_total", "succeeded") == 2
    )
    assert counts("tidegate_jobs_accepted_total", "lint", "default") == 2


def test_a_repeated_submission_is_one_job(counts: Counts):
    for _ in range(2):
        counts.world.submit(idempotency_key="k", request_digest="d")
    assert counts("tidegate_jobs_accepted_total", "sql", "default") == 1
