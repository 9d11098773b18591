"""Progress that workers tell and servers show."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tidegate.cache.line import RedisLine
from tidegate.cache.progress import ProgressTeller, hear_progress
from tidegate.core.job import AttemptKey
from tidegate.testing.servers import Redis

DEADLINE_S = 20.0
KEY = AttemptKey(81, 1, 2)


class Board:
    """What a server would have heard."""

    def __init__(self) -> None:
        self.figures: dict[AttemptKey, tuple[float | None, int]] = {}
        self._changed = threading.Condition()

    def moved(self, key: AttemptKey, share: float | None, peak_memory_bytes: int) -> None:
        with self._changed:
            self.figures[key] = (share, peak_memory_bytes)
            self._changed.notify_all()

    def ended(self, key: AttemptKey) -> None:
        with self._changed:
            del self.figures[key]
            self._changed.notify_all()

    def shows(self, figures: tuple[float | None, int] | None) -> bool:
        wanted = {} if figures is None else {KEY: figures}
        with self._changed:
            return self._changed.wait_for(lambda: self.figures == wanted, DEADLINE_S)


@pytest.fixture
def teller(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProgressTeller]:
    monkeypatch.setattr("tidegate.cache.progress.REPEAT_S", 0.05)
    line = RedisLine(redis.url, "progress")
    teller = ProgressTeller(line)
    teller.start()
    yield teller
    teller.close()
    line.close()


@pytest.fixture
def board(redis: Redis) -> Iterator[Board]:
    line = RedisLine(redis.url, "progress")
    board = Board()
    hear_progress(line, board)
    line.open_ears()
    yield board
    line.close()


def test_a_server_sees_how_far_an_attempt_is_and_that_it_has_ended(board: Board, teller: ProgressTeller):
    teller.moved(KEY, None, 1000)
    assert board.shows((None, 1000))
    teller.moved(KEY, 0.5, 2000)
    assert board.shows((0.5, 2000))
    teller.refused([KEY])
    teller.ended(KEY)
    assert board.shows(None)


def test_a_server_that_comes_later_is_told_again(teller: ProgressTeller, redis: Redis):
    teller.moved(KEY, 0.25, 1000)
    line = RedisLine(redis.url, "progress")
    late = Board()
    hear_progress(line, late)
    line.open_ears()
    assert late.shows((0.25, 1000))
    line.close()


def test_what_cannot_be_understood_harms_nothing(board: Board, teller: ProgressTeller, redis: Redis):
    redis.ask("PUBLISH", "progress:progress", "nonsense")
    teller.moved(KEY, 0.5, 1)
    assert board.shows((0.5, 1))
