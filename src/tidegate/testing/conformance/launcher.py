"""The suite that every launcher passes, with the real workers that it launches on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate.core import scheduler
from tidegate.core.plan import Plan, Snapshot, Start
from tidegate.core.queueing import Backlog
from tidegate.core.states import AttemptState, JobStatus
from tidegate.ports import Clock, JobRecord, Launcher, Store
from tidegate.server.judge import Rules, Submission, judge
from tidegate.workloads.registry import load_workloads

DEADLINE_S = 40.0
LONG = "select sum(a.range * b.range) from range(10000000) a, range(10000000) b"
LEASE_S = 3600.0
_LOOK_S = 0.02


@dataclass
class Site:
    """A store, a launcher on it, and registered workers that wait for it, with a data directory.

    Their beats come so seldom that what they hear in a test they hear from the launcher.
    """

    store: Store
    launcher: Launcher
    clock: Clock
    data_dir: Path

    def __post_init__(self) -> None:
        epoch = self.store.lead("site", self.clock.now(), LEASE_S)
        assert epoch is not None
        self.epoch = epoch

    def commit(self, *queries: str, **fields: Any) -> list[Start]:
        """Submit a job for each and commit where they start, as a server would, launching nothing yet."""
        workloads = load_workloads()
        rules = Rules(workloads, str(self.data_dir), (), 3600.0, self.store.sources_named)
        now = self.clock.now()
        orders = [
            {"kind": "sql", "sql": sql, "memory": "128MiB", "cpus": 0.1, "disk": "16MiB", **fields}
            for sql in queries
        ]
        changes = self.store.changes(0)
        jobs = [judge(Submission("ann", order), rules, changes.workers, now) for order in orders]
        accepted = self.store.add_jobs(jobs)
        assert not [answer for answer in accepted if isinstance(answer, Exception)]
        changes = self.store.changes(0)
        backlog = Backlog()
        backlog.apply(changes.waiting, ())
        plan = scheduler.plan(Snapshot(changes.workers, changes.queues, backlog.lines(1000)), now)
        starts = self.store.commit(Plan(plan.starts), now, self.epoch)
        assert len(starts) == len(queries), plan.verdicts
        return starts

    def until(self, job_id: int, condition: Callable[[JobRecord], bool]) -> JobRecord:
        """The job once the condition holds; looked at again and again, since workers may be elsewhere."""
        deadline = time.monotonic() + DEADLINE_S
        pause = threading.Event()
        while not condition(job := self.store.job(job_id)):
            assert time.monotonic() < deadline, f"waited in vain: {job}"
            pause.wait(_LOOK_S)
        return job

    def final(self, start: Start) -> JobRecord:
        return self.until(start.key.job_id, lambda job: job.status.final)

    def state(self, start: Start) -> AttemptState:
        return self.store.tasks(start.key.job_id)[0].attempts[start.key.attempt - 1].state

    def claimed(self, start: Start) -> None:
        """Returns once its worker has it."""
        self.until(start.key.job_id, lambda _: self.state(start) is not AttemptState.STARTING)


class LauncherConformance:
    """Give it a fixture `site`."""

    def test_what_is_launched_runs_to_its_end(self, site: Site) -> None:
        [start] = site.commit("select 42 as answer", result_name="answers")
        site.launcher.launch([start])
        assert site.final(start).status is JobStatus.SUCCEEDED
        assert site.store.source("answers", "ann").row_count == 1
        site.store.check()

    def test_many_starts_at_once_all_run(self, site: Site) -> None:
        starts = site.commit(*(f"select {n} as n" for n in range(6)))
        site.launcher.launch(starts)
        assert {site.final(start).status for start in starts} == {JobStatus.SUCCEEDED}
        site.store.check()

    def test_a_start_that_comes_twice_runs_once(self, site: Site) -> None:
        [start] = site.commit("select 1")
        site.launcher.launch([start, start])
        site.launcher.launch([start])
        assert site.final(start).status is JobStatus.SUCCEEDED
        site.launcher.launch([start])  # long after its end
        [later] = site.commit("select 2")
        site.launcher.launch([later])
        assert site.final(later).status is JobStatus.SUCCEEDED
        assert len(site.store.events(start.key.job_id)) == len(site.store.events(later.key.job_id))
        assert [attempt.state for attempt in site.store.tasks(start.key.job_id)[0].attempts] == [
            AttemptState.SUCCEEDED
        ]

    def test_a_start_of_an_older_registration_is_left_alone(self, site: Site) -> None:
        stale, fresh = site.commit("select 1", "select 2")
        site.launcher.launch([stale._replace(generation=stale.generation - 1)])
        site.launcher.launch([fresh])
        assert site.final(fresh).status is JobStatus.SUCCEEDED
        assert site.state(stale) is AttemptState.STARTING
        site.launcher.launch([stale])
        assert site.final(stale).status is JobStatus.SUCCEEDED

    def test_a_cancel_ends_what_runs(self, site: Site) -> None:
        [start] = site.commit(LONG)
        site.launcher.launch([start])
        site.claimed(start)
        cancelled = site.store.request_cancel(start.key.job_id, site.clock.now())
        site.launcher.cancel(cancelled.live_attempts)
        assert site.final(start).status is JobStatus.CANCELLED
        site.store.check()

    def test_a_start_whose_job_was_cancelled_on_the_way_does_not_run(self, site: Site) -> None:
        [start] = site.commit(LONG)
        site.store.request_cancel(start.key.job_id, site.clock.now())
        site.launcher.launch([start])
        assert site.final(start).status is JobStatus.CANCELLED
        site.store.check()

    def test_a_cancel_of_what_does_not_run_harms_nothing(self, site: Site) -> None:
        [start] = site.commit("select 1")
        site.launcher.cancel([start.key._replace(job_id=10**6)])
        site.launcher.cancel([])
        site.launcher.launch([])
        site.launcher.launch([start])
        assert site.final(start).status is JobStatus.SUCCEEDED
