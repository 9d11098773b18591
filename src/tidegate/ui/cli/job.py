"""`tidegate job ...`: one job."""

from __future__ import annotations

import json as json_format
import shlex
import sys
from collections.abc import Iterator
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from tidegate.client.job import Job
from tidegate.client.shapes import Document, job_failed
from tidegate.client.views import JobView
from tidegate.core.states import TaskState
from tidegate.ui.cli.connection import client
from tidegate.ui.cli.options import DataDir, JobId, Json, RowFormat, Url
from tidegate.ui.cli.output import clean, count, duration, print_facts, print_json, print_table, size
from tidegate.ui.cli.progress import ending_sentence, follow
from tidegate.ui.cli.sql import DEFAULT_ROWS, print_result

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Look at one job, wait for it, cancel it.",
)

TaskNumber = Annotated[
    int | None, typer.Option("--task", min=1, help="Number of the task; default: the first.")
]


_LONGEST_FACTS = 80


class ResultFormat(StrEnum):
    """How a result is printed or written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"


@app.command()
def show(job_id: JobId, json: Json = False, url: Url = None, data_dir: DataDir = None) -> None:
    """Show a job: state, request, use, end, result."""
    with client(url, data_dir) as server:
        job = server.job(job_id)
    if json:
        print_json(job.document)
        return
    print_facts(facts_of(job), title=f"Job {job.id}")
    result = job.document.get("result") or {}
    if result.get("columns"):
        print()
        print_table(("Column", "Type"), [(column["name"], column["type"]) for column in result["columns"]])


def facts_of(job: JobView) -> Iterator[tuple[str, Any]]:
    """Names and values of all that is known about a job."""
    document, asked, used = job.document, job.request, job.usage
    result = document.get("result") or {}
    yield "status", job.status
    yield "name", job.name
    yield "kind", job.kind
    yield "queue", f"{job.queue}, priority {job.priority}"
    yield "created", document.get("created_at")
    yield "started", document.get("started_at")
    yield "finished", document.get("finished_at")
    yield "progress", None if job.progress is None else f"{job.progress:.0%}"
    yield "waits", job.explanation.text if document.get("waiting") else None
    yield "may start", (document.get("waiting") or {}).get("expected_start_at")
    yield "asked", _asked(asked, document.get("timeout_s"))
    yield "used", _used(used)
    yield "ended by", _ending(job)
    yield "result", _result(result)
    yield "file", result.get("path")
    yield "sql", document.get("sql")
    yield "command", shlex.join(document["argv"]) if document.get("argv") else None
    yield "function", document.get("function")


def _asked(asked: Any, timeout_s: float | None) -> str | None:
    if not asked:
        return None
    parts = (
        f"{asked['cpus']:g} CPU{'' if asked['cpus'] == 1 else 's'}",
        f"memory {size(asked['memory_bytes'])}",
        f"disk {size(asked['disk_bytes'])}",
    )
    return ", ".join(parts) + (f", {duration(timeout_s)} at most" if timeout_s else "")


def _used(used: Any) -> str | None:
    parts = (
        ("wall time", duration(used.get("wall_seconds"))),
        ("CPU time", duration(used.get("cpu_seconds"))),
        ("peak memory", size(used.get("peak_memory_bytes"))),
        ("read", size(used.get("read_bytes"))),
        ("written", size(used.get("written_bytes"))),
        ("limits held by", used.get("enforced_by")),
    )
    return ", ".join(f"{name} {amount}" for name, amount in parts if amount) or None


def _ending(job: JobView) -> str | None:
    ended = job.exit
    if not ended:
        return None
    held = f" (held by {ended['enforced_by']})" if ended.get("enforced_by") else ""
    return f"{ended.get('reason')}{held}: {ended.get('message')}"


def _result(result: Any) -> str | None:
    if not result:
        return None
    if result.get("source") is None:
        return _left_behind(result)
    extent = f"{count(result.get('row_count'), 'row')} × {count(result.get('column_count'), 'column')}"
    size_text = f", {size(result['size_bytes'])}" if result.get("size_bytes") is not None else ""
    return f"{result.get('source')}: {extent}{size_text}"


def _left_behind(result: Any) -> str | None:
    """What a command or a function gave."""
    parts = [f"exit code {result['exit_code']}"] if "exit_code" in result else []
    if result.get("value") is not None:
        parts.append(json_format.dumps(result["value"], ensure_ascii=False))
    if result.get("file_count"):
        parts.append(f"{count(result['file_count'], 'file')}, {size(result['size_bytes'])}")
    return ", ".join(parts) or None


@app.command()
def explain(job_id: JobId, json: Json = False, url: Url = None, data_dir: DataDir = None) -> None:
    """Say why a job waits, or why it ended, with numbers."""
    with client(url, data_dir) as server:
        job = server.job(job_id)
    why = job.explanation
    if json:
        print_json(
            {
                "job_id": why.job_id,
                "job_status": why.status,
                "code": why.code,
                "sentence": why.text,
                "numbers": why.numbers,
                "position": why.position,
                "expected_start_at": why.expected_start_at,
                "expected_start_basis": why.expected_start_basis,
            }
        )
        return
    print(clean(why.text))
    if why.position:
        print(f"Place in queue {clean(job.queue)}: {why.position}.")
    if why.expected_start_at or why.expected_start_basis:
        when = f"May start at {why.expected_start_at:%H:%M:%S} UTC. " if why.expected_start_at else ""
        print(f"{when}{why.expected_start_basis or ''}".strip())


@app.command()
def cancel(job_id: JobId, json: Json = False, url: Url = None, data_dir: DataDir = None) -> None:
    """End a job: at once while it waits, within 2 s while it runs."""
    with client(url, data_dir) as server:
        job = server.job(job_id)
        was_finished = job.finished
        if not was_finished:
            job.cancel().wait(5, raise_on_failure=False)
    if json:
        print_json(job.document)
    elif was_finished:
        print(f"Job {job.id} had ended before: {job.status}.")
    else:
        print(f"Job {job.id} is {job.status.lower()}.")


@app.command()
def logs(
    job_id: JobId,
    task: TaskNumber = None,
    attempt: Annotated[
        int | None, typer.Option("--attempt", min=1, help="Which try; default: the newest.")
    ] = None,
    tail: Annotated[int | None, typer.Option("--tail", min=1, help="Only the last lines.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what it prints, until its end.")
    ] = False,
    json: Json = False,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Print what a job has printed."""
    if follow and (json or tail is not None):
        raise typer.BadParameter(
            "It goes with neither --json nor --tail: everything is printed, from the beginning.",
            param_hint="--follow",
        )
    with client(url, data_dir) as server:
        if follow:
            write_output(server.job(job_id), task=task, attempt=attempt)
            return
        text = server.job(job_id).logs(task=task, attempt=attempt, tail=tail)
    if json:
        print_json({"job_id": job_id, "text": text})
    else:
        sys.stdout.write(text)


def write_output(job: Job, *, task: int | None = None, attempt: int | None = None) -> None:
    """Write what a job prints to standard output, as it comes, until its end."""
    for text in job.follow_logs(task=task, attempt=attempt):
        sys.stdout.write(text)
        sys.stdout.flush()


@app.command()
def result(
    job_id: JobId,
    format: Annotated[
        ResultFormat | None,
        typer.Option("--format", help="How to print or write it; default: a table, or by the file's ending."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the whole result to this file.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Rows to print; 20 in a table, else all.")
    ] = None,
    json: Json = False,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Print a job's result, or write it to a file. A job that has not ended is waited for."""
    with client(url, data_dir) as server:
        job = server.job(job_id)
        follow(job, quiet=json or job.finished)
        found = job.result()
        if output is not None:
            found.download(output, format.value if format and format is not ResultFormat.TABLE else None)
            said = {"job_id": job.id, "file": str(output), "size_bytes": output.stat().st_size}
            print_json(said) if json else print(f"{output}: {size(output.stat().st_size)}")
        elif json:
            rows = found.preview(DEFAULT_ROWS if limit is None else limit).dicts()
            print_json({**found.document, "job_id": job.id, "rows": rows})
        elif format is ResultFormat.PARQUET:
            raise typer.BadParameter("Parquet is no text; name a file with -o.", param_hint="--format")
        else:
            chosen = RowFormat(format.value) if format else RowFormat.TABLE
            print_result(
                found, chosen, DEFAULT_ROWS if limit is None and chosen is RowFormat.TABLE else limit
            )


@app.command()
def files(
    job_id: JobId,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Download this one.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write it; default: its own name, here.")
    ] = None,
    json: Json = False,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """List the files that a job has left behind, or download one."""
    with client(url, data_dir) as server:
        job = server.job(job_id)
        if name is not None:
            path = job.download_file(name, output or Path(Path(name).name))
            said = {"job_id": job.id, "file": str(path), "size_bytes": path.stat().st_size}
            print_json(said) if json else print(f"{path}: {size(path.stat().st_size)}")
            return
        found = list(job.files())
    if json:
        print_json(found)
    else:
        print_table(
            ("File", "Size"), [(file["name"], size(file["size_bytes"])) for file in found], right=(1,)
        )


@app.command()
def tasks(
    job_id: JobId,
    state: Annotated[TaskState | None, typer.Option("--state", help="Only tasks in this state.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most tasks to list.")] = 50,
    json: Json = False,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """List the tasks of a job: state, tries, time, why they failed. With --json one JSON object a line."""
    with client(url, data_dir) as server:
        job = server.job(job_id)
        found = islice(job.tasks(state.value if state else None), limit)
        if json:
            for task in found:
                print(json_format.dumps(task))
            return
        print_table(
            ("Task", "Name", "State", "Tries", "Took", "Outcome"),
            [_task_row(task) for task in found],
            right=(3, 4),
        )


def _task_row(task: Document) -> tuple[str | None, ...]:
    tries = task["attempts"]
    took = duration(tries[-1]["usage"].get("wall_seconds")) if tries else None
    why = (task.get("exit") or {}).get("message")
    facts = task.get("result")
    outcome = why or (json_format.dumps(facts, ensure_ascii=False)[:_LONGEST_FACTS] if facts else None)
    return task["task_id"], task["name"], task["state"], str(len(tries)), took, outcome


@app.command()
def wait(
    job_id: JobId,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0, help="Give up after so many seconds.")
    ] = None,
    json: Json = False,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Wait until a job has ended; the exit code says how."""
    with client(url, data_dir) as server:
        job = server.job(job_id)
        if timeout is None:
            follow(job, quiet=json)
        else:
            job.wait(timeout, raise_on_failure=False)
    if json:
        print_json(job.document)
    if job.status != "SUCCEEDED":
        raise job_failed(job.document)
    if not json:
        print(ending_sentence(job))


@app.command()
def events(
    job_id: JobId,
    after: Annotated[int, typer.Option("--after", min=0, help="Only events behind this number.")] = 0,
    json: Json = False,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Print what happens to a job, live until its end. With --json one JSON object a line."""
    with client(url, data_dir) as server:
        for event in server.job(job_id).events(after):
            if json:
                print(json_format.dumps(event.document), flush=True)
            elif event.type != "progress" or sys.stdout.isatty():
                at = f"{event.at:%H:%M:%S}" if event.at else "--:--:--"
                print(f"{at}  {clean(event.type):<16}  {clean(event.message)}", flush=True)
