"""Following an ingest job: a bar for each file on a terminal, a line for each that has ended elsewhere."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from tidegate.client.job import Job
from tidegate.client.shapes import Document
from tidegate.ui.cli.output import clean, terminal_columns
from tidegate.ui.cli.progress import bar, waiting_sentence

_LIVE_WAIT_S = 0.25
_PLAIN_WAIT_S = 5.0
_MOST_BARS = 12
_BAR_CELLS = 20
_DONE = {"succeeded": "done", "failed": "FAILED", "cancelled": "cancelled"}


def follow_files(job: Job, *, quiet: bool) -> None:
    """Wait until the job has ended and say meanwhile how its files stand."""
    if quiet:
        job.wait(raise_on_failure=False)
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        _follow_live(job, sys.stderr)
    else:
        _follow_plainly(job, sys.stderr)


def _follow_live(job: Job, stream: TextIO) -> None:
    drawn = 0
    try:
        while not job.finished:
            job.refresh(_LIVE_WAIT_S)
            lines = task_lines(list(job.tasks()), terminal_columns())
            stream.write(_over(drawn) + "".join(f"{line}\x1b[K\n" for line in lines))
            stream.flush()
            drawn = len(lines)
    finally:
        stream.write(_over(drawn) + "\x1b[J")
        stream.flush()


def _over(lines: int) -> str:
    """To the beginning of what was drawn before."""
    return f"\x1b[{lines}A\r" if lines else "\r"


def task_lines(tasks: list[Document], columns: int) -> list[str]:
    """A line for each of the first files that have not ended, and one for how many have."""
    ended = sum(task["state"] in _DONE for task in tasks)
    running = [task for task in tasks if task["state"] == "running"]
    waiting = [task for task in tasks if task["state"] in ("queued", "scheduled")]
    shown = (running + waiting)[:_MOST_BARS]
    room = max(columns - _BAR_CELLS - 10, 10)
    return [f"{ended} of {len(tasks)} done", *(_task_line(task, room) for task in shown)]


def _task_line(task: Document, room: int) -> str:
    name = clean(task["name"])
    name = name if len(name) <= room else name[: room - 1] + "…"
    share = task.get("progress")
    if task["state"] != "running":
        return f"{name.ljust(room)} waits"
    return f"{name.ljust(room)} {bar(share or 0.0, _BAR_CELLS)} {share or 0.0:4.0%}"


def _follow_plainly(job: Job, stream: TextIO) -> None:
    said: set[str] = set()
    waits = ""
    job.refresh(1.0)
    while not job.finished:
        if job.status != "RUNNING" and (why := waiting_sentence(job)) != waits:
            print(why, file=stream, flush=True)
            waits = why
        _tell_ended(job, said, stream)
        job.refresh(_PLAIN_WAIT_S if job.status == "RUNNING" else 1.0)
    _tell_ended(job, said, stream)


def _tell_ended(job: Job, said: set[str], stream: TextIO) -> None:
    for task in job.tasks():
        if task["state"] in _DONE and task["task_id"] not in said:
            said.add(task["task_id"])
            print(f"{clean(task['name'])}: {_DONE[task['state']]}", file=stream, flush=True)
