"""`tidegate sql`: a query as a job, with its progress and its first rows."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from tidegate.client.client import Client
from tidegate.client.job import Job, Result
from tidegate.client.shapes import job_failed
from tidegate.errors import NotFound, TidegateError
from tidegate.ui.cli.connection import client
from tidegate.ui.cli.exits import INTERRUPTED
from tidegate.ui.cli.fields import labels_of
from tidegate.ui.cli.options import (
    Cpus,
    DataDir,
    Disk,
    Json,
    Labels,
    Memory,
    Priority,
    Queue,
    RowFormat,
    TimeLimit,
    Url,
)
from tidegate.ui.cli.output import clean, print_json, print_rows, size
from tidegate.ui.cli.progress import ending_sentence, follow

DEFAULT_ROWS = 20
_GLOB = "*?["

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def sql(
    text: Annotated[
        str | None,
        typer.Argument(
            metavar="SQL", help="The query; '-' reads it from standard input.", show_default=False
        ),
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Read the query from this file.")] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--source", metavar="NAME=PATH", help="Register a file, glob or folder first. Repeatable."
        ),
    ] = None,
    result_name: Annotated[
        str | None, typer.Option("--result-name", help="Source to register the result as.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="A name for the job.")] = None,
    queue: Queue = None,
    priority: Priority = None,
    cpus: Cpus = None,
    memory: Memory = None,
    disk: Disk = None,
    label: Labels = None,
    timeout: TimeLimit = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the job's id and do not wait.")] = False,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=0, help="Rows to show; default: 20 in a table and in --json, else all."),
    ] = None,
    format: Annotated[RowFormat, typer.Option("--format", help="How rows are printed.")] = RowFormat.TABLE,
    json: Json = False,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Run a query as a job and show its first rows.

    Rows go to standard output, everything else to standard error. Ctrl-C cancels the job. When no server runs, one is
    started for this query.
    """
    query = _query_text(text, file)
    sources = [_source(given) for given in source or ()]
    roots = sorted({str(_root(path)) for _, path in sources}) or None
    fields: dict[str, Any] = {
        "name": name,
        "queue": queue,
        "priority": priority,
        "cpus": cpus,
        "memory": memory,
        "disk": disk,
        "labels": labels_of(label),
        "timeout_s": timeout,
        "result_name": result_name,
    }
    with client(url, data_dir, may_start=not no_wait, start_settings={"source_roots": roots}) as server:
        _register(server, sources)
        job = server.submit("sql", sql=query, **fields)
        if no_wait:
            print_json(job.document) if json else print(job.id)
            return
        _wait_or_cancel(job, quiet=json and not sys.stderr.isatty())
        if job.status != "SUCCEEDED":
            raise job_failed(job.document)
        _show(job, format, limit, json)


def _query_text(text: str | None, file: Path | None) -> str:
    if (text is None) == (file is None):
        raise typer.BadParameter("Give the query as an argument, or a file with -f.", param_hint="SQL")
    if file is not None:
        try:
            return file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"{file} cannot be read: {error}.", param_hint="-f") from None
    assert text is not None
    return sys.stdin.read() if text == "-" else text


def _source(given: str) -> tuple[str, str]:
    name, equals, path = given.partition("=")
    if not (name and equals and path):
        raise typer.BadParameter(f"{given!r} is not NAME=PATH.", param_hint="--source")
    return name, os.path.abspath(os.path.expanduser(path))


def _root(path: str) -> Path:
    """The folder that holds all of a path's files: above the first part with a wild card."""
    parts = Path(path).parts
    fixed = next(
        (index for index, part in enumerate(parts) if any(char in part for char in _GLOB)), len(parts)
    )
    folder = Path(*parts[:fixed])
    return folder if fixed < len(parts) or folder.is_dir() else folder.parent


def _register(server: Client, sources: Sequence[tuple[str, str]]) -> None:
    """Register what is not registered yet; the same name for the same path is fine."""
    for name, path in sources:
        try:
            known = server.sources.get(name).path
        except NotFound:
            known = None
        if known is None or os.path.realpath(known) != os.path.realpath(path):
            server.sources.add(name, path)


def _wait_or_cancel(job: Job, *, quiet: bool) -> None:
    try:
        follow(job, quiet=quiet)
    except KeyboardInterrupt:
        print(f"Interrupted: cancelling job {job.id}.", file=sys.stderr)
        job.cancel()
        job.wait(5, raise_on_failure=False)
        print(f"Job {job.id} is {job.status.lower()}.", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None


def _show(job: Job, format: RowFormat, limit: int | None, as_json: bool) -> None:
    result = job.refresh().result()
    if as_json:
        print_json({**job.document, "rows": _some(result, DEFAULT_ROWS if limit is None else limit)})
        return
    shown = DEFAULT_ROWS if limit is None and format is RowFormat.TABLE else limit
    print_result(result, format, shown)
    sys.stdout.flush()
    print(ending_sentence(job), file=sys.stderr)
    if result.path is not None:
        extent = f" ({size(result.size_bytes)})" if result.size_bytes is not None else ""
        print(f"Source {clean(result.source)}: {clean(result.path)}{extent}", file=sys.stderr)


def _some(result: Result, limit: int) -> list[dict[str, Any]]:
    return result.preview(limit).dicts() if limit else []


def print_result(result: Result, format: RowFormat, limit: int | None) -> None:
    """The rows of a result, the first `limit` of them or all."""
    if limit == 0:
        return
    print_rows(result.columns, result if limit is None else _first(result, limit), format)
    total = result.row_count
    if format is RowFormat.TABLE and limit is not None and total is not None and total > limit:
        sys.stdout.flush()
        print(f"The first {limit:,} of {total:,} rows; --limit shows more.", file=sys.stderr)


def _first(result: Result, limit: int) -> Iterator[dict[str, Any]]:
    """The first rows: by the server's preview, or of the whole when there are more than a preview may hold."""
    try:
        return iter(result.preview(limit).dicts())
    except TidegateError:
        return islice(iter(result), limit)


__all__ = ["app", "print_result"]
