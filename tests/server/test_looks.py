"""A slow folder holds up the submissions that name it, and nobody else."""

import dataclasses
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.server.test_intake import Line
from tests.server.test_judge import RULES, Echo
from tidegate.errors import Busy, InvalidInput, TidegateError, Unavailable
from tidegate.ports import IntakeContext, WorkOrder
from tidegate.runtime.clock import SystemClock
from tidegate.server.drain import DrainMeter
from tidegate.server.intake import Intake, Submitted
from tidegate.server.judge import Submission
from tidegate.testing.fakes import RecordingBell
from tidegate.testing.memory_store import MemoryStore

ECHO = {"kind": "echo"}
FOLDER = {"kind": "folder"}
HANGS = {"kind": "folder", "words": "hangs"}
CRAWLS = {"kind": "folder", "words": "crawls"}


class Folder(Echo):
    """A kind whose files are in a folder that answers, hangs until it is let go, or tells its entries one by one for ever."""

    kind = "folder"

    def __init__(self) -> None:
        self.hanging = threading.Semaphore(0)
        self.let_go = threading.Event()

    def order(self, fields: Mapping[str, Any], context: IntakeContext) -> WorkOrder:
        context.before_look()
        if fields.get("words") == "hangs":
            self.hanging.release()
            assert self.let_go.wait(30)
        while fields.get("words") == "crawls":
            context.before_look()
        return super().order(fields, context)


class Desk:
    """Offers submissions; each parcel's answers are waited for by themselves."""

    def __init__(self, *, look_s: float = 60.0, lookers: int = 2) -> None:
        self.folder = Folder()
        rules = dataclasses.replace(RULES, workloads={"echo": Echo(), "folder": self.folder})
        self.clock = SystemClock()
        self.intake = Intake(
            MemoryStore(), Line(), rules, RecordingBell(), self.clock, DrainMeter(0.0), 1000,
            look_s=look_s, lookers=lookers,
        )  # fmt: skip
        self.intake.start()

    def offer(self, *fields: Mapping[str, Any]) -> "Answers":
        answers = Answers()
        self.intake.offer([Submission("ann", each) for each in fields], answers.take)
        return answers

    def close(self) -> None:
        self.folder.let_go.set()
        self.intake.stop()


class Answers:
    def __init__(self) -> None:
        self._there = threading.Event()
        self._answers: list[Submitted | TidegateError] = []

    def take(self, answers: list[Submitted | TidegateError]) -> None:
        assert not self._there.is_set(), "answered twice"
        self._answers = answers
        self._there.set()

    def all(self) -> list[Submitted | TidegateError]:
        assert self._there.wait(20)
        return self._answers

    @property
    def open(self) -> bool:
        return not self._there.is_set()


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.close()


def test_a_folder_that_hangs_holds_up_nobody_else(desk: Desk) -> None:
    slow = desk.offer(HANGS, ECHO)
    assert desk.folder.hanging.acquire(timeout=10)
    assert isinstance(desk.offer(ECHO).all()[0], Submitted)
    assert isinstance(desk.offer(FOLDER).all()[0], Submitted)
    assert slow.open
    desk.folder.let_go.set()
    first, second = slow.all()
    assert isinstance(first, Submitted)
    assert isinstance(second, Submitted)
    assert first.job_id < second.job_id


def test_what_is_wrong_is_said_in_its_place(desk: Desk) -> None:
    good, bad, other = desk.offer(FOLDER, {**FOLDER, "nope": 1}, ECHO).all()
    assert isinstance(good, Submitted)
    assert isinstance(bad, InvalidInput)
    assert isinstance(other, Submitted)


@pytest.mark.parametrize("slow", [HANGS, CRAWLS])
def test_a_look_that_takes_too_long_is_answered_without_it(slow: Mapping[str, Any]) -> None:
    desk = Desk(look_s=0.05)
    late, other = desk.offer(slow, ECHO).all()
    desk.close()
    assert isinstance(late, InvalidInput)
    assert (late.code, late.numbers) == ("slow_files", {"limit": 0.05})
    assert isinstance(other, Submitted)


def test_when_all_who_look_hang_the_next_is_told_to_come_back() -> None:
    desk = Desk(look_s=0.05, lookers=1)
    hangs = desk.offer(HANGS)
    assert desk.folder.hanging.acquire(timeout=10)
    [late] = desk.offer(FOLDER).all()
    assert isinstance(late, Busy)
    assert late.numbers["limit"] == 1
    assert isinstance(hangs.all()[0], InvalidInput)
    desk.folder.let_go.set()
    desk.close()


def test_a_stop_answers_for_those_that_hang(desk: Desk) -> None:
    slow = desk.offer(HANGS, ECHO)
    assert desk.folder.hanging.acquire(timeout=10)
    desk.intake.stop()
    first, second = slow.all()
    assert isinstance(first, Unavailable)
    assert isinstance(second, Submitted)
