"""Live attempts as they stand, with their tasks, jobs and allocations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import select

from tidegate.core.attempt import AttemptEnd, Usage
from tidegate.core.job import AttemptKey
from tidegate.core.resources import Resources
from tidegate.core.states import AttemptState, TaskState
from tidegate.store import rules
from tidegate.store.ending_jobs import EndingJob
from tidegate.store.engine import Statement, Tx
from tidegate.store.releases import Holding, same
from tidegate.store.schema import allocations, attempts, jobs, tasks, wanted
from tidegate.store.shared import word
from tidegate.store.values import USAGE_COLUMNS

_COUNTS = tuple(jobs.c[f"tasks_{state}"] for state in TaskState)
_STATES = {state.value: state for state in AttemptState}
LIVE_STATES = (word(AttemptState.STARTING), word(AttemptState.RUNNING))

LIVE = allocations.join(attempts, same(attempts, allocations, "job_id", "number", "attempt")).join(
    jobs, jobs.c.id == attempts.c.job_id
)
"""Allocations with their attempts and jobs; with `IS_LIVE` those of live attempts."""
IS_LIVE = (allocations.c.released_at.is_(None), attempts.c.state.in_(LIVE_STATES))

_ENDING = Statement(
    select(
        attempts.c.job_id, attempts.c.number, attempts.c.attempt, attempts.c.state, attempts.c.worker_id,
        attempts.c.generation, tasks.c.attempts, allocations.c.cpu_milli,
        allocations.c.memory_bytes, allocations.c.disk_bytes, jobs.c.queue, jobs.c.cancel_requested_at,
        jobs.c.result_name, jobs.c.owner, jobs.c.task_count, jobs.c.exit, jobs.c.last, jobs.c.last_number,
        allocations.c.head_number, allocations.c.head_attempt, allocations.c.sharing, jobs.c.kind,
        *(jobs.c[name] for name in USAGE_COLUMNS), *_COUNTS,
    )
    .select_from(
        wanted.join(attempts, same(attempts, wanted, "job_id", "number", "attempt"))
        .join(tasks, same(tasks, attempts, "job_id", "number"))
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .join(allocations, same(allocations, attempts, "job_id", "number", "attempt"))
    )
    .where(attempts.c.state.in_(LIVE_STATES)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class EndingAttempt:
    """A live attempt that one of the ends names."""

    state: AttemptState
    worker_id: str
    generation: int
    newest_attempt: int
    holding: Holding

    def believes(self, end: AttemptEnd, generations: Mapping[str, int]) -> bool:
        """Whether the end is for the newest attempt, from who holds it. A worker that came back under a new
        generation has lost what it held before; that can then only be recorded as lost."""
        return (
            end.key.attempt == self.newest_attempt
            and (end.worker_id, end.generation) == (self.worker_id, self.generation)
            and (end.generation == generations[end.worker_id] or end.state is AttemptState.LOST)
        )


def read_live(
    tx: Tx, keys: Iterable[AttemptKey]
) -> tuple[dict[AttemptKey, EndingAttempt], dict[int, EndingJob]]:
    """Those of the keys that are live, and their jobs by id."""
    tx.want(keys)
    live: dict[AttemptKey, EndingAttempt] = {}
    jobs_of: dict[int, EndingJob] = {}
    for row in tx.rows(_ENDING):
        head = None if row[18] is None else AttemptKey(row[0], row[18], row[19])
        holding = Holding(row[4], Resources(*row[7:10]), head, row[20])
        live[AttemptKey(*row[:3])] = EndingAttempt(_STATES[row[3]], row[4], row[5], row[6], holding)
        if row[0] not in jobs_of:
            counts = dict(zip(rules.TASK_STATES, row[29:], strict=True))
            jobs_of[row[0]] = EndingJob(
                row[21],
                row[10],
                row[11] is not None,
                row[12],
                row[13],
                row[14],
                row[15],
                row[16],
                row[17],
                Usage(*row[22:29]),
                counts,
                counts[TaskState.RUNNING],
            )
    return live, jobs_of
