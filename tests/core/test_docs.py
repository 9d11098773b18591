"""The documents on scheduling say what the code says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import pytest

from tidegate.core.plan import ReasonCode
from tidegate.core.states import (
    ATTEMPT_TRANSITIONS,
    TASK_TRANSITIONS,
    AttemptState,
    ExitReason,
    JobStatus,
    TaskState,
)

DOCS = Path(__file__).parents[2] / "docs"
SCHEDULING = (DOCS / "scheduling.md").read_text()
GLOSSARY = (DOCS / "glossary.md").read_text()


def table(text: str, header: str) -> list[list[str]]:
    """The rows below the table header that begins like this."""
    after = text.split(f"| {header} |", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in after.splitlines()[2:]]


def codes(cell: str) -> list[str]:
    return re.findall(r"`([A-Za-z_]+)`", cell)


@pytest.mark.parametrize(
    ("header", "transitions", "first"),
    [
        ("a task that is", TASK_TRANSITIONS, [TaskState.SCHEDULED, TaskState.QUEUED]),
        ("an attempt that is", ATTEMPT_TRANSITIONS, [AttemptState.STARTING]),
    ],
)
def test_the_lives_are_those_of_the_transition_tables(
    header: str, transitions: Mapping[StrEnum, frozenset[StrEnum]], first: list[StrEnum]
):
    told = {row[0].strip("`"): codes(row[1]) for row in table(SCHEDULING, header)}
    expected: dict[str, list[StrEnum]] = {"new": first}
    for old, news in transitions.items():
        expected[old] = [new for new in transitions if new in news]
    assert told == expected


def test_every_reason_to_wait_is_explained_once():
    assert sorted(row[0] for row in table(SCHEDULING, "code")) == sorted(f"`{code}`" for code in ReasonCode)


def test_every_exit_reason_says_what_follows_once():
    told = [code for row in table(SCHEDULING, "exit reason") for code in codes(row[0])]
    assert sorted(told) == sorted(ExitReason)


def test_the_glossary_has_every_job_status_and_every_exit_reason():
    assert [code for row in table(GLOSSARY, "job_status") for code in codes(row[0])] == list(JobStatus)
    assert [code for row in table(GLOSSARY, "reason") for code in codes(row[0])] == list(ExitReason)


def test_no_word_stands_twice_in_the_glossary():
    words = [word for row in table(GLOSSARY, "word") for word in row[0].split(", ")]
    assert len(words) == len(set(words)) > 30
