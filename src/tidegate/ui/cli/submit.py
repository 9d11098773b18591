"""`tidegate submit`: a command, a function, or jobs of any kind given as JSON."""

from __future__ import annotations

import json as json_format
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from tidegate.client.client import Client
from tidegate.client.job import Job
from tidegate.client.shapes import job_failed
from tidegate.errors import TidegateError
from tidegate.ui.cli import fields as fields_of
from tidegate.ui.cli.connection import client
from tidegate.ui.cli.exits import JOB_FAILED, exit_code_of, problem_of, report
from tidegate.ui.cli.job import write_output
from tidegate.ui.cli.options import (
    Cpus,
    DataDir,
    Disk,
    Json,
    Labels,
    MaxMemory,
    Memory,
    Priority,
    Queue,
    TimeLimit,
    Url,
)
from tidegate.ui.cli.output import print_json
from tidegate.ui.cli.progress import ending_sentence
from tidegate.ui.cli.progress import follow as follow_state

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_ARGV = "tidegate.argv"
_SIGNALLED = 128


class CommandAfterDashes(TyperCommand):
    """Takes what stands behind `--` as a command of its own, options and all."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            ctx.meta[_ARGV] = args[at + 1 :]
            args = args[:at]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- PROGRAM [ARGUMENT]...]"]


@app.command(cls=CommandAfterDashes)
def submit(
    context: typer.Context,
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE",
            help="JSON of a job or of a list of jobs; '-' is standard input.",
            show_default=False,
        ),
    ] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="The kind of job, such as sql.")] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(
            "--field",
            metavar="NAME=VALUE",
            help="A field of the kind; the value is JSON or text. Repeatable.",
        ),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", metavar="NAME=VALUE", help="A variable for the command. Repeatable."),
    ] = None,
    cwd: Annotated[
        str | None, typer.Option("--cwd", help="The command's working folder on the worker.")
    ] = None,
    stdin: Annotated[
        str | None, typer.Option("--stdin", metavar="FILE", help="Text for the command to read; '-' is ours.")
    ] = None,
    send: Annotated[
        list[str] | None,
        typer.Option("--send", metavar="FILE", help="A small file to send along. Repeatable."),
    ] = None,
    read: Annotated[
        list[str] | None,
        typer.Option("--read", metavar="PATH", help="What the command may read on the worker. Repeatable."),
    ] = None,
    write: Annotated[
        list[str] | None,
        typer.Option("--write", metavar="PATH", help="Where it may write on the worker. Repeatable."),
    ] = None,
    function: Annotated[
        str | None, typer.Option("--function", metavar="MODULE:NAME", help="Call a registered function.")
    ] = None,
    args: Annotated[str | None, typer.Option("--args", metavar="JSON", help="Its arguments, a list.")] = None,
    kwargs: Annotated[
        str | None, typer.Option("--kwargs", metavar="JSON", help="Its arguments by name, an object.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="A name for the job.")] = None,
    queue: Queue = None,
    priority: Priority = None,
    cpus: Cpus = None,
    memory: Memory = None,
    max_memory: MaxMemory = None,
    disk: Disk = None,
    label: Labels = None,
    timeout: TimeLimit = None,
    max_attempts: Annotated[int | None, typer.Option("--max-attempts", min=1, help="Most tries.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="Idempotency key: one key, one job.")] = None,
    busy_timeout: Annotated[
        float, typer.Option("--busy-timeout", min=0, help="Seconds to try again while the line is full.")
    ] = 0.0,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the end; the exit code is that of the command.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print what it prints, and wait for the end.")
    ] = False,
    json: Json = False,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Submit a command, a function, or jobs given as JSON.

    Options win over what the JSON says. Prints the ids.

    \b
    tidegate submit --cpus 4 --memory 8GiB -- ./simulate.sh --n 4
    tidegate submit --function pkg.mod:name --args '[1, 2]' --wait
    tidegate submit job.json --priority high
    echo '{"kind": "sql", "sql": "select 1"}' | tidegate submit -
    tidegate submit --kind sql --field sql='select 1'
    """
    if follow and json:
        raise typer.BadParameter(
            "It does not go with --json: use --wait, and read the logs after.", param_hint="--follow"
        )
    options = {
        "kind": kind,
        "name": name,
        "queue": queue,
        "priority": priority,
        "cpus": cpus,
        "memory": memory,
        "max_memory": max_memory,
        "disk": disk,
        "labels": fields_of.labels_of(label),
        "timeout_s": timeout,
        "max_attempts": max_attempts,
    }
    given = {option: value for option, value in options.items() if value is not None}
    given |= dict(fields_of.field(text) for text in field or ())
    argv: list[str] | None = context.meta.get(_ARGV)
    content: dict[str, Any] | list[dict[str, Any]]
    if argv is not None:
        _refuse_beside("a command behind --", file=file, function=function, kind=kind)
        if not argv:
            raise typer.BadParameter("Nothing stands behind --; name a program there.", param_hint="--")
        content = fields_of.of_command(
            argv, env=env or (), cwd=cwd, stdin=stdin, send=send or (), read=read or (), write=write or ()
        )
    elif function is not None:
        _refuse_beside("--function", file=file, kind=kind)
        content = fields_of.of_function(function, args, kwargs)
    else:
        content = _content(file)
    with client(url, data_dir) as server:
        if isinstance(content, list):
            _submit_many(server, [{**job, **given} for job in content], busy_timeout, json)
        else:
            job = _submit_one(server, {**content, **given}, key, busy_timeout)
            _see_through(job, wait=wait, follow_output=follow, as_json=json)


def _refuse_beside(what: str, **others: str | None) -> None:
    for name, value in others.items():
        if value is not None:
            option = "FILE" if name == "file" else f"--{name}"
            raise typer.BadParameter(f"It does not go with {what}.", param_hint=option)


def _content(file: str | None) -> dict[str, Any] | list[dict[str, Any]]:
    if file is None:
        return {}
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
        content = json_format.loads(text)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{file} cannot be read as JSON: {error}.", param_hint="FILE") from None
    items = content if isinstance(content, list) else [content]
    if not all(isinstance(item, dict) for item in items):
        raise typer.BadParameter("A job must be a JSON object.", param_hint="FILE")
    return content  # type: ignore[no-any-return]


def _submit_one(server: Client, fields: dict[str, Any], key: str | None, busy_timeout_s: float) -> Job:
    kind = fields.pop("kind", None)
    if not isinstance(kind, str):
        raise typer.BadParameter(
            "A job needs a kind: in the JSON, by --kind, by --function, or a command behind --.",
            param_hint="--kind",
        )
    return server.submit(kind, idempotency_key=key, busy_timeout_s=busy_timeout_s, **fields)


def _see_through(job: Job, *, wait: bool, follow_output: bool, as_json: bool) -> None:
    """Print the job's id and, if wanted, wait for its end and end as it did."""
    if follow_output:
        print(f"Job {job.id}.", file=sys.stderr, flush=True)
        write_output(job)
        job.wait(raise_on_failure=False)
    elif wait:
        follow_state(job, quiet=as_json)
    if not follow_output:
        print_json(job.document) if as_json else print(job.id, flush=True)
    if not (wait or follow_output):
        return
    if job.status != "SUCCEEDED":
        report(job_failed(job.document), as_json)
        raise typer.Exit(exit_code_of_job(job))
    if not as_json:
        print(ending_sentence(job), file=sys.stderr)


def exit_code_of_job(job: Job) -> int:
    """The exit code of a failed job's command, as a shell has it: 128 and the signal for one. 1 for any other end."""
    ended = job.exit or {}
    observed = ended.get("observed")
    if isinstance(observed, int | float):
        if ended.get("code") == "exit_code":
            return int(observed) or JOB_FAILED
        if ended.get("reason") == "signal":
            return _SIGNALLED + int(observed)
    return JOB_FAILED


def _submit_many(server: Client, jobs: list[dict[str, Any]], busy_timeout_s: float, as_json: bool) -> None:
    answers = server.submit_many(jobs, busy_timeout_s=busy_timeout_s)
    refused = [answer for answer in answers if isinstance(answer, TidegateError)]
    if as_json:
        print_json([_item(answer) for answer in answers])
    else:
        for answer in answers:
            if isinstance(answer, Job):
                print(answer.id)
            else:
                report(answer, False)
    if refused:
        raise typer.Exit(exit_code_of(refused[0]))


def _item(answer: Job | TidegateError) -> dict[str, Any]:
    return answer.document if isinstance(answer, Job) else {"problem": problem_of(answer)}
