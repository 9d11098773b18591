from __future__ import annotations

import logging
import threading
from datetime import timedelta

import pytest

from tidegate.core.job import Priority, TaskKey
from tidegate.core.plan import ReasonCode
from tidegate.server.cycle import Cycle
from tidegate.server.drain import DrainMeter
from tidegate.testing.conformance.world import LARGE, World, new_job, new_tasks
from tidegate.testing.fakes import FakeLauncher, RecordingBell, SoleLeader
from tidegate.testing.memory_store import MemoryStore

DEADLINE_S = 10.0


class Troubled:
    """A store in front of another that fails, forgets or stops where a test tells it to, and counts its reads."""

    def __init__(self, store):
        self.store = store
        self.cursors: list[int] = []
        self.threads: list[threading.Thread] = []
        self.read = threading.Condition()
        self.reading = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.fail_before_commit = 0
        self.fail_after_commit = 0
        self.drop: list[int] = []

    def changes(self, cursor):
        with self.read:
            self.threads.append(threading.current_thread())
            self.cursors.append(cursor)
            self.read.notify_all()
        self.reading.set()
        assert self.go_on.wait(DEADLINE_S)
        return self.store.changes(cursor)

    def commit(self, plan, at, epoch, *, claim=False):
        if self.fail_before_commit:
            self.fail_before_commit -= 1
            raise OSError("disk full")
        if self.drop:
            keep = len(plan.starts) - self.drop.pop(0)
            plan = type(plan)(plan.starts[: max(keep, 0)])
        started = self.store.commit(plan, at, epoch, claim=claim) if plan.starts else []
        if self.fail_after_commit:
            self.fail_after_commit -= 1
            raise OSError("the answer got lost")
        return started

    def wake_scheduled(self, now, epoch):
        return self.store.wake_scheduled(now, epoch)

    def wait_for_reads(self, count):
        with self.read:
            assert self.read.wait_for(lambda: len(self.cursors) >= count, DEADLINE_S)


class Launcher(FakeLauncher):
    """Collects starts; one can wait for them, and make it fail."""

    def __init__(self):
        super().__init__()
        self.changed = threading.Condition()
        self.fail = False

    def launch(self, starts):
        if self.fail:
            raise OSError("no such worker")
        with self.changed:
            super().launch(starts)
            self.changed.notify_all()

    def jobs(self):
        return [start.key.job_id for start in self.started]

    def wait_for(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.started) >= count, DEADLINE_S)


class Lab:
    """A world with a cycle over it."""

    def __init__(self, **options):
        self.world = World(MemoryStore(max_concurrent=None))
        self.world.register()
        self.store = Troubled(self.world.store)
        self.launcher = Launcher()
        self.bell = RecordingBell()
        self.drain = DrainMeter(self.world.clock.monotonic())
        self.cycle = self.another(**options)

    def another(self, **options):
        leader = SoleLeader(self.world.store, self.world.clock)
        return Cycle(
            self.store, self.launcher, self.bell, self.world.clock, leader, drain=self.drain, **options
        )

    def submit(self, **changes):
        return self.world.submit(**changes)


@pytest.fixture
def lab():
    lab = Lab()
    yield lab
    lab.store.go_on.set()
    lab.cycle.stop()
    lab.world.store.check()


@pytest.fixture
def running(lab):
    """The lab with its thread running and its first pass made; nothing but rings and its own reasons wake it."""
    lab.cycle = lab.another(poll_s=DEADLINE_S * 6, budget=2)
    lab.cycle.start()
    lab.store.wait_for_reads(1)
    yield lab
    lab.store.go_on.set()
    lab.cycle.stop()


def test_a_pass_starts_what_fits_and_launches_it(lab):
    jobs = [lab.submit() for _ in range(6)]
    started = lab.cycle.run_once()
    assert [start.key.job_id for start in started] == jobs[:4] == lab.launcher.jobs()
    assert lab.cycle.waiting() == 2
    assert lab.cycle.run_once() == []


def test_the_store_is_read_on_from_the_last_pass(lab):
    lab.submit()
    lab.cycle.run_once()
    lab.submit()
    lab.cycle.run_once()
    assert lab.store.cursors[0] == 0 < lab.store.cursors[1]
    assert lab.launcher.jobs() == [1, 2]


def test_what_was_cancelled_no_longer_waits(lab):
    for _ in range(5):
        lab.submit()
    lab.cycle.run_once()
    lab.world.store.request_cancel(5, lab.world.now)
    lab.cycle.run_once()
    assert (lab.cycle.waiting(), lab.cycle.position(TaskKey(5, 1))) == (0, None)


def test_who_made_room_can_pass_on_its_own_thread(running):
    running.submit()
    running.cycle.run_once()  # the cycle's own first pass is through
    running.store.threads.clear()
    running.submit()
    running.cycle.pass_here()
    assert running.launcher.jobs() == [1, 2]
    assert running.store.threads == [threading.current_thread()]


def test_what_is_left_after_a_pass_elsewhere_is_left_to_the_cycles_own_thread(running):
    for _ in range(3):  # one more than the budget
        running.submit()
    running.cycle.pass_here()
    running.launcher.wait_for(3)


def test_a_pass_elsewhere_does_not_wait_for_one_under_way(running):
    running.store.reading.clear()
    running.store.go_on.clear()
    running.bell.ring("schedule")
    assert running.store.reading.wait(DEADLINE_S)
    job_id = running.submit()
    running.cycle.pass_here()
    assert running.launcher.jobs() == []
    running.store.go_on.set()
    running.launcher.wait_for(1)
    assert running.launcher.jobs() == [job_id]


def test_a_pass_elsewhere_that_fails_is_made_again_by_the_cycle(running, caplog):
    running.store.fail_before_commit = 1
    running.submit()
    with caplog.at_level(logging.CRITICAL):
        running.cycle.pass_here()
        running.launcher.wait_for(1)
    assert running.store.cursors[-1] == 0


def test_nothing_starts_elsewhere_once_the_cycle_has_stopped(running):
    running.cycle.stop()
    running.submit()
    running.cycle.pass_here()
    assert running.launcher.jobs() == []


def test_only_what_was_committed_is_launched_and_the_rest_waits_on(lab):
    jobs = [lab.submit() for _ in range(3)]
    lab.store.drop = [2]
    assert [start.key.job_id for start in lab.cycle.run_once()] == jobs[:1] == lab.launcher.jobs()
    assert lab.cycle.waiting() == 2
    lab.cycle.run_once()
    assert lab.launcher.jobs() == jobs


def test_after_a_failed_commit_everything_is_read_again(lab):
    lab.submit()
    lab.store.fail_before_commit = 1
    with pytest.raises(OSError, match="disk full"):
        lab.cycle.run_once()
    assert lab.launcher.jobs() == []
    lab.cycle.run_once()
    assert (lab.store.cursors, lab.launcher.jobs()) == ([0, 0], [1])


def test_a_commit_whose_answer_got_lost_is_found_in_the_store(lab):
    lab.submit()
    lab.cycle.run_once()
    lab.submit()
    lab.store.fail_after_commit = 1
    with pytest.raises(OSError, match="answer got lost"):
        lab.cycle.run_once()
    cursor = lab.cycle.cursor
    assert lab.cycle.run_once() == []
    assert (lab.cycle.waiting(), lab.store.cursors[-1]) == (0, 0)
    assert lab.cycle.cursor >= cursor > 0


def test_a_launcher_that_fails_takes_nothing_back(lab):
    lab.submit()
    lab.launcher.fail = True
    with pytest.raises(OSError, match="no such worker"):
        lab.cycle.run_once()
    assert lab.cycle.waiting() == 0
    assert lab.cycle.run_once() == []


def test_the_cursor_passes_a_job_once_it_was_judged(lab):
    job = lab.world.store.job(lab.submit())
    assert lab.cycle.cursor < job.change
    lab.cycle.run_once()
    assert lab.cycle.cursor >= job.change


def test_a_new_cycle_goes_on_where_the_last_one_was(lab):
    for _ in range(6):
        lab.submit()
    lab.cycle.run_once()
    fresh = lab.another()
    assert fresh.run_once() == []
    assert (fresh.waiting(), fresh.position(TaskKey(6, 1))) == (2, 2)


def test_positions_and_newcomers_are_told_by_queue(lab):
    for _ in range(4):
        lab.submit()
    lab.submit(priority=Priority.LOW)
    lab.submit(queue="other")
    lab.cycle.run_once()
    assert [lab.cycle.position(TaskKey(job, 1)) for job in (4, 5, 6)] == [None, 1, 1]
    assert lab.cycle.ahead_of_new("default", Priority.NORMAL) == 0
    assert lab.cycle.ahead_of_new("default", Priority.LOW) == 1
    assert (lab.cycle.waiting("other"), lab.cycle.waiting()) == (1, 2)
    assert [worker.id for worker in lab.cycle.workers()] == ["local"]


def test_a_wait_is_explained_with_reason_place_and_expected_start(lab):
    for _ in range(6):
        lab.submit()
    lab.cycle.run_once()
    lab.world.clock.advance(10)
    told = lab.cycle.explain(TaskKey(6, 1))
    assert told is not None
    assert (told.code, told.position) == ("resources", 2)
    assert told.sentence == "Job 6 waits for room: 1 CPU asked, 0 available on worker 'local'."
    assert told.expected_start_at == lab.world.now + timedelta(seconds=5)  # 4 starts in 10 s, 2 to go
    assert told.expected_start_basis == "Place 2 in queue 'default', which started 24 tasks a minute lately."


def test_a_wait_of_unknown_length_is_not_foretold(lab):
    lab.world.store.set_queue("default", paused=True)
    lab.world.run(queue="third")
    lab.submit()
    lab.submit(queue="other", resources=LARGE)
    lab.cycle.run_once()
    paused, full = (lab.cycle.explain(TaskKey(job, 1)) for job in (2, 3))
    assert paused is not None
    assert full is not None
    assert (paused.code, paused.expected_start_at) == (ReasonCode.QUEUE_PAUSED, None)
    assert (full.code, full.expected_start_at) == (ReasonCode.RESOURCES, None)
    assert full.expected_start_basis == "Queue 'other' has started nothing in the last minute."


def test_a_job_is_explained_by_its_first_waiting_task(lab):
    lab.submit(tasks=new_tasks(7))
    lab.cycle.run_once()
    told = lab.cycle.explain_job(1)
    assert told is not None
    assert told.sentence.startswith("Task 1.5 waits")


def test_what_does_not_wait_or_was_not_seen_has_no_explanation(lab):
    lab.submit()
    assert lab.cycle.explain(TaskKey(1, 1)) is None
    lab.cycle.run_once()
    assert lab.cycle.explain(TaskKey(1, 1)) is None
    assert lab.cycle.explain_job(1) is None


def test_while_the_server_stops_everything_waits_for_that(lab):
    for _ in range(5):
        lab.submit()
    lab.cycle.run_once()
    lab.cycle.stop()
    told = lab.cycle.explain_job(5)
    assert told is not None
    assert told.code == "server_stopping"


def test_a_ring_leads_to_a_pass(running):
    running.submit()
    running.bell.ring("schedule")
    running.launcher.wait_for(1)


def test_other_topics_wake_nobody(running):
    running.bell.ring("job:1")
    running.submit()
    running.bell.ring("schedule")
    running.launcher.wait_for(1)
    assert len(running.store.cursors) == 2


def test_it_rests_when_a_ring_has_been_answered(running):
    running.submit()
    running.bell.ring("schedule")
    running.launcher.wait_for(1)
    running.store.reading.clear()
    assert not running.store.reading.wait(0.05)


def test_without_a_ring_it_looks_by_itself(lab):
    lab.cycle = lab.another(poll_s=0.01)
    lab.cycle.start()
    lab.store.wait_for_reads(2)
    lab.submit()
    lab.launcher.wait_for(1)


def test_what_is_left_at_the_budget_is_planned_at_once(running):
    running.world.store.add_jobs([new_job(running.world.now) for _ in range(4)])
    running.bell.ring("schedule")
    running.launcher.wait_for(4)


def test_what_the_store_left_out_is_planned_again_at_once(running):
    running.submit()
    running.bell.ring("schedule")
    running.launcher.wait_for(1)
    passes = len(running.store.cursors)
    running.store.drop = [1]
    running.submit()
    running.bell.ring("schedule")
    running.launcher.wait_for(2)
    assert 0 not in running.store.cursors[passes:]


def test_many_rings_during_a_pass_lead_to_one_more(running):
    running.store.go_on.clear()
    running.store.reading.clear()
    running.bell.ring("schedule")
    assert running.store.reading.wait(DEADLINE_S)
    for _ in range(100):
        running.bell.ring("schedule")
    passes = len(running.store.cursors)
    running.store.go_on.set()
    running.store.wait_for_reads(passes + 1)
    running.cycle.stop()
    assert len(running.store.cursors) == passes + 1


def test_it_survives_a_store_that_fails_and_says_so(running, caplog):
    running.store.fail_before_commit = 2
    running.submit()
    with caplog.at_level(logging.ERROR):
        running.bell.ring("schedule")
        running.launcher.wait_for(1)
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [OSError, OSError]
    assert running.store.cursors[-2:] == [0, 0]


def test_plans_that_are_refused_as_a_whole_make_it_read_again(running, caplog):
    running.store.drop = [9, 9]
    running.submit()
    with caplog.at_level(logging.WARNING, "tidegate.cycle"):
        running.bell.ring("schedule")
        running.launcher.wait_for(1)
    assert "refused every start of 2 plans" in caplog.text
    assert running.store.cursors[-1] == 0


def test_after_its_end_no_ring_wakes_it_and_ending_twice_is_one_end(running):
    running.cycle.stop()
    passes = len(running.store.cursors)
    running.submit()
    running.bell.ring("schedule")
    running.cycle.stop()
    assert (len(running.store.cursors), running.launcher.jobs()) == (passes, [])
