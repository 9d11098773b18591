"""What a job printed, and what it prints: as text and as events, live and resumed."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.api.support import Played, World, assert_problem
from tidegate.api.logs import last_lines, unfinished_bytes, whole_characters
from tidegate.core.attempt import Assignment, Usage
from tidegate.core.job import AttemptKey, TaskKey
from tidegate.core.states import AttemptState, TaskState
from tidegate.ports import AttemptRecord, JobStore, TaskRecord
from tidegate.server.output import OutputFollower, Printed
from tidegate.testing.fakes import START


def test_logs_are_text_of_an_attempt_or_empty(world: World):
    job_id = world.submit()
    world.finished(job_id)
    url = f"/api/v1/jobs/{job_id}/logs"
    assert world.http.get(url).text == ""
    log = world.data_dir / "logs" / job_id / "1.1.log"
    log.parent.mkdir(parents=True)
    log.write_text("one\ntwo ✓\n<b>three</b>\n")
    whole = world.http.get(url)
    assert whole.text == "one\ntwo ✓\n<b>three</b>\n"
    assert whole.headers["content-type"] == "text/plain; charset=utf-8"
    assert world.http.get(url, params={"tail": 2}).text == "two ✓\n<b>three</b>\n"
    assert world.http.get(url, params={"task": 1, "attempt": 1, "tail": 0}).text == ""
    assert_problem(world.http.get(url, params={"task": 2}), 404, "not_found")
    assert_problem(world.http.get(url, params={"attempt": 2}), 404, "not_found")
    assert_problem(world.http.get(url, params={"tail": -1}), 422, "invalid_input")


def test_logs_of_a_job_that_waits_are_empty(world: World):
    world.pause()
    assert world.http.get(f"/api/v1/jobs/{world.submit()}/logs").text == ""


@pytest.mark.parametrize("lines", [1, 2, 3, 1000, 5000])
@pytest.mark.parametrize("end", ["", "\n"])
def test_the_last_lines_are_found_across_blocks(tmp_path: Path, lines: int, end: str):
    whole = [f"{number} {'x' * (number % 300)}\n" for number in range(3000)]
    path = tmp_path / "log"
    path.write_text("".join(whole).rstrip("\n") + end)
    expected = "".join(whole[-lines:]).rstrip("\n") + end
    assert last_lines(path, lines).decode() == expected


def log_of(world: World, job_id: str, attempt: int = 1) -> Path:
    path = world.data_dir / "logs" / job_id / f"1.{attempt}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


class Running:
    """A job that runs until it is told to end, and prints what it is told to."""

    def __init__(self, world: World) -> None:
        self._gate = threading.Event()
        begun = threading.Event()

        def play(assignment: Assignment) -> Played:
            begun.set()
            assert self._gate.wait(30)
            return Played(None)

        world.play(play)
        self.job_id = world.submit()
        assert begun.wait(30)
        self._log = log_of(world, self.job_id)
        self.url = f"/api/v1/jobs/{self.job_id}/logs"

    def print(self, data: bytes) -> None:
        with self._log.open("ab") as file:
            file.write(data)

    def end(self) -> None:
        self._gate.set()


@pytest.fixture
def running(world: World) -> Iterator[Running]:
    job = Running(world)
    yield job
    job.end()


def test_what_a_running_job_printed_is_there_before_its_end(world: World, running: Running):
    running.print(b"so far\n")
    assert world.http.get(running.url).text == "so far\n"


def test_text_is_followed_while_it_is_printed_and_ends_with_the_job(world: World, running: Running):
    with world.http.stream("GET", running.url, params={"follow": True}) as answer:
        pieces = answer.iter_raw()
        running.print(b"one\n")
        assert next(pieces) == b"one\n"
        running.print(b"two \xff\n")
        assert next(pieces) == b"two \xff\n"
        running.print(b"last")
        running.end()
        assert b"".join(pieces) == b"last"
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_following_can_begin_with_the_last_lines(world: World, running: Running):
    running.print(b"one\ntwo\nthree\n")
    with world.http.stream("GET", running.url, params={"follow": True, "tail": 1}) as answer:
        pieces = answer.iter_raw()
        assert next(pieces) == b"three\n"
        running.end()
        assert b"".join(pieces) == b""


def messages(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    message: dict[str, str] = {}
    for line in lines:
        if not line and message:
            yield message
            message = {}
        elif line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            message[name] = value


def test_output_as_events_resumes_where_it_broke_off(world: World, running: Running):
    accept = {"Accept": "text/event-stream"}
    running.print("grün\n".encode()[:3])
    with world.http.stream("GET", running.url, headers=accept) as answer:
        sent = messages(answer.iter_lines())
        first = next(sent)
        running.print("grün\n".encode()[3:])
        second = next(sent)
    told = [json.loads(one["data"]) for one in (first, second)]
    assert told == [
        {"attempt": 1, "offset": 0, "text": "gr"},
        {"attempt": 1, "offset": 2, "text": "ün\n"},
    ]
    assert (first["event"], first["id"], second["id"]) == ("output", "1:2", "1:6")
    running.print(b"more\n")
    running.end()
    with world.http.stream("GET", running.url, headers={**accept, "Last-Event-ID": "1:6"}) as answer:
        rest = list(messages(answer.iter_lines()))
    assert [json.loads(one["data"])["text"] for one in rest] == ["more\n"]
    seen = world.http.get(running.url, headers={**accept, "Last-Event-ID": rest[-1]["id"]})
    assert seen.status_code == 204


@pytest.mark.parametrize("last", ["abc", "5", "1:-1", "1:1:1", "9" * 40])
def test_a_place_that_no_output_has_is_refused(shared: World, last: str):
    headers = {"Accept": "text/event-stream", "Last-Event-ID": last}
    answer = shared.http.get(f"/api/v1/jobs/{shared.submit()}/logs", headers=headers)
    assert assert_problem(answer, 422, "invalid_input")["field"] == "last-event-id"


class Attempts:
    """A store with one task whose attempts the test makes up."""

    def __init__(self) -> None:
        self.state = TaskState.RUNNING
        self.ended: list[bool] = []

    def tasks(self, job_id: int, *, after: int = 0, limit: int = 100) -> list[TaskRecord]:
        attempts = tuple(
            AttemptRecord(
                AttemptKey(job_id, 1, number),
                AttemptState.FAILED if ended else AttemptState.RUNNING,
                "local",
                START,
                START if ended else None,
                None,
                Usage(),
            )
            for number, ended in enumerate(self.ended, 1)
        )
        return [TaskRecord(TaskKey(job_id, 1), "task", self.state, attempts)]


def follow_of(store: Attempts, folder: Path, changed: asyncio.Event) -> AsyncGenerator[Printed, None]:
    async def run(function: Callable[..., object], *args: object, **kwargs: object) -> object:
        return function(*args, **kwargs)

    follower = OutputFollower(cast(JobStore, store), run, lambda key: folder / f"{key.attempt}.log", changed)
    return follower.follow(7, 1)


def test_following_goes_on_with_the_next_attempt(tmp_path: Path):
    store = Attempts()

    async def watch() -> list[tuple[int, int, bytes]]:
        changed = asyncio.Event()
        seen = []
        async for part in follow_of(store, tmp_path, changed):
            seen.append((part.attempt, part.offset, part.data))
            if part.attempt == 1:
                store.ended = [True, False]
                (tmp_path / "2.log").write_bytes(b"again")
            else:
                store.ended, store.state = [True, True], TaskState.SUCCEEDED
            changed.set()
        return seen

    store.ended = [False]
    (tmp_path / "1.log").write_bytes(b"first")
    assert asyncio.run(watch()) == [(1, 0, b"first"), (2, 0, b"again")]


def test_following_waits_for_the_first_attempt_and_ends_without_one(tmp_path: Path):
    store = Attempts()
    store.state = TaskState.CANCELLED

    async def watch() -> list[Printed]:
        return [part async for part in follow_of(store, tmp_path, asyncio.Event())]

    assert asyncio.run(watch()) == []


@given(st.binary(max_size=40) | st.text(max_size=12).map(str.encode), st.lists(st.integers(0, 40)))
def test_characters_come_whole_however_the_bytes_were_cut(data: bytes, cuts: list[int]):
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})

    async def parts() -> AsyncGenerator[Printed, None]:
        for start, end in pairwise(places):
            yield Printed(1, start, data[start:end])

    async def collect() -> list[Printed]:
        return [part async for part in whole_characters(parts())]

    seen = asyncio.run(collect())
    assert b"".join(part.data for part in seen) == data
    assert [part.offset for part in seen] == [
        sum(len(p.data) for p in seen[:index]) for index in range(len(seen))
    ]
    text = "".join(part.data.decode("utf-8", "replace") for part in seen)
    if "�" not in data.decode("utf-8", "replace"):
        assert text == data.decode()


@given(st.characters(codec="utf-8"))
def test_a_character_is_unfinished_until_its_last_byte(character: str):
    data = character.encode()
    assert [unfinished_bytes(b"x" + data[:size]) for size in range(1, len(data))] == list(range(1, len(data)))
    assert unfinished_bytes(b"x" + data) == 0
