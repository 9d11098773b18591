"""`tidegate ingest`: Excel and CSV files into a database or a data source, with a bar for each file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tidegate.client.client import Client
from tidegate.client.job import Job
from tidegate.client.shapes import Document, job_failed
from tidegate.core.resources import format_bytes
from tidegate.errors import NotFound
from tidegate.ui.cli.connection import client
from tidegate.ui.cli.exits import INTERRUPTED, JOB_FAILED
from tidegate.ui.cli.ingest_progress import follow_files
from tidegate.ui.cli.options import Cpus, DataDir, Json, Memory, Priority, Queue, TimeLimit, Url
from tidegate.ui.cli.output import NOTHING, clean, count, print_json, print_table

_GLOB = "*?["

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def ingest(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILES...", help="Excel and CSV files, globs, folders.", show_default=False),
    ],
    into: Annotated[
        str | None,
        typer.Option(
            "--into",
            metavar="URL|NAME",
            help="Database to load into; default: a data source of Tidegate's own.",
        ),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option("--table", help="Table; {file} and {sheet} may stand in it. Default: the file's name."),
    ] = None,
    mode: Annotated[str | None, typer.Option("--mode", help="append, replace or upsert.")] = None,
    key: Annotated[
        list[str] | None, typer.Option("--key", help="Column that tells rows apart. Repeatable.")
    ] = None,
    sheet: Annotated[
        list[str] | None, typer.Option("--sheet", help="Sheet, by its name or place. Repeatable.")
    ] = None,
    all_sheets: Annotated[bool, typer.Option("--all-sheets", help="All visible sheets with rows.")] = False,
    header: Annotated[
        str | None, typer.Option("--header", help="auto, none, or the row of the header, from 1.")
    ] = None,
    types: Annotated[
        list[str] | None, typer.Option("--type", metavar="COLUMN=TYPE", help="A column's type. Repeatable.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Load also what was loaded before.")] = False,
    add_columns: Annotated[
        bool, typer.Option("--add-columns", help="Add columns that the database's table does not have.")
    ] = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="Show columns and rows, and load nothing.")
    ] = False,
    queue: Queue = None,
    priority: Priority = None,
    cpus: Cpus = None,
    memory: Memory = None,
    timeout: TimeLimit = None,
    json: Json = False,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Load Excel and CSV files into a database or a data source of Tidegate's own.

    Each file is loaded whole or not at all, and the others also when one fails. A closing table goes to standard output,
    everything else to standard error. The same file into the same table is loaded once. When no server runs, one is started
    for this.
    """
    options = {
        "sheets": _sheets(sheet, all_sheets),
        "header": int(header) if header is not None and header.isdigit() else header,
        "types": _types(types),
    }
    fields: dict[str, Any] = {
        **options,
        "mode": mode,
        "keys": key or None,
        "again": again or None,
        "add_columns": add_columns or None,
        "queue": queue,
        "priority": priority,
        "cpus": cpus,
        "memory": memory,
        "timeout_s": timeout,
    }
    paths = [os.path.abspath(os.path.expanduser(file)) for file in files]
    with client(url, data_dir, may_start=True, start_settings=_settings(paths, into)) as server:
        if preview:
            _preview(server, paths, options, as_json=json)
            return
        job = server.ingest(paths, into=_absolute_url(into), table=table, **fields)
        _wait_or_cancel(job, quiet=json and not sys.stderr.isatty())
        _show(job, as_json=json)


def _sheets(names: list[str] | None, all_sheets: bool) -> str | list[str | int] | None:
    if all_sheets and names:
        raise typer.BadParameter("Give --sheet or --all-sheets, not both.", param_hint="--sheet")
    if all_sheets:
        return "all"
    return [int(name) if name.isdigit() else name for name in names] if names else None


def _types(given: list[str] | None) -> dict[str, str] | None:
    types: dict[str, str] = {}
    for text in given or ():
        column, equals, kind = text.rpartition("=")
        if not (column and equals and kind):
            raise typer.BadParameter(f"{text!r} is not COLUMN=TYPE.", param_hint="--type")
        types[column] = kind
    return types or None


def _settings(paths: list[str], into: str | None) -> dict[str, Any]:
    """For a server that is started for this: it may read these files and write this SQLite file, and nothing else."""
    roots = sorted({str(_root(path)) for path in paths})
    written = _sqlite_file(into)
    return {"source_roots": roots, "target_roots": [os.path.dirname(written)] if written else None}


def _root(path: str) -> Path:
    """The folder that holds all of a path's files: above the first part with a wild card."""
    parts = Path(path).parts
    fixed = next((at for at, part in enumerate(parts) if any(char in part for char in _GLOB)), len(parts))
    if fixed == len(parts) or os.path.exists(path):
        return Path(path) if os.path.isdir(path) else Path(path).parent
    return Path(*parts[:fixed])


def _sqlite_file(into: str | None) -> str | None:
    """The path of `sqlite:///file.db`, which is relative to this folder, or `sqlite:////folder/file.db`."""
    prefix = "sqlite:///"
    if into is None or not into.startswith(prefix):
        return None
    return os.path.realpath(os.path.expanduser(into[len(prefix) :]))


def _absolute_url(into: str | None) -> str | None:
    written = _sqlite_file(into)
    return into if written is None else f"sqlite:///{written}"


def _wait_or_cancel(job: Job, *, quiet: bool) -> None:
    try:
        follow_files(job, quiet=quiet)
    except KeyboardInterrupt:
        print(f"Interrupted: cancelling job {job.id}.", file=sys.stderr)
        job.cancel()
        job.wait(5, raise_on_failure=False)
        raise typer.Exit(INTERRUPTED) from None


def _show(job: Job, *, as_json: bool) -> None:
    tasks = list(job.refresh().tasks())
    if as_json:
        print_json({**job.document, "loads": tasks})
    else:
        loads = [task for task in tasks if not _listed(task)]
        headers = ("file", "sheet", "rows", "bad rows", "table", "state")
        print_table(headers, [_line(task) for task in loads], right=(2, 3))
        sys.stdout.flush()
        _tell_faults(loads)
    if job.status == "CANCELLED":
        raise job_failed(job.document)
    if job.status != "SUCCEEDED":
        raise typer.Exit(JOB_FAILED)


def _listed(task: Document) -> bool:
    """Whether a task only looked which sheets a workbook has, and loaded nothing itself."""
    return "sheets" in (task.get("result") or {})


def _line(task: Document) -> tuple[Any, ...]:
    result = task.get("result") or {}
    if not result:
        file, _, sheet = str(task["name"]).partition(" [")
        return file, sheet.removesuffix("]") or NOTHING, NOTHING, NOTHING, NOTHING, task["state"]
    state = "empty" if result.get("empty") else "loaded before" if result.get("unchanged") else "loaded"
    rows = result.get("inserted", 0) + result.get("updated", 0)
    sheet = result.get("sheet") or NOTHING
    return (
        result.get("input"),
        sheet,
        f"{rows:,}",
        f"{result.get('bad_rows', 0):,}",
        result.get("table"),
        state,
    )


def _tell_faults(tasks: list[Document]) -> None:
    for task in tasks:
        result, why = task.get("result") or {}, task.get("exit")
        if why:
            print(f"{clean(task['name'])}: {clean(why['message'])}", file=sys.stderr)
        if result.get("bad_rows_table"):
            bad = count(result.get("bad_rows", 0), "row")
            print(
                f"{clean(task['name'])}: {bad} could not be loaded; see {clean(result['bad_rows_table'])} for sheet, row, "
                "column and reason.",
                file=sys.stderr,
            )
        for note in result.get("notes") or ():
            print(f"{clean(task['name'])}: {clean(note)}", file=sys.stderr)


def _preview(server: Client, paths: list[str], options: dict[str, Any], *, as_json: bool) -> None:
    sheets = options["sheets"]
    if sheets == "all" or len(sheets or ()) > 1:
        raise typer.BadParameter("A preview is of one sheet.", param_hint="--sheet")
    given = {name: options[name] for name in ("header", "types") if options[name] is not None}
    shown = [server.preview_file(path, sheet=sheets[0] if sheets else None, **given) for path in paths]
    if not shown:
        raise NotFound("There is no file to look at.")
    if as_json:
        print_json(shown)
        return
    for one in shown:
        _print_preview(one)


def _print_preview(shown: Document) -> None:
    names = [f"{column['name']} {column['type']}" for column in shown["columns"]]
    print_table(names, shown["rows"], title=f"{clean(shown['input'])}")
    sys.stdout.flush()
    sheets = ", ".join(clean(sheet["name"]) for sheet in shown["sheets"] if sheet["name"])
    memory = format_bytes(shown["estimate"]["memory_bytes"])
    print(
        f"{f'Sheets: {sheets}. ' if sheets else ''}Loading it takes about {memory} of memory.",
        file=sys.stderr,
    )
