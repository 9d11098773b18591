"""`tidegate jobs`: a list of jobs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, TypeAlias

import typer

from tidegate.client.job import Job
from tidegate.ui.cli.connection import client
from tidegate.ui.cli.options import DataDir, Json, Queue, Url
from tidegate.ui.cli.output import clean, duration, print_json, print_table, size, terminal_columns

app = typer.Typer(rich_markup_mode=None, add_completion=False)

HEADERS = ("Job", "Status", "Priority", "Queue", "Name", "Age", "Ran", "Peak", "Note")
_PAGE = 200
_RIGHT = ("Job", "Age", "Ran", "Peak")
_ROOM_FOR_ALL = 105
_LEFT_OUT = ((90, ("Priority", "Queue", "Ran")), (_ROOM_FOR_ALL, ("Priority", "Queue")))
"""Below so many columns of a terminal, these are left out."""

Row: TypeAlias = tuple[str | None, ...]


@app.command()
def jobs(
    status: Annotated[
        str | None, typer.Option("--status", help="Only jobs of this status, such as RUNNING or failed.")
    ] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="Only jobs of this kind.")] = None,
    queue: Queue = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most jobs to list.")] = 20,
    json: Json = False,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """List jobs, the newest first."""
    with client(url, data_dir) as server:
        wanted = status.upper() if status else None
        found = server.jobs(status=wanted, kind=kind, queue=queue, page_size=min(limit, _PAGE))
        listed = list(islice(found, limit))
    if json:
        print_json([job.document for job in listed])
        return
    now = datetime.now(UTC)
    headers, rows, right, cut = _fitting([_row(job, now) for job in listed])
    print_table(headers, rows, right=right, cut=cut)


def _fitting(rows: Sequence[Row]) -> tuple[tuple[str, ...], list[Row], list[int], int]:
    """Headers and rows with as many columns as the reader has room for, those that stand right, that which may be cut."""
    columns = terminal_columns() if sys.stdout.isatty() else _ROOM_FOR_ALL
    left_out = next((names for room, names in _LEFT_OUT if columns < room), ())
    kept = [index for index, name in enumerate(HEADERS) if name not in left_out]
    headers = tuple(HEADERS[index] for index in kept)
    right = [place for place, name in enumerate(headers) if name in _RIGHT]
    return headers, [tuple(row[index] for index in kept) for row in rows], right, headers.index("Name")


def _row(job: Job, now: datetime) -> Row:
    created = job.created_at
    return (
        job.id,
        job.status,
        job.priority,
        job.queue,
        job.name,
        duration((now - created).total_seconds()) if created else None,
        duration(job.usage.get("wall_seconds")),
        size(job.usage.get("peak_memory_bytes")),
        _note(job),
    )


def _note(job: Job) -> str | None:
    """What one wants to know at a glance: how far it is, why it waits, why it failed, what it made."""
    if job.status == "RUNNING":
        return None if job.progress is None else f"{job.progress:.0%}"
    if job.exit:
        return str(job.exit.get("code") or job.exit.get("reason"))
    if not job.finished:
        return job.explanation.code
    result = job.document.get("result") or {}
    return clean(result["source"]) if result.get("source") else None
