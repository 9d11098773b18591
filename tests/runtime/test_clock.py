"""The clock that follows the database's."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.errors import Unavailable
from tidegate.runtime.clock import DatabaseClock

START = datetime(2026, 1, 1, tzinfo=UTC)


class Database:
    """Its clock, ours, and how long the way between takes. Only `pass_time` moves them on together."""

    def __init__(self) -> None:
        self.now = START
        self.ours_s = 1000.0
        self.way_s = 0.0
        self.away = False
        self.asked = threading.Event()

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.ours_s += seconds

    def ask(self) -> datetime:
        self.asked.set()
        if self.away:
            raise Unavailable("The database is away.")
        self.pass_time(self.way_s)
        told = self.now
        self.pass_time(self.way_s)
        return told


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def clock(database: Database) -> DatabaseClock:
    return DatabaseClock(database.ask, monotonic=lambda: database.ours_s)


def test_it_tells_the_databases_time_between_two_questions(database: Database, clock: DatabaseClock) -> None:
    assert clock.now() == START
    database.pass_time(17.5)
    assert clock.now() == START + timedelta(seconds=17.5)
    assert clock.monotonic() == 1017.5


def test_half_of_the_way_is_counted(database: Database, clock: DatabaseClock) -> None:
    database.way_s = 0.2
    assert clock.now() == database.now


def test_a_step_of_the_databases_clock_is_followed_at_the_next_question_and_told(
    database: Database, clock: DatabaseClock, caplog: pytest.LogCaptureFixture
) -> None:
    assert clock.now() == START
    database.now += timedelta(hours=1)
    assert clock.now() == START
    with caplog.at_level(logging.WARNING, "tidegate.clock"):
        clock.sync()
    assert clock.now() == START + timedelta(hours=1)
    assert "moved by 3600.0 s" in caplog.text


def test_while_the_database_is_away_it_runs_on(database: Database, clock: DatabaseClock) -> None:
    clock.sync()
    database.away = True
    database.pass_time(100)
    with pytest.raises(Unavailable):
        clock.sync()
    assert clock.now() == START + timedelta(seconds=100)


def test_a_doubt_asks_again_at_once(database: Database, clock: DatabaseClock) -> None:
    clock.start()
    database.asked.clear()
    clock.doubt()
    assert database.asked.wait(10)
    clock.stop()


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 0.4)), max_size=20))
def test_it_is_never_off_by_more_than_the_way(passing: list[tuple[float, float]]) -> None:
    database = Database()
    clock = DatabaseClock(database.ask, monotonic=lambda: database.ours_s)
    for passes_s, way_s in passing:
        database.way_s = way_s
        clock.sync()
        database.pass_time(passes_s)
        assert abs((clock.now() - database.now).total_seconds()) <= way_s + 1e-3
