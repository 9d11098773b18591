"""The background duties, each by its `run_once`, and the thread that runs them."""

import os
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tidegate.core.job import (
    AttemptKey,
    AttemptState,
    JobStatus,
    NewJob,
    Priority,
    Shape,
    Source,
    TaskOrder,
    TaskState,
)
from tidegate.core.resources import GIB, MIB, Resources
from tidegate.ports import WorkerInfo
from tidegate.runtime.clock import SystemClock
from tidegate.server.cycle import Cycle
from tidegate.server.services.duty import DutyRunner
from tidegate.server.services.janitor import YOUNGEST_S, Janitor
from tidegate.server.services.rescue import Rescue
from tidegate.server.services.wake import Wake
from tidegate.testing.fakes import FakeClock, FakeLauncher, RecordingBell
from tidegate.testing.memory_store import MemoryStore

ROOM = Resources(4000, 4 * GIB, 8 * GIB)
WORKER = WorkerInfo("local", "here", ROOM, ROOM)
LEASE_S = 60.0


class Office:
    """A store with one worker and one running job, whose worker then says nothing any more."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.clock = FakeClock()
        self.bell = RecordingBell()
        self.generation = self.store.register(WORKER, self.clock.now(), LEASE_S)
        self.rescue = Rescue(self.store, self.bell, self.clock, interval_s=5.0, max_losses=1, lease_s=LEASE_S)

    def submit(self, not_before: datetime | None = None) -> int:
        job = NewJob(
            "sql", "n", "ann", "default", Priority.NORMAL, Shape(Resources(1000, 256 * MIB)), 60.0, 1, {},
            (TaskOrder("n"),), self.clock.now(), not_before=not_before,
        )  # fmt: skip
        accepted = self.store.add_jobs([job])[0]
        assert not isinstance(accepted, Exception)
        return accepted.job_id

    def start(self) -> list[AttemptKey]:
        starts = Cycle(self.store, FakeLauncher(), self.bell, self.clock).run_once()
        keys = [start.key for start in starts]
        self.store.claim("local", starts[0].generation, keys, self.clock.now())
        return keys


@pytest.fixture
def office() -> Iterator[Office]:
    office = Office()
    yield office
    office.store.check()


def test_a_lost_attempt_is_ended_once_and_its_task_queued_again(office: Office) -> None:
    job_id = office.submit()
    office.start()
    office.rescue.run_once(office.clock.advance(1))
    assert office.store.job(job_id).task_counts[TaskState.RUNNING] == 1
    for _ in range(14):
        office.rescue.run_once(office.clock.advance(5))
    assert office.store.job(job_id).task_counts[TaskState.QUEUED] == 1
    [attempt] = office.store.tasks(job_id)[0].attempts
    assert attempt.state is AttemptState.LOST
    assert attempt.exit is not None
    assert attempt.exit.message == "Worker 'local' was lost while it ran attempt 1 (loss 1 of at most 1)."
    assert f"job:{job_id}" in office.bell.rings


def test_a_task_that_loses_its_worker_too_often_fails(office: Office) -> None:
    job_id = office.submit()
    for _ in range(2):
        office.start()
        office.store.register(WORKER, office.clock.now(), LEASE_S)
        office.rescue.run_once(office.clock.advance(1))
    job = office.store.job(job_id)
    assert job.status is JobStatus.FAILED
    assert job.exit is not None
    assert job.exit.reason == "lease_expired"


def test_nobody_is_lost_because_this_server_itself_stood_still(office: Office) -> None:
    job_id = office.submit()
    office.start()
    office.rescue.run_once(office.clock.now())
    office.rescue.run_once(office.clock.advance(3600))
    for _ in range(11):
        office.rescue.run_once(office.clock.advance(5))
    assert office.store.job(job_id).task_counts[TaskState.RUNNING] == 1
    office.rescue.run_once(office.clock.advance(5))
    assert office.store.job(job_id).task_counts[TaskState.QUEUED] == 1


def test_nobody_is_lost_because_the_clock_was_set_forward(office: Office) -> None:
    job_id = office.submit()
    office.start()
    office.rescue.run_once(office.clock.now())
    office.rescue.run_once(office.clock.now() + timedelta(hours=1))
    office.rescue.run_once(office.clock.now() + timedelta(hours=1, seconds=5))
    assert office.store.job(job_id).task_counts[TaskState.RUNNING] == 1


def test_a_scheduled_task_is_queued_when_its_time_has_come(office: Office) -> None:
    job_id = office.submit(not_before=office.clock.now() + timedelta(seconds=10))
    wake = Wake(office.store, office.bell)
    wake.run_once(office.clock.advance(9))
    assert office.store.job(job_id).task_counts[TaskState.SCHEDULED] == 1
    wake.run_once(office.clock.advance(1))
    assert office.store.job(job_id).task_counts[TaskState.QUEUED] == 1


class Yard:
    """A data directory with something of everything."""

    def __init__(self, root: Path, store: MemoryStore, clock: FakeClock) -> None:
        folders = {name: root / name for name in ("results", "attempts", "logs", "incoming")}
        for folder in folders.values():
            folder.mkdir()
        self.named, self.young, self.old = (
            folders["results"] / f"{name}.parquet" for name in ("named", "young", "old")
        )
        for path in (self.named, self.young, self.old):
            path.write_bytes(b"x")
        self.attempt = folders["attempts"] / "1.1.1"
        self.attempt.mkdir()
        self.upload = folders["incoming"] / "half"
        self.upload.write_bytes(b"x")
        self.log = folders["logs"] / "1"
        self.log.mkdir()
        now_s = clock.now().timestamp()
        os.utime(self.named, (0, 0))
        os.utime(self.young, (now_s, now_s))
        os.utime(self.old, (now_s - YOUNGEST_S - 1, now_s - YOUNGEST_S - 1))
        os.utime(self.log, (0, 0))
        store.add_source(Source("named", "parquet", str(self.named), "ann", clock.now(), managed=True))
        self.janitor = Janitor(
            store,
            results=folders["results"],
            attempts=folders["attempts"],
            logs=folders["logs"],
            incoming=folders["incoming"],
            retention=timedelta(days=30),
        )


def test_the_janitor_keeps_what_is_named_and_what_is_young(tmp_path: Path) -> None:
    clock = FakeClock()
    yard = Yard(tmp_path, MemoryStore(), clock)
    yard.janitor.run_once(clock.now())
    kept = [path.exists() for path in (yard.named, yard.young, yard.old, yard.attempt, yard.upload, yard.log)]
    assert kept == [True, True, False, True, True, False]


def test_at_start_nothing_runs_so_whatever_is_not_named_goes(tmp_path: Path) -> None:
    yard = Yard(tmp_path, MemoryStore(), FakeClock())
    yard.janitor.at_start()
    kept = [path.exists() for path in (yard.named, yard.young, yard.old, yard.attempt, yard.upload)]
    assert kept == [True, False, False, False, False]


def test_results_of_a_data_directory_that_was_moved_are_kept(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    store, clock = MemoryStore(), FakeClock()
    store.add_source(
        Source("moved", "parquet", "/elsewhere/results/young.parquet", "ann", clock.now(), managed=True)
    )
    yard = Yard(tmp_path / "there", store, clock)
    yard.janitor.at_start()
    assert [path.exists() for path in (yard.young, yard.old)] == [True, False]


def test_a_folder_among_the_results_does_not_stop_the_janitor(tmp_path: Path) -> None:
    yard = Yard(tmp_path, MemoryStore(), FakeClock())
    mine = yard.old.parent / "mine"
    mine.mkdir()
    yard.janitor.at_start()
    assert [path.exists() for path in (mine, yard.old)] == [True, False]


class Stumbling:
    """Fails the first time."""

    name = "stumbling"
    interval_s = 0.001

    def __init__(self) -> None:
        self.runs = 0
        self.enough = threading.Event()

    def run_once(self, now: datetime) -> None:
        self.runs += 1
        if self.runs == 1:
            raise OSError("away")
        self.enough.set()


def test_a_duty_that_fails_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    duty = Stumbling()
    runner = DutyRunner([duty], SystemClock())
    runner.start()
    assert duty.enough.wait(10)
    runner.stop()
    assert "The duty stumbling failed" in caplog.text
