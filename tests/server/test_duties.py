"""The background duties, each by its `run_once`, and the thread that runs them."""

import os
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tidegate.core.job import AttemptKey, NewJob, Priority, Shape, TaskOrder
from tidegate.core.membership import Beat
from tidegate.core.names import INTERACTIVE_QUEUE
from tidegate.core.recovery import Crash
from tidegate.core.resources import GIB, MIB, Resources
from tidegate.core.retry import Losses
from tidegate.core.source import Source, SourcePart
from tidegate.core.states import AttemptState, JobStatus, TaskState
from tidegate.core.usage import HOUR, UsageBy, hour_of
from tidegate.errors import Unavailable
from tidegate.ports import UsageFilter, WorkerInfo
from tidegate.runtime.clock import SystemClock
from tidegate.server.cycle import Cycle
from tidegate.server.leader import Led
from tidegate.server.services.duty import DutyRunner
from tidegate.server.services.janitor import ANSWERED_S, OLDEST_UPLOAD_S, YOUNGEST_S, Janitor
from tidegate.server.services.rescue import Rescue
from tidegate.server.services.resend import Resend
from tidegate.server.services.usage import SETTLED, CountUsage
from tidegate.server.services.wake import Wake
from tidegate.testing.conformance.world import World
from tidegate.testing.fakes import START, FakeClock, FakeLauncher, RecordingBell, SoleLeader
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
        self.leader = SoleLeader(self.store, self.clock)
        self.generation = self.store.register(WORKER, self.clock.now(), LEASE_S)
        self.rescue = self.new_rescue()

    def new_rescue(self) -> Rescue:
        return Rescue(
            self.store,
            self.bell,
            self.clock,
            self.leader,
            interval_s=5.0,
            lease_s=LEASE_S,
            max_losses=Losses(1, {"lint": 0}),
        )

    def watch(self, seconds: float) -> None:
        """Let the rescue look every five seconds, the last time at the end."""
        for _ in range(int(seconds / 5)):
            self.rescue.run_once(self.clock.advance(5))

    def beat(self) -> None:
        assert self.store.beat(WORKER, self.generation, self.clock.now(), LEASE_S, ()) is not None

    def running(self, job_id: int) -> bool:
        return self.store.job(job_id).task_counts[TaskState.RUNNING] == 1

    def submit(self, not_before: datetime | None = None, kind: str = "sql") -> int:
        job = NewJob(
            kind, "n", "ann", "default", Priority.NORMAL, Shape(Resources(1000, 256 * MIB)), 60.0, 1, {},
            (TaskOrder("n"),), self.clock.now(), not_before=not_before,
        )  # fmt: skip
        accepted = self.store.add_jobs([job])[0]
        assert not isinstance(accepted, Exception)
        return accepted.job_id

    def start(self) -> list[AttemptKey]:
        starts = Cycle(self.store, FakeLauncher(), self.bell, self.clock, self.leader).run_once()
        keys = [start.key for start in starts]
        self.store.claim("local", starts[0].generation, keys, self.clock.now())
        return keys


@pytest.fixture
def office() -> Iterator[Office]:
    office = Office()
    yield office
    office.store.check()


def test_what_a_dead_worker_ran_is_ended_once_and_queued_again(office: Office) -> None:
    job_id = office.submit()
    office.start()
    office.rescue.run_once(office.clock.now())
    office.watch(60)
    office.beat()
    office.watch(90)
    assert office.running(job_id)
    office.watch(5)
    office.watch(30)
    assert office.store.job(job_id).task_counts[TaskState.QUEUED] == 1
    [attempt] = office.store.tasks(job_id)[0].attempts
    assert attempt.state is AttemptState.LOST
    assert attempt.exit is not None
    assert attempt.exit.message == (
        "Worker 'local' was lost while it ran attempt 1 (loss 1 of at most 1): it said nothing for 90.0 s, "
        "and is dead after 90 s."
    )
    assert (attempt.exit.limit, attempt.exit.observed) == (90.0, 90.0)
    assert f"job:{job_id}" in office.bell.rings
    assert office.store.beat(WORKER, office.generation, office.clock.now(), LEASE_S, ()) is None


def test_what_a_worker_ran_before_it_came_back_is_queued_at_once(office: Office) -> None:
    job_id = office.submit()
    office.start()
    office.store.register(WORKER, office.clock.now(), LEASE_S)
    office.rescue.run_once(office.clock.now())
    assert office.store.job(job_id).task_counts[TaskState.QUEUED] == 1
    [attempt] = office.store.tasks(job_id)[0].attempts
    assert attempt.exit is not None
    assert attempt.exit.message.endswith("it has registered anew since, after generation 1.")


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


def test_a_kind_may_be_lost_another_number_of_times(office: Office) -> None:
    job_id = office.submit(kind="lint")
    office.start()
    office.store.register(WORKER, office.clock.now(), LEASE_S)
    office.rescue.run_once(office.clock.advance(1))
    job = office.store.job(job_id)
    assert job.status is JobStatus.FAILED
    assert job.exit is not None
    assert "loss 1" in job.exit.message


def test_a_new_leader_watches_two_leases_before_it_declares_anybody_dead(office: Office) -> None:
    job_id = office.submit()
    office.start()
    office.clock.advance(3600)
    office.rescue.run_once(office.clock.now())
    office.watch(115)
    assert office.running(job_id)
    office.watch(5)
    assert not office.running(job_id)


def test_who_leads_again_watches_anew(office: Office) -> None:
    job_id = office.submit()
    office.start()
    office.rescue.run_once(office.clock.now())
    office.watch(85)
    office.leader.doubt()
    office.watch(120)
    assert office.running(job_id)
    office.watch(5)
    assert not office.running(job_id)


def test_nobody_is_dead_because_this_server_itself_stood_still(office: Office) -> None:
    job_id = office.submit()
    office.start()
    office.rescue.run_once(office.clock.now())
    office.watch(85)
    office.rescue.run_once(office.clock.advance(3600))
    office.watch(115)
    assert office.running(job_id)
    office.watch(5)
    assert not office.running(job_id)


def test_nobody_is_dead_because_the_store_could_not_be_read(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = office.submit()
    office.start()
    office.rescue.run_once(office.clock.now())
    office.watch(85)
    with monkeypatch.context() as away:
        away.setattr(office.store, "beats", _unavailable)
        with pytest.raises(Unavailable):
            office.watch(5)
    office.watch(120)
    assert office.running(job_id)
    office.watch(5)
    assert not office.running(job_id)


def test_nobody_is_dead_because_a_clock_was_set_forward(office: Office) -> None:
    job_id = office.submit()
    office.start()
    office.rescue.run_once(office.clock.now())
    office.rescue.run_once(office.clock.now() + timedelta(hours=1))
    office.rescue.run_once(office.clock.now() + timedelta(hours=1, seconds=5))
    assert office.running(job_id)


def test_only_the_leader_rescues(office: Office) -> None:
    job_id = office.submit()
    office.start()
    office.store.register(WORKER, office.clock.now(), LEASE_S)
    assert office.leader.epoch
    office.store.seize("another", office.clock.now(), LEASE_S)
    duty = Led(office.rescue, office.leader)
    duty.run_once(office.clock.now())
    assert office.running(job_id)
    duty.run_once(office.clock.now())  # after the doubt it leads again
    assert not office.running(job_id)


def _unavailable() -> list[Beat]:
    raise Unavailable("The database is away.")


def test_a_start_that_nobody_claims_is_sent_again_until_somebody_does(office: Office) -> None:
    office.submit()
    lost = FakeLauncher()
    [start] = Cycle(office.store, lost, office.bell, office.clock, office.leader).run_once()
    again = FakeLauncher()
    resend = Resend(office.store, again, after_s=10.0)
    resend.run_once(office.clock.advance(10))
    assert again.started == []
    resend.run_once(office.clock.advance(1))
    resend.run_once(office.clock.advance(resend.interval_s))
    assert again.started == [start, start]
    office.store.claim("local", office.generation, [start.key], office.clock.now())
    resend.run_once(office.clock.advance(resend.interval_s))
    assert again.started == [start, start]


def test_a_scheduled_task_is_queued_when_its_time_has_come(office: Office) -> None:
    job_id = office.submit(not_before=office.clock.now() + timedelta(seconds=10))
    wake = Wake(office.store, office.bell, office.leader)
    wake.run_once(office.clock.advance(9))
    assert office.store.job(job_id).task_counts[TaskState.SCHEDULED] == 1
    wake.run_once(office.clock.advance(1))
    assert office.store.job(job_id).task_counts[TaskState.QUEUED] == 1


class Yard:
    """A data directory with something of everything."""

    def __init__(
        self, root: Path, store: MemoryStore, clock: FakeClock, retention: timedelta = timedelta(days=30)
    ) -> None:
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
            retention=retention,
            audit_retention=timedelta(days=365),
        )


@pytest.mark.parametrize(("retention", "kept_for"), [(30.0, 30.0), (0.1, 1.0)])
def test_crashes_are_kept_as_long_as_jobs_and_for_a_day_at_least(
    tmp_path: Path, retention: float, kept_for: float
) -> None:
    clock, store = FakeClock(), MemoryStore()
    old, young = (
        Crash("here", "zygote", START - timedelta(days=days), "") for days in (kept_for + 1, kept_for)
    )
    store.add_crash(old)
    store.add_crash(young)
    Yard(tmp_path, store, clock, timedelta(days=retention)).janitor.run_once(clock.now())
    assert store.crashes(START - timedelta(days=365)) == [young]


def test_the_janitor_keeps_what_is_named_and_what_is_young(tmp_path: Path) -> None:
    clock = FakeClock()
    yard = Yard(tmp_path, MemoryStore(), clock)
    yard.janitor.run_once(clock.now())
    kept = [path.exists() for path in (yard.named, yard.young, yard.old, yard.attempt, yard.upload, yard.log)]
    assert kept == [True, True, False, True, True, False]


def test_the_janitor_removes_what_dead_workers_and_servers_have_left(tmp_path: Path) -> None:
    store = MemoryStore()
    world = World(store)
    yard = Yard(tmp_path, store, world.clock)
    running, ended = world.run(), world.run()
    world.report(ended)
    folders = [yard.attempt.parent / name for name in (str(running), str(ended), f".spare-{ended}")]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    for path in (*folders, yard.upload):
        os.utime(path, (world.now.timestamp(), world.now.timestamp()))
    yard.janitor.run_once(world.clock.advance(YOUNGEST_S - 1))
    assert [folder.exists() for folder in folders] == [True, True, True]
    yard.janitor.run_once(world.clock.advance(2))
    assert [folder.exists() for folder in folders] == [True, False, False]
    assert yard.upload.exists()
    yard.janitor.run_once(world.clock.advance(OLDEST_UPLOAD_S))
    assert not yard.upload.exists()
    assert folders[0].exists()


def test_at_start_nothing_runs_so_whatever_is_not_named_goes(tmp_path: Path) -> None:
    yard = Yard(tmp_path, MemoryStore(), FakeClock())
    yard.janitor.at_start(START)
    kept = [path.exists() for path in (yard.named, yard.young, yard.old, yard.attempt, yard.upload)]
    assert kept == [True, False, False, False, False]


def test_results_of_a_data_directory_that_was_moved_are_kept(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    store, clock = MemoryStore(), FakeClock()
    store.add_source(
        Source("moved", "parquet", "/elsewhere/results/young.parquet", "ann", clock.now(), managed=True)
    )
    yard = Yard(tmp_path / "there", store, clock)
    yard.janitor.at_start(START)
    assert [path.exists() for path in (yard.young, yard.old)] == [True, False]


def test_the_answer_of_a_client_that_is_gone_goes_after_a_while(tmp_path: Path) -> None:
    store = MemoryStore()
    world = World(store)
    yard = Yard(tmp_path, store, world.clock)
    for name, queue in (("young", INTERACTIVE_QUEUE), ("old", "default")):
        world.report(world.run(queue=queue), result={"path": f"results/{getattr(yard, name).name}"})
    yard.janitor.run_once(world.now)
    assert yard.young.exists()
    yard.janitor.run_once(world.clock.advance(ANSWERED_S + 1))
    assert [path.exists() for path in (yard.named, yard.young, yard.old)] == [True, False, True]


def test_parts_of_sources_are_kept_as_long_as_their_source(tmp_path: Path) -> None:
    store, clock = MemoryStore(), FakeClock()
    yard = Yard(tmp_path, store, clock)
    folder = tmp_path / "results" / "parts"
    folder.mkdir()
    parts = [folder / f"{name}.parquet" for name in ("first", "second", "dropped")]
    for part in parts:
        part.write_bytes(b"x")
    named = tuple(
        SourcePart(f"results/parts/{part.name}", 1, 1, 1, part.stem, part.name) for part in parts[:2]
    )
    store.add_source(Source("grown", "parquet", named[0].path, "ann", clock.now(), managed=True, parts=named))
    yard.janitor.at_start(clock.now())
    assert [part.exists() for part in parts] == [True, True, False]


def test_a_folder_among_the_results_does_not_stop_the_janitor(tmp_path: Path) -> None:
    yard = Yard(tmp_path, MemoryStore(), FakeClock())
    mine = yard.old.parent / "mine"
    mine.mkdir()
    yard.janitor.at_start(START)
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


@pytest.mark.parametrize(("after", "left"), [(timedelta(0), 1), (SETTLED, 0)])
def test_usage_is_added_up_five_minutes_after_each_hour(after: timedelta, left: int) -> None:
    world = World(MemoryStore())
    world.report(world.run())
    end = hour_of(world.now) + HOUR
    CountUsage(world.store).run_once(end + after)
    assert world.store.count_usage(end) == left


def test_usage_is_kept_for_longer_than_jobs(tmp_path: Path) -> None:
    world = World(MemoryStore())
    world.report(world.run())
    until = hour_of(world.now) + HOUR
    wanted = UsageFilter(UsageBy.USER, hour_of(world.now), until)
    folders = {name: tmp_path / name for name in ("results", "attempts", "logs", "incoming")}
    for folder in folders.values():
        folder.mkdir()
    janitor = Janitor(
        world.store,
        results=folders["results"],
        attempts=folders["attempts"],
        logs=folders["logs"],
        incoming=folders["incoming"],
        retention=timedelta(days=30),
        audit_retention=timedelta(days=365),
        usage_retention=timedelta(days=400),
    )
    janitor.run_once(world.now + timedelta(days=399))
    assert [record.tally.jobs for record in world.store.usage(wanted)] == [1]
    janitor.run_once(until + timedelta(days=400))
    assert world.store.usage(wanted) == []
