"""The words and lines of the command line, without a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.client.job import Job
from tidegate.ui.cli.output import clean, count, duration
from tidegate.ui.cli.progress import ending_sentence, state_line


def job(**document: object) -> Job:
    """A job that nobody asks anything of: it needs no client."""
    return Job(None, {"job_id": "81", **document})  # type: ignore[arg-type]


@given(st.floats(0, 1), st.integers(1, 200), st.floats(0, 1e6))
def test_the_live_line_always_fits_the_terminal(share, width, running_s):
    line = state_line(job(job_status="RUNNING", progress=share), running_s, coloured=False, width=width)
    assert len(line) <= max(width, 2)


def test_the_live_line_of_a_waiting_job_says_place_and_reason():
    waiting = {"code": "queue_cap", "sentence": "Job 81 waits: queue 'a' runs 3 of 3.", "position": 2}
    line = state_line(job(job_status="QUEUED", waiting=waiting), None, coloured=False, width=80)
    assert line == "Place 2: Job 81 waits: queue 'a' runs 3 of 3."
    assert state_line(job(job_status="QUEUED", waiting=waiting), None, coloured=False, width=20).endswith("…")


def test_the_live_line_of_a_running_job_has_share_and_time():
    line = state_line(job(job_status="RUNNING", progress=0.5), 12.0, coloured=False, width=80)
    assert "50%" in line
    assert line.endswith("12 s")
    assert "12 s" in state_line(job(job_status="RUNNING"), 12.0, coloured=False, width=80)


def test_the_end_is_told_with_what_it_took():
    ended = job(
        job_status="SUCCEEDED",
        usage={"wall_seconds": 1.25, "peak_memory_bytes": 2**20},
        request={"memory_bytes": 2**28},
        result={"row_count": 1, "column_count": 3},
    )
    assert (
        ending_sentence(ended)
        == "Job 81 succeeded in 1.2 s, 1 row × 3 columns, peak memory 1 MiB of 256 MiB."
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.01 s"),
        (0.021, "0.021 s"),
        (9.4, "9.4 s"),
        (59, "59 s"),
        (60, "1 min"),
        (185, "3 min 5 s"),
        (7440, "2 h 4 min"),
        (3600, "1 h"),
    ],
)
def test_durations_are_for_people(seconds, text):
    assert duration(seconds) == text


def test_words_for_counts_and_for_text_that_is_no_line():
    assert [count(n, "row") for n in (1, 12345, None)] == [
        "1 row",
        "12,345 rows",
        "an unknown number of rows",
    ]
    assert clean("a\tb\nc\x1b[31m\x9b") == "a b⏎c\\x1b[31m\\x9b"
