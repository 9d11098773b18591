"""Following a job on standard error: one live line on a terminal, a plain line for each change elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import TextIO

from tidegate.client.job import Job
from tidegate.ui.cli.output import clean, count, duration, size

_LIVE_WAIT_S = 0.2
_PLAIN_WAIT_S = 10.0
_BAR_CELLS = 24
_QUEUE_PATIENCE_S = 1.0
"""In a pipe, waits shorter than this are not worth a line."""


def follow(job: Job, *, quiet: bool = False) -> Job:
    """Wait until the job has ended and say meanwhile how it stands. `quiet`: say nothing."""
    if quiet:
        return job.wait(raise_on_failure=False)
    stream = sys.stderr
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        return _follow_live(job, stream)
    return _follow_plainly(job, stream)


def _follow_live(job: Job, stream: TextIO) -> Job:
    begun: float | None = None
    try:
        while not job.finished:
            job.refresh(_LIVE_WAIT_S)
            if job.status == "RUNNING" and begun is None:
                begun = time.monotonic()
            _draw(
                stream,
                state_line(job, None if begun is None else time.monotonic() - begun, _coloured(stream)),
            )
    finally:
        stream.write("\r\x1b[K")
        stream.flush()
    return job


def _draw(stream: TextIO, line: str) -> None:
    # Cutting is done before colours are put in, see `state_line`.
    stream.write(f"\r{line}\x1b[K")
    stream.flush()


def _coloured(stream: TextIO) -> bool:
    return not os.environ.get("NO_COLOR") and stream.isatty()


def state_line(job: Job, running_s: float | None, coloured: bool, width: int | None = None) -> str:
    """How a job stands, in one line of the terminal's width."""
    columns = width or shutil.get_terminal_size().columns
    if job.status != "RUNNING":
        return _cut(waiting_sentence(job), columns)
    share = job.progress
    tail = "  ".join(filter(None, (f"{share:4.0%}" if share is not None else None, duration(running_s))))
    head = f"Job {job.id} runs  "
    cells = min(_BAR_CELLS, columns - len(head) - len(tail) - 3)
    if share is None or cells < 5:
        return _cut(f"{head}{tail}", columns)
    return f"{head}{_bar(share, cells, coloured)}  {tail}"


def _bar(share: float, cells: int, coloured: bool) -> str:
    done = min(int(share * cells), cells)
    full, rest = ("━", "━" if coloured else "─") if _can_draw() else ("#", "-")
    if not coloured:
        return full * done + rest * (cells - done)
    return f"\x1b[36m{full * done}\x1b[90m{rest * (cells - done)}\x1b[0m"


def bar(share: float, cells: int) -> str:
    """A bar of so many cells, coloured where standard error is a terminal that wants it."""
    return _bar(share, cells, _coloured(sys.stderr))


def _can_draw() -> bool:
    return "utf" in (sys.stderr.encoding or "").lower()


def _cut(text: str, columns: int) -> str:
    return text if len(text) < columns else text[: max(columns - 2, 1)] + "…"


def waiting_sentence(job: Job) -> str:
    """That a job waits, where in its line, and why."""
    why = job.explanation
    if why.code is None:
        return f"Job {job.id} waits{f' at place {why.position}' if why.position else ''}."
    place = f"Place {why.position}: " if why.position else ""
    return f"{place}{clean(why.text)}"


def _follow_plainly(job: Job, stream: TextIO) -> Job:
    job.refresh(_QUEUE_PATIENCE_S)
    said = ""
    while not job.finished:
        line = f"Job {job.id} runs." if job.status == "RUNNING" else waiting_sentence(job)
        if line != said:
            print(line, file=stream, flush=True)
            said = line
        job.refresh(_PLAIN_WAIT_S if job.status == "RUNNING" else _QUEUE_PATIENCE_S)
    return job


def ending_sentence(job: Job) -> str:
    """That a job succeeded, with what it took."""
    usage, asked = job.usage, job.request.get("memory_bytes")
    took = duration(usage.get("wall_seconds"))
    parts = [f"Job {job.id} succeeded{f' in {took}' if took else ''}"]
    result = job.document.get("result") or {}
    if result.get("row_count") is not None:
        parts.append(f"{count(result['row_count'], 'row')} × {count(result.get('column_count'), 'column')}")
    if usage.get("peak_memory_bytes") is not None:
        limit = f" of {size(asked)}" if asked else ""
        parts.append(f"peak memory {size(usage['peak_memory_bytes'])}{limit}")
    return ", ".join(parts) + "."
