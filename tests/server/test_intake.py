"""Group commit, places in the line, and what happens when the line is full or the store is away."""

import threading
from collections.abc import Iterator, Sequence

import pytest

from tests.server.test_judge import LARGE, RULES
from tidegate.core.job import NewJob, Priority
from tidegate.core.plan import WorkerView
from tidegate.errors import Busy, InvalidInput, TidegateError, Unavailable
from tidegate.ports import Accepted
from tidegate.server.drain import DrainMeter
from tidegate.server.intake import Intake, Submitted
from tidegate.server.judge import Submission
from tidegate.testing.fakes import FakeClock, RecordingBell
from tidegate.testing.memory_store import MemoryStore


class Line:
    """A line of a given length."""

    def __init__(self, waiting: int = 0) -> None:
        self.count = waiting

    def workers(self) -> Sequence[WorkerView]:
        return (LARGE,)

    def waiting(self) -> int:
        return self.count

    def ahead_of_new(self, queue: str, priority: Priority) -> int:
        return self.count


class GatedStore(MemoryStore):
    """Holds each commit until it is let through, and remembers how many jobs came in each."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Semaphore(0)
        self.committing = threading.Semaphore(0)
        self.batches: list[int] = []
        self.away = False

    def add_jobs(self, jobs: Sequence[NewJob]) -> list[Accepted | Exception]:
        self.committing.release()
        assert self.gate.acquire(timeout=10)
        self.batches.append(len(jobs))
        if self.away:
            raise Unavailable("The database cannot be written: disk full.", code="database_unavailable")
        return super().add_jobs(jobs)


class Desk:
    """Offers submissions and collects their answers."""

    def __init__(self, store: GatedStore, max_waiting: int = 1000, line: Line | None = None) -> None:
        self.bell = RecordingBell()
        self.store = store
        clock = FakeClock()
        self.intake = Intake(store, line or Line(), RULES, self.bell, clock, DrainMeter(0.0), max_waiting)
        self.answers: list[Submitted | TidegateError] = []
        self.answered = threading.Semaphore(0)

    def offer(self, *fields: dict[str, object]) -> None:
        def answer(answers: list[Submitted | TidegateError]) -> None:
            self.answers.extend(answers)
            self.answered.release()

        self.intake.offer([Submission("ann", each) for each in fields], answer)

    def wait(self, times: int = 1) -> None:
        for _ in range(times):
            assert self.answered.acquire(timeout=10)


@pytest.fixture
def store() -> GatedStore:
    return GatedStore()


@pytest.fixture
def desk(store: GatedStore) -> Iterator[Desk]:
    desk = Desk(store)
    desk.intake.start()
    yield desk
    for _ in range(100):
        store.gate.release()
    desk.intake.stop()


ECHO: dict[str, object] = {"kind": "echo"}


def test_what_arrives_during_a_commit_shares_the_next(desk: Desk, store: GatedStore) -> None:
    desk.offer(ECHO)
    assert store.committing.acquire(timeout=10)
    for _ in range(5):
        desk.offer(ECHO)
    store.gate.release()
    assert store.committing.acquire(timeout=10)
    store.gate.release()
    desk.wait(6)
    assert store.batches == [1, 5]
    assert desk.bell.rings == ["schedule", "schedule"]


def test_a_bad_one_is_answered_in_its_place(desk: Desk, store: GatedStore) -> None:
    store.gate.release()
    desk.offer(ECHO, {"kind": "nope"}, {**ECHO, "priority": "high"}, ECHO)
    desk.wait()
    first, bad, high, last = desk.answers
    assert isinstance(bad, InvalidInput)
    assert isinstance(first, Submitted)
    assert isinstance(high, Submitted)
    assert isinstance(last, Submitted)
    assert [first.position, high.position, last.position] == [1, 1, 3]
    assert len({first.job_id, high.job_id, last.job_id}) == 3


def test_a_full_line_refuses_with_a_time(store: GatedStore) -> None:
    desk = Desk(store, max_waiting=2)
    desk.intake.start()
    store.gate.release()
    desk.offer(ECHO, ECHO, ECHO)
    desk.wait()
    desk.intake.stop()
    refused = desk.answers[2]
    assert isinstance(refused, Busy)
    assert refused.retry_after_s >= 1
    assert refused.numbers["limit"] == 2


def test_a_store_that_is_away_refuses_the_batch_and_not_the_next(desk: Desk, store: GatedStore) -> None:
    store.away = True
    store.gate.release()
    desk.offer(ECHO)
    desk.wait()
    refused = desk.answers[0]
    assert isinstance(refused, Unavailable)
    assert refused.code == "database_unavailable"
    store.away = False
    store.gate.release()
    desk.offer(ECHO)
    desk.wait()
    assert isinstance(desk.answers[1], Submitted)


def test_stopping_answers_what_was_offered_and_refuses_more(store: GatedStore) -> None:
    desk = Desk(store)
    desk.intake.start()
    store.gate.release()
    desk.offer(ECHO)
    desk.intake.stop()
    assert isinstance(desk.answers[0], Submitted)
    with pytest.raises(Unavailable):
        desk.offer(ECHO)
