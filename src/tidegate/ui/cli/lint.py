"""`tidegate lint`: SQL files checked, as a person or another tool reads it, with exit codes as linters have them."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from tidegate.client import calls
from tidegate.client.client import Client
from tidegate.client.job import Job
from tidegate.client.shapes import Document, job_failed
from tidegate.core.lint import SENSELESS_OPTIONS
from tidegate.errors import InvalidInput, TidegateError
from tidegate.ui.cli.connection import client
from tidegate.ui.cli.exits import INTERRUPTED, USAGE, report
from tidegate.ui.cli.lint_files import STDIN, STDIN_NAME, Local, gather, mend, piped
from tidegate.ui.cli.options import DataDir, Json, Memory, Priority, Queue, Url
from tidegate.ui.cli.output import clean, count

UNCLEAN = 1
"""Exit code when there are violations, or files without a full verdict."""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


class Format(StrEnum):
    """How the report is written."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    GITHUB = "github"
    JUNIT = "junit"
    CSV = "csv"


@app.command()
def lint(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="SQL files and folders, or one ZIP archive; - is standard input.",
            show_default=False,
        ),
    ],
    dialect: Annotated[str | None, typer.Option("--dialect", help="Such as ansi, postgres, duckdb.")] = None,
    rules: Annotated[
        str | None, typer.Option("--rules", help="Only these, such as LT01,capitalisation.")
    ] = None,
    exclude_rules: Annotated[str | None, typer.Option("--exclude-rules", help="All but these.")] = None,
    templater: Annotated[str | None, typer.Option("--templater", help="raw, jinja or placeholder.")] = None,
    format: Annotated[
        Format, typer.Option("--format", help="text, json, sarif, github, junit or csv.", show_default=False)
    ] = Format.TEXT,
    as_json: Json = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="Mend the files in place where a rule knows how.")
    ] = False,
    max_file_bytes: Annotated[
        int | None, typer.Option("--max-file-bytes", help="Larger files are not linted; 0: no limit.")
    ] = None,
    disable_noqa: Annotated[
        bool, typer.Option("--disable-noqa", help="Tell also what `-- noqa` comments hide.")
    ] = False,
    stdin_filename: Annotated[
        str | None,
        typer.Option(
            "--stdin-filename", help="What reports call standard input; the .sqlfluff files there hold."
        ),
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Lint also what an earlier run has answered.")
    ] = False,
    queue: Queue = None,
    priority: Priority = None,
    memory: Memory = None,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Check SQL files with SQLFluff.

    The report goes to standard output, everything else to standard error. Exit codes: 0 every file was linted by every rule
    and is clean, 1 there are violations or files without a full verdict, 2 it could not be done. The files are sent to the
    server; when none runs, one is started for this. Of standard input, --fix writes the mended text to standard output and
    the report to standard error.
    """
    options = {
        "dialect": dialect,
        "rules": rules,
        "exclude_rules": exclude_rules,
        "templater": templater,
        "fix": fix or None,
        "max_file_bytes": max_file_bytes,
        "disable_noqa": disable_noqa or None,
        "cache": False if no_cache else None,
        "queue": queue,
        "priority": priority,
        "memory": memory,
    }
    given = {name: value for name, value in options.items() if value is not None}
    told_as = Format.JSON if as_json else format
    filters = paths == [STDIN] and fix
    try:
        _check_stdin(paths, stdin_filename, filters, told_as)
        with tempfile.TemporaryDirectory() as folder:
            place = Path(os.path.realpath(folder))
            local = _piped(stdin_filename, place) if paths == [STDIN] else gather(paths)
            if fix and local.archive is not None:
                raise InvalidInput("Files in an archive are not mended in place: unpack it first.")
            before = {name: path.read_bytes() for name, path in local.files.items()} if fix else {}
            settings = {"source_roots": [str(place)]}
            with client(url, data_dir, may_start=True, start_settings=settings) as server:
                job = _wait(_submitted(server, local, place, given))
                with contextlib.redirect_stdout(sys.stderr) if filters else contextlib.nullcontext():
                    unclean = _told(server, job, told_as, local, before)
            if filters:
                _write(*local.files.values())
    except BrokenPipeError:
        raise  # who read the report has gone, which every command tells alike
    except (TidegateError, OSError) as error:
        known = error if isinstance(error, TidegateError) else TidegateError(str(error), code="files")
        report(known, as_json=False)
        raise typer.Exit(USAGE) from None
    if unclean:
        raise typer.Exit(UNCLEAN)


def _check_stdin(paths: list[str], stdin_filename: str | None, filters: bool, format: Format) -> None:
    if STDIN in paths and len(paths) > 1:
        raise InvalidInput(f"{STDIN!r} is standard input, and stands alone: leave the other paths out.")
    if stdin_filename is not None and paths != [STDIN]:
        raise InvalidInput(
            f"`--stdin-filename` names what comes on standard input: give {STDIN!r} as the path."
        )
    if filters and format is not Format.TEXT:
        raise InvalidInput(
            "With `--fix` standard output is the mended text, so `--format` and `--json` have no room."
        )


def _piped(name: str | None, folder: Path) -> Local:
    return piped(sys.stdin.buffer, name or STDIN_NAME, folder / "stdin")


def _write(mended: Path) -> None:
    sys.stdout.buffer.write(mended.read_bytes())
    sys.stdout.flush()


def _submitted(server: Client, local: Local, folder: Path, options: dict[str, Any]) -> Job:
    single = local.single()
    if single is not None:
        name, text, config = single
        more: dict[str, Any] = {"config": config} if config else {}
        return server.submit("lint", sql_content=text, file_name=name, **more, **options)
    archive = folder / "files.zip"
    local.pack(archive)
    path = str(archive) if server.started_server else server.send_file(archive)
    return server.submit("lint", zip_file_path=path, name=f"lint {local.name}", **options)


def _wait(job: Job) -> Job:
    try:
        job.wait(raise_on_failure=False)
    except KeyboardInterrupt:
        print(f"Interrupted: cancelling job {job.id}.", file=sys.stderr)
        job.cancel()
        raise typer.Exit(INTERRUPTED) from None
    if job.refresh().document.get("summary") is None or job.status == "CANCELLED":
        raise job_failed(job.document)
    summary = job.document["summary"]
    if (job.exit or {}).get("code") in SENSELESS_OPTIONS:
        raise job_failed(job.document)
    if job.status == "FAILED" and not sum(summary["by_verdict"][name] for name in ("linted", "skipped")):
        raise job_failed(job.document)
    return job


def _told(server: Client, job: Job, format: Format, local: Local, before: dict[str, bytes]) -> bool:
    """Write the report and mend the files; whether anything is left that is not clean."""
    if format is Format.TEXT:
        unclean = _text(job.tasks(), local, before)
        _closing(job.document["summary"])
        return unclean
    with server.stream(calls.output.report(job.id, format.value)) as answer:
        for piece in answer.iter_text():
            sys.stdout.write(piece)
    sys.stdout.flush()
    if before:
        return any([_left(task, local, before) for task in job.tasks()])  # noqa: C419  all are mended
    return not job.document["summary"]["clean"]


def _text(tasks: Iterable[Document], local: Local, before: dict[str, bytes]) -> bool:
    unclean = False
    for task in tasks:
        if task.get("verdict") is None:
            continue
        name = clean(task["file"])
        for one in task["violations"]:
            level = "" if one["severity"] == "error" else " warning:"
            told = f"{one['rule']}{level} {clean(one['description'])} ({clean(one['name'])})"
            print(f"{name}:{one['line']}:{one['column']}: {told}")
        if task["verdict"] != "linted":
            print(f"{name}: {task['verdict']}: {clean(task['reason'])}")
        for note in task["notes"]:
            print(f"{name}: note: {clean(note)}")
        unclean |= _left(task, local, before)
    sys.stdout.flush()
    return unclean


def _left(task: Document, local: Local, before: dict[str, bytes]) -> bool:
    """Whether a file is not clean, after it has been mended if that was asked for."""
    summary = task.get("summary")
    if summary is None or summary["clean"]:
        return False
    name, fixed = task["file"], task.get("fixed")
    if fixed is None or name not in before:
        return True
    try:
        if not mend(local.files[name], before[name], fixed):
            return True
    except OSError as error:
        print(f"{clean(name)}: not mended: {error.strerror}", file=sys.stderr)
        return True
    print(f"{clean(name)}: mended", file=sys.stderr)
    errors = [one for one in task["violations"] if one["severity"] == "error"]
    unseen = task["violations_cut"] > 0  # whether they could be mended is not known
    return unseen or not all(one["fixable"] for one in errors)


def _closing(summary: Document) -> None:
    verdicts: dict[str, int] = summary["by_verdict"]
    others = ", ".join(
        f"{number:,} {clean(name)}" for name, number in verdicts.items() if number and name != "linted"
    )
    linted = verdicts["linted"]
    found = f"{count(summary['violations'], 'violation')}, {count(summary['warnings'], 'warning')}"
    cached = f", {summary['cached']:,} known from before" if summary.get("cached") else ""
    print(
        f"{count(summary['files'], 'file')}: {linted:,} linted{f', {others}' if others else ''}{cached}; {found}.",
        file=sys.stderr,
    )
