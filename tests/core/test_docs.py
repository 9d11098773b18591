"""The documents on scheduling say what the code says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import pytest

from tidegate.core.job import (
    ATTEMPT_TRANSITIONS,
    TASK_TRANSITIONS,
    AttemptState,
    ExitReason,
    JobStatus,
    TaskState,
)
from tidegate.core.plan import ReasonCode

DOCS = Path(__file__).parents[2] / "docs"
SCHEDULING = (DOCS / "scheduling.md").read_text()
GLOSSARY = (DOCS / "glossary.md").read_text()


def diagram(transitions: Mapping[StrEnum, frozenset[StrEnum]], first: list[StrEnum]) -> str:
    """The state diagram of a transition table, states in the order of their definition."""
    states = list(transitions)
    lines = [f"    [*] --> {state}" for state in first]
    lines += [f"    {old} --> {new}" for old in states for new in states if new in transitions[old]]
    lines += [f"    {state} --> [*]" for state in states if not transitions[state]]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


def table(text: str, header: str) -> list[list[str]]:
    """The rows below the table header that begins like this."""
    after = text.split(f"| {header} |", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in after.splitlines()[2:]]


def codes(cell: str) -> list[str]:
    return re.findall(r"`([A-Za-z_]+)`", cell)


@pytest.mark.parametrize(
    ("transitions", "first"),
    [
        (TASK_TRANSITIONS, [TaskState.SCHEDULED, TaskState.QUEUED]),
        (ATTEMPT_TRANSITIONS, [AttemptState.STARTING]),
    ],
    ids=["task", "attempt"],
)
def test_the_drawn_lives_are_the_transition_tables(transitions, first):
    assert diagram(transitions, first) in SCHEDULING


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
