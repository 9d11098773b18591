"""The worker with real sandboxes: claims, publishes, reports, retries, and gives back what a stop interrupts."""

import os
import secrets
import signal
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.lab import RUNNERS_PATH
from tidegate.core.attempt import AttemptEnd, Claimed, Recorded
from tidegate.core.job import DIGEST, AttemptKey, NewJob, Priority, Shape, TaskOrder
from tidegate.core.recovery import MOST_CRASHES, Cause, Mode
from tidegate.core.resources import GIB, MIB, Resources
from tidegate.core.retry import Losses
from tidegate.core.states import AttemptState, ExitReason, JobStatus, TaskState
from tidegate.errors import Unavailable
from tidegate.ports import TAKES_BATCHES, BeatAnswer, JobRecord, WorkerInfo
from tidegate.runtime.clock import SystemClock
from tidegate.runtime.local import LocalLauncher
from tidegate.runtime.processes import marked_processes
from tidegate.runtime.publish import DataFolders
from tidegate.runtime.sandbox import Sandboxes
from tidegate.runtime.worker import Worker, WorkerRules
from tidegate.runtime.worker_events import Launched
from tidegate.server.cycle import Cycle
from tidegate.server.progress import ProgressBoard
from tidegate.server.supervisor import Supervisor
from tidegate.testing.fakes import FakeLauncher, RecordingBell, SoleLeader
from tidegate.testing.memory_store import MemoryStore

DEADLINE_S = 20.0
RUNNERS = (
    "answer", "sleep", "fail", "crash", "leave_file", "leave_cut_file", "misdescribe_file", "name_path_outside",
    "expand", "leave_lines", "add_without_leave", "keepable", "as_told",
)  # fmt: skip


class House:
    """A worker, a cycle and a store in memory, on one folder."""

    def __init__(
        self,
        folder: Path,
        store: MemoryStore | None = None,
        *,
        report_within_s: float = 10.0,
        claim: bool = True,
    ) -> None:
        self.instance = f"work{secrets.token_hex(4)}"
        self.store = store or MemoryStore()
        self.clock = SystemClock()
        self.bell = RecordingBell()
        self.leader = SoleLeader(self.store, self.clock)
        self.folders = DataFolders(folder)
        self.folders.open()
        self.board = ProgressBoard(self.bell)
        self.worker = Worker(
            self.store,
            Sandboxes(
                instance=self.instance, yield_cpu="off", preload=["runners"], python_path=[RUNNERS_PATH]
            ),
            self.folders,
            lambda: WorkerInfo(
                "local",
                "here",
                Resources(4000, 4 * GIB, 8 * GIB),
                Resources(4000, 4 * GIB, 8 * GIB),
                versions=TAKES_BATCHES,
            ),
            self.bell,
            self.clock,
            self.board,
            {name: f"runners:{name}" for name in RUNNERS},
            WorkerRules(
                beat_s=30.0,
                lease_s=60.0,
                max_losses=Losses(5),
                interactive_queue="interactive",
                report_within_s=report_within_s,
            ),
            expanding=["expand", "leave_lines"],
        )
        self.cycle = Cycle(
            self.store, LocalLauncher(self.worker), self.bell, self.clock, self.leader, claim=claim
        )

    def open(self) -> None:
        self.worker.start()
        self.cycle.start()
        self.worker.when_room(self.cycle.pass_here)

    def close(self, grace_s: float = 0.0) -> None:
        self.cycle.stop()
        self.worker.stop(grace_s)
        assert marked_processes(self.instance) == {}

    def submit(
        self,
        kind: str,
        *,
        result_name: str | None = None,
        max_attempts: int = 1,
        digest: str | None = None,
        **spec: Any,
    ) -> int:
        job = NewJob(
            kind=kind,
            name=kind,
            owner="ann",
            queue="default",
            priority=Priority.NORMAL,
            shape=Shape(Resources(1000, 256 * MIB, 256 * MIB)),
            timeout_s=20.0,
            max_attempts=max_attempts,
            spec=spec,
            tasks=(TaskOrder(kind, {} if digest is None else {DIGEST: digest}),),
            created_at=self.clock.now(),
            result_name=result_name,
            result_named_by_user=bool(result_name),
        )
        accepted = self.store.add_jobs([job])[0]
        assert not isinstance(accepted, Exception)
        self.bell.ring("schedule")
        return accepted.job_id

    def submit_batch(self, *specs: dict[str, Any], batch: int = 64) -> int:
        """A job of many tasks, each with what it is to do; so large that one runs at a time."""
        job = NewJob(
            kind="as_told",
            name="many",
            owner="ann",
            queue="default",
            priority=Priority.NORMAL,
            shape=Shape(Resources(4000, 256 * MIB, 256 * MIB)),
            timeout_s=20.0,
            max_attempts=1,
            spec={"does": "answer"},
            tasks=tuple(TaskOrder(f"task {number}", spec) for number, spec in enumerate(specs, start=1)),
            created_at=self.clock.now(),
            batch=batch,
        )
        accepted = self.store.add_jobs([job])[0]
        assert not isinstance(accepted, Exception)
        self.bell.ring("schedule")
        return accepted.job_id

    def until(self, job_id: int, condition: Callable[[JobRecord], bool]) -> JobRecord:
        """The job once the condition holds; looked at again at each ring for it."""
        changed = threading.Event()
        end = self.bell.subscribe(f"job:{job_id}", changed.set)
        deadline_s = self.clock.monotonic() + DEADLINE_S
        try:
            while not condition(job := self.store.job(job_id)):
                assert changed.wait(deadline_s - self.clock.monotonic()), f"waited in vain: {job}"
                changed.clear()
            return job
        finally:
            end()

    def final(self, job_id: int) -> JobRecord:
        return self.until(job_id, lambda job: job.status.final)

    def runs(self, job_id: int) -> JobRecord:
        """Once the runner has said how far it is."""
        return self.until(job_id, lambda job: self.board.share(AttemptKey(job_id, 1, 1).task) is not None)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    house.open()
    yield house
    house.close()
    house.store.check()


def test_a_result_without_a_file_is_kept_with_the_task(house: House) -> None:
    job = house.final(house.submit("answer", answer=7))
    assert (job.status, job.result) == (JobStatus.SUCCEEDED, {"answer": 7})


def test_a_result_is_kept_if_its_runner_says_so_under_the_digest_that_its_task_was_given(
    house: House,
) -> None:
    def answer(digest: str | None, **spec: Any) -> Mapping[str, Any] | None:
        return house.final(house.submit("keepable", digest=digest, **spec)).result

    given = "a" * 64
    assert answer(given, keep=False, answer=1) == {"answer": 1}
    assert answer(given, keep=True, answer=2) == {"answer": 2}
    assert answer(given, keep=True, answer=3) == {"answer": 2, "cached": True}
    assert answer(None, keep=True, answer=4) == {"answer": 4}
    assert answer("b" * 64, keep="true", answer=5) == {"answer": 5}
    assert answer("b" * 64, keep=True, answer=6) == {"answer": 6}


def test_a_file_is_published_and_registered_with_the_success(house: House) -> None:
    job = house.final(house.submit("leave_file", result_name="numbers"))
    source = house.store.source("numbers", "ann")
    assert job.status is JobStatus.SUCCEEDED
    assert Path(source.path).parent == Path("results")
    assert (house.folders.root / source.path).is_file()
    assert source.job_id == job.id
    assert job.result is not None
    assert job.result["path"] == source.path


def test_a_runner_adds_tasks_that_read_what_it_has_left(house: House) -> None:
    job = house.final(house.submit("expand", count=5))
    assert (job.status, job.task_counts[TaskState.SUCCEEDED]) == (JobStatus.SUCCEEDED, 6)
    first, *added = house.store.tasks(job.id)
    assert first.result is not None
    assert [(task.name, task.result) for task in added] == [
        (f"{number}.txt", {"text": f"text {number}"}) for number in range(5)
    ]
    assert {task.resources for task in added} == {Resources(500, 64 * MIB, 0)}


def test_a_runner_that_fails_adds_nothing(house: House) -> None:
    job = house.final(house.submit("expand", count=5, then_fail=True))
    assert (job.status, sum(job.task_counts.values())) == (JobStatus.FAILED, 1)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("no json\n", "Line 1 of the added tasks cannot be taken"),
        ('{"name": "a"}\n[]\n', "Line 2"),
        ('{"name": ""}\n', "`name` must be text"),
        ('{"name": "a", "spec": {"readable_paths": ["/"]}}\n', "only the server may give"),
        ('{"name": "a", "spec": {"input_folder": "/"}}\n', "only the server may give"),
        ('{"name": "a", "amounts": [1, -2, 3]}\n', "whole numbers"),
        ('{"name": "a", "spec": {"digest": "x"}}\n', "64 hexadecimal digits"),
        ('{"name": "a", "result": 1}\n', "`result` must be an object"),
        ('{"name": "a", "timeout_s": 0}\n', "`timeout_s` must be above 0"),
        ('{"name": "\\ud800"}\n', "surrogates not allowed"),
        (" " * 100_000, "longer than 65536 bytes"),
        ("\n" * 3, "Line 1"),
    ],
)
def test_tasks_that_are_none_fail_the_job(house: House, lines: str, told: str) -> None:
    job = house.final(house.submit("leave_lines", lines=lines))
    assert job.exit is not None
    assert (job.status, job.exit.code) == (JobStatus.FAILED, "bad_tasks")
    assert told in job.exit.message
    assert sum(job.task_counts.values()) == 1


def test_a_kind_that_does_not_say_so_adds_no_tasks(house: House) -> None:
    job = house.final(house.submit("add_without_leave"))
    assert job.exit is not None
    assert "does not say that it adds tasks" in job.exit.message


@pytest.mark.parametrize("kind", ["leave_cut_file", "name_path_outside"])
def test_a_result_that_is_not_what_it_claims_fails_the_job(house: House, kind: str) -> None:
    job = house.final(house.submit(kind, result_name="broken"))
    assert job.status is JobStatus.FAILED
    assert job.exit is not None
    assert job.exit.code == "bad_result"
    assert house.store.sources_named(["broken"], "ann") == []
    assert list(house.folders.results.iterdir()) == []


def test_a_failure_is_tried_again_as_often_as_allowed(house: House) -> None:
    job_id = house.submit("fail", max_attempts=2)
    house.until(
        job_id,
        lambda job: (
            bool(house.store.tasks(job_id)[0].attempts[0:1]) and not job.task_counts[TaskState.RUNNING]
        ),
    )
    first = house.until(job_id, lambda job: job.task_counts[TaskState.SCHEDULED] == 1)
    assert not first.status.final
    [attempt] = house.store.tasks(job_id)[0].attempts
    assert attempt.exit is not None
    later = house.store.tasks(job_id)[0].not_before
    assert later is not None
    house.store.wake_scheduled(later, house.leader.epoch)
    house.bell.ring("schedule")
    job = house.final(job_id)
    assert job.status is JobStatus.FAILED
    assert len(house.store.tasks(job_id)[0].attempts) == 2


def test_a_cancel_ends_what_runs_and_leaves_no_result(house: House) -> None:
    job_id = house.submit("sleep", result_name="never")
    house.runs(job_id)
    cancelled = house.store.request_cancel(job_id, house.clock.now())
    house.worker.cancel(cancelled.live_attempts)
    assert house.final(job_id).status is JobStatus.CANCELLED
    assert house.store.sources_named(["never"], "ann") == []


class BeatingStore(MemoryStore):
    """Tells each beat."""

    def __init__(self) -> None:
        super().__init__()
        self.beaten = threading.Event()

    def beat(
        self,
        worker: WorkerInfo,
        generation: int,
        at: datetime,
        lease_s: float,
        running: Collection[AttemptKey],
    ) -> BeatAnswer | None:
        answer = super().beat(worker, generation, at, lease_s, running)
        self.beaten.set()
        return answer


@pytest.mark.parametrize("beats_between", [False, True])
def test_a_claimed_start_that_comes_after_its_cancel_never_runs(tmp_path: Path, beats_between: bool) -> None:
    store = BeatingStore()
    house = House(tmp_path, store)
    house.worker.start()
    job_id = house.submit("leave_file", result_name="never")
    [start] = Cycle(store, FakeLauncher(), RecordingBell(), house.clock, house.leader, claim=True).run_once()
    house.worker.cancel(store.request_cancel(job_id, house.clock.now()).live_attempts)
    if beats_between:
        house.worker.beat_now()
        assert store.beaten.wait(DEADLINE_S)
    house.worker.launch([start])
    job = house.final(job_id)
    house.close()
    assert job.status is JobStatus.CANCELLED
    assert job.exit is not None
    assert job.exit.message == "Cancelled before its worker had started it."
    assert job.usage.wall_seconds is None
    store.check()


def test_a_claimed_start_of_an_earlier_generation_does_not_run(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.worker.start()
    old, new = house.submit("answer"), house.submit("answer")
    cycle = Cycle(house.store, FakeLauncher(), RecordingBell(), house.clock, house.leader, claim=True)
    starts = cycle.run_once()
    house.worker.launch([start._replace(generation=0) for start in starts if start.key.job_id == old])
    house.worker.launch([start for start in starts if start.key.job_id == new])
    assert house.final(new).status is JobStatus.SUCCEEDED
    assert house.store.job(old).status is JobStatus.RUNNING  # until it is rescued
    house.close()


def test_a_stop_puts_back_what_did_not_finish_and_the_next_start_runs_it(tmp_path: Path) -> None:
    first = House(tmp_path)
    first.open()
    job_id = first.submit("sleep", seconds=60)
    first.runs(job_id)
    first.close()
    job = first.store.job(job_id)
    assert (job.status, job.task_counts[TaskState.QUEUED]) == (JobStatus.QUEUED, 1)
    first.store.check()

    second = House(tmp_path, first.store)
    second.open()
    second.until(job_id, lambda job: len(second.store.tasks(job_id)[0].attempts) == 2)
    second.close()


def test_orderly_stops_use_up_none_of_the_losses(tmp_path: Path) -> None:
    first = House(tmp_path)
    first.open()
    job_id = first.submit("sleep", seconds=60)
    first.runs(job_id)
    first.close()
    second = House(tmp_path, first.store)
    second.open()
    second.runs(job_id)
    second.close()
    generation = second.store.register(second.worker.info, second.clock.now(), 60.0)
    [start] = Cycle(second.store, FakeLauncher(), second.bell, second.clock, second.leader).run_once()
    [assignment] = second.store.claim("local", generation, [start.key], second.clock.now())
    assert (assignment.key.attempt, assignment.losses, assignment.put_back) == (3, 0, 2)


def test_a_start_that_a_stop_leaves_unclaimed_is_put_back(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.worker.start()
    job_id = house.submit("answer")
    starts = Cycle(house.store, FakeLauncher(), house.bell, house.clock, house.leader).run_once()
    house.worker._box.put(Launched(starts))  # without waking it, so that the stop is there too
    house.worker.stop(0.0)
    assert house.store.job(job_id).status is JobStatus.QUEUED
    [attempt] = house.store.tasks(job_id)[0].attempts
    assert attempt.state is AttemptState.LOST
    house.store.check()


def test_a_stop_with_grace_lets_running_work_finish(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.open()
    job_id = house.submit("sleep", seconds=0.5)
    house.runs(job_id)
    house.close(grace_s=15.0)
    assert house.store.job(job_id).status is JobStatus.SUCCEEDED


def test_a_worker_whose_registration_was_taken_over_ends_its_work_and_comes_back(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.open()
    job_id = house.submit("sleep", seconds=60)
    house.runs(job_id)
    house.store.register(house.worker.info, house.clock.now(), 60.0)
    house.worker.beat_now()
    house.until(job_id, lambda job: len(house.store.tasks(job_id)[0].attempts) == 2)
    first, second = house.store.tasks(job_id)[0].attempts
    assert first.state is AttemptState.LOST
    assert not second.state.final
    house.close()
    house.store.check()


def test_the_next_start_releases_what_an_unproven_end_had_kept(tmp_path: Path) -> None:
    first = House(tmp_path)
    generation = first.store.register(first.worker.info, first.clock.now(), 60.0)
    job_id = first.submit("answer")
    [start] = Cycle(first.store, FakeLauncher(), first.bell, first.clock, first.leader).run_once()
    first.store.claim("local", generation, [start.key], first.clock.now())
    end = AttemptEnd(
        start.key,
        "local",
        generation,
        AttemptState.FAILED,
        first.clock.now(),
        TaskState.FAILED,
        release=False,
    )
    first.store.report([end])
    assert first.store.job(job_id).status is JobStatus.FAILED
    assert first.store.changes(0).workers[0].allocated != Resources()
    second = House(tmp_path, first.store)
    second.open()
    assert second.store.changes(0).workers[0].allocated == Resources()
    second.close()


def test_nothing_is_left_of_an_attempt_but_its_result(house: House) -> None:
    house.final(house.submit("leave_file", result_name="only"))
    house.worker.clean_now()
    left = [path for path in house.folders.attempts.rglob("*") if path.name != "staging"]
    assert [path.name[:6] for path in left] == [".spare"]  # an empty folder for the next attempt


class FullStore(MemoryStore):
    """Refuses the first claim; refuses reports for as long as `full` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.refused_claims = 0
        self.full = threading.Event()
        self.refused_report = threading.Event()

    def claim(self, worker_id: str, generation: int, keys: Sequence[AttemptKey], at: datetime) -> Claimed:
        if not self.refused_claims:
            self.refused_claims += 1
            raise Unavailable("The disk is full.")
        return super().claim(worker_id, generation, keys, at)

    def report(self, ends: Sequence[AttemptEnd]) -> Recorded:
        if self.full.is_set():
            self.refused_report.set()
            raise Unavailable("The disk is full.")
        return super().report(ends)


class PickyStore(MemoryStore):
    """Cannot take an end with a certain answer, as a database cannot take text that is no Unicode."""

    def report(self, ends: Sequence[AttemptEnd]) -> Recorded:
        if any(end.result == {"answer": "poison"} for end in ends):
            raise UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed")
        return super().report(ends)


def test_starts_that_the_store_would_not_let_be_claimed_are_claimed_later(tmp_path: Path) -> None:
    store = FullStore()
    house = House(tmp_path, store, claim=False)
    house.open()
    job = house.final(house.submit("answer"))
    house.close()
    assert (store.refused_claims, job.status) == (1, JobStatus.SUCCEEDED)


def test_a_stop_ends_though_the_store_refuses_the_ends(tmp_path: Path) -> None:
    store = FullStore()
    house = House(tmp_path, store, report_within_s=0.2)
    house.open()
    job_id = house.submit("sleep")
    house.runs(job_id)
    store.full.set()
    house.close()
    assert store.refused_report.is_set()
    assert store.job(job_id).status is JobStatus.RUNNING  # the next server finds it lost and runs it again


def test_an_end_that_cannot_be_recorded_fails_alone(tmp_path: Path) -> None:
    house = House(tmp_path, PickyStore())
    house.open()
    poisonous, good = house.submit("answer", answer="poison"), house.submit("answer", answer=1)
    assert house.final(good).result == {"answer": 1}
    job = house.final(poisonous)
    house.close()
    assert job.status is JobStatus.FAILED
    assert job.exit is not None
    assert job.exit.code == "bad_report"
    house.store.check()


def test_an_end_is_recorded_though_its_output_cannot_be_kept(house: House) -> None:
    house.folders.logs.rmdir()
    house.folders.logs.write_text("in the way")
    job = house.final(house.submit("crash"))
    assert job.status is JobStatus.FAILED


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit, GeneratorExit])
def test_a_worker_whose_turns_crash_leads_to_safe_mode_and_loses_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    supervisor = Supervisor(house.store, house.bell, house.clock, "here", chance=lambda: 0.0)
    house.worker.when_crashed(supervisor.crashed)
    moved, left = house.board.moved, list(range(MOST_CRASHES + 1))

    def broken(*arguments: Any) -> None:
        if left:
            left.pop()
            raise error("broken")
        moved(*arguments)

    monkeypatch.setattr(house.board, "moved", broken)
    jobs = [house.submit("sleep", seconds=0) for _ in range(MOST_CRASHES + 1)]
    assert {house.final(job).status for job in jobs} == {JobStatus.SUCCEEDED}
    supervisor.look()
    state = house.store.safe_mode()
    assert (state.mode, state.cause, left) == (Mode.SAFE, Cause.CRASHES, [])
    assert f"(worker {MOST_CRASHES + 1})" in state.message
    assert house.final(house.submit("answer", answer=7)).result == {"answer": 7}


def test_a_report_of_the_wrong_shape_fails_its_own_job(house: House) -> None:
    job = house.final(house.submit("misdescribe_file", result_name="odd"))
    assert job.status is JobStatus.FAILED
    assert job.exit is not None
    assert job.exit.code == "bad_result"


@pytest.mark.parametrize("claim", [True, False])
def test_tasks_of_a_batch_share_a_process_and_keep_their_results(tmp_path: Path, claim: bool) -> None:
    house = House(tmp_path, claim=claim)
    house.open()
    job = house.final(house.submit_batch(*({"does": "pid"} for _ in range(40))))
    assert job.status is JobStatus.SUCCEEDED
    tasks = house.store.tasks(job.id)
    assert [task.result and task.result["key"] for task in tasks] == [[job.id, n, 1] for n in range(1, 41)]
    pids = [task.result["pid"] for task in tasks if task.result]
    assert len(set(pids)) < 15
    assert pids[:20] == [pids[0]] * 20
    house.close()
    house.store.check()


def test_a_task_that_crashes_costs_the_others_of_its_batch_nothing(house: House) -> None:
    specs: list[dict[str, Any]] = [{"answer": number} for number in range(1, 21)]
    specs[4] = {"does": "segfault"}
    specs[5] = {"does": "fail"}
    job = house.final(house.submit_batch(*specs))
    assert job.task_counts[TaskState.SUCCEEDED] == 18
    tasks = house.store.tasks(job.id)
    assert [task.exit and task.exit.reason.value for task in tasks[3:7]] == [None, "signal", "error", None]
    assert [len(task.attempts) for task in tasks[:6]] == [1, 1, 1, 1, 1, 2]
    assert [task.result for task in tasks[6:]] == [{"answer": number} for number in range(7, 21)]
    assert all(attempt.state is not AttemptState.FAILED for task in tasks[6:] for attempt in task.attempts)


def test_a_batch_whose_process_is_killed_keeps_what_has_ended_and_runs_the_rest_again(house: House) -> None:
    job_id = house.submit_batch({"does": "pid"}, {"does": "sleep"}, *({"answer": n} for n in range(3, 21)))
    house.until(job_id, lambda job: house.board.share(AttemptKey(job_id, 2, 1).task) is not None)
    house.until(job_id, lambda job: job.task_counts[TaskState.SUCCEEDED] == 1)
    first = house.store.tasks(job_id, limit=1)[0]
    assert first.result is not None
    os.kill(first.result["pid"], signal.SIGKILL)
    job = house.final(job_id)
    assert (job.task_counts[TaskState.SUCCEEDED], job.task_counts[TaskState.FAILED]) == (19, 1)
    tasks = house.store.tasks(job_id)
    assert tasks[0] == first
    assert tasks[1].exit is not None
    assert (tasks[1].exit.reason, len(tasks[1].attempts)) == (ExitReason.SIGNAL, 1)
    assert [task.result for task in tasks[2:]] == [{"answer": n} for n in range(3, 21)]
    put_back = [task.attempts[0].state for task in tasks[2:] if len(task.attempts) > 1]
    assert put_back
    assert set(put_back) == {AttemptState.LOST}
    house.store.check()


def test_a_cancel_ends_a_whole_batch(house: House) -> None:
    job_id = house.submit_batch({}, {"does": "sleep"}, *({} for _ in range(20)))
    second = AttemptKey(job_id, 2, 1)
    house.until(job_id, lambda job: house.board.share(second.task) is not None)
    house.until(job_id, lambda job: job.task_counts[TaskState.SUCCEEDED] == 1)  # the end has been reported
    cancelled = house.store.request_cancel(job_id, house.clock.now())
    house.worker.cancel(cancelled.live_attempts)
    job = house.final(job_id)
    assert job.status is JobStatus.CANCELLED
    assert job.task_counts[TaskState.SUCCEEDED] == 1


def test_a_stop_puts_back_what_is_left_of_a_batch(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.open()
    job_id = house.submit_batch({"answer": 1}, {"does": "sleep"}, *({} for _ in range(20)))
    second = AttemptKey(job_id, 2, 1)
    house.until(job_id, lambda job: house.board.share(second.task) is not None)
    house.close()
    house.store.check()
    first, *others = house.store.tasks(job_id)
    assert first.result == {"answer": 1}
    assert {task.state for task in others} == {TaskState.QUEUED}
    assert {len(task.attempts) for task in others} == {0, 1}
    again = house.store.changes(0).waiting
    assert len(again) == 21
