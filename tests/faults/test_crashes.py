"""Crashes, cancels and memory bombs on whole servers: short runs of the benchmarks that claim something about them."""

from __future__ import annotations

import random

import pytest

from benchmarks import bomb_flood, bombs, cancels, faults
from benchmarks.figures import Figure
from benchmarks.servers import running, tidegate

pytestmark = pytest.mark.slow


def broken(figures: list[Figure]) -> list[str]:
    """Claims that do not hold, with what was found. Figures of time are left to the benchmarks."""
    assert any(figure.claim for figure in figures)
    return [f"{figure.name}: {figure.note}" for figure in figures if figure.verdict == "broken"]


def test_killed_servers_lose_no_job_and_leave_nothing_behind(tmp_path):
    assert broken(faults.crash_many(tmp_path, 5, random.Random(5))) == []


def test_what_was_cancelled_ends_soon_and_never_succeeds():
    with running(tidegate, log_level="error", max_concurrent=6) as server:
        assert broken(cancels.judge(*cancels.cancel_many(server, 60, random.Random(60)))) == []


@pytest.mark.parametrize("rung", bombs.RUNGS)
def test_memory_bombs_end_with_the_numbers_while_neighbours_go_on(tmp_path, rung):
    figures = bombs.in_sandboxes(rung, tmp_path)
    if figures is None:
        pytest.skip(f"{rung} does not work on this machine")
    assert broken(figures) == []
    assert broken(bomb_flood.flood(rung, 3)) == []
