"""`tidegate submit`: jobs of any kind, given as JSON."""

from __future__ import annotations

import json as json_format
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tidegate.client.client import Client
from tidegate.client.job import Job
from tidegate.client.shapes import job_failed
from tidegate.errors import TidegateError
from tidegate.ui.cli.connection import client
from tidegate.ui.cli.exits import exit_code_of, problem_of, report
from tidegate.ui.cli.options import Cpus, DataDir, Disk, Json, Memory, Priority, Queue, TimeLimit, Url
from tidegate.ui.cli.output import print_json
from tidegate.ui.cli.progress import ending_sentence, follow

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def submit(
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
    name: Annotated[str | None, typer.Option("--name", help="A name for the job.")] = None,
    queue: Queue = None,
    priority: Priority = None,
    cpus: Cpus = None,
    memory: Memory = None,
    disk: Disk = None,
    timeout: TimeLimit = None,
    max_attempts: Annotated[int | None, typer.Option("--max-attempts", min=1, help="Most tries.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="Idempotency key: one key, one job.")] = None,
    busy_timeout: Annotated[
        float, typer.Option("--busy-timeout", min=0, help="Seconds to try again while the line is full.")
    ] = 0.0,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end.")] = False,
    json: Json = False,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Submit a job, or many, given as JSON. Options win over what the JSON says. Prints the ids.

    \b
    tidegate submit job.json --priority high
    echo '{"kind": "sql", "sql": "select 1"}' | tidegate submit -
    tidegate submit --kind sql --field sql='select 1'
    """
    options = {
        "kind": kind,
        "name": name,
        "queue": queue,
        "priority": priority,
        "cpus": cpus,
        "memory": memory,
        "disk": disk,
        "timeout_s": timeout,
        "max_attempts": max_attempts,
    }
    given = {option: value for option, value in options.items() if value is not None}
    given |= dict(_field(text) for text in field or ())
    content = _content(file)
    with client(url, data_dir) as server:
        if isinstance(content, list):
            _submit_many(server, [{**job, **given} for job in content], busy_timeout, json)
        else:
            _submit_one(server, {**content, **given}, key, busy_timeout, wait, json)


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


def _field(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE.", param_hint="--field")
    try:
        return name, json_format.loads(value)
    except ValueError:
        return name, value


def _submit_one(
    server: Client, fields: dict[str, Any], key: str | None, busy_timeout_s: float, wait: bool, as_json: bool
) -> None:
    kind = fields.pop("kind", None)
    if not isinstance(kind, str):
        raise typer.BadParameter("A job needs a kind: in the JSON, or by --kind.", param_hint="--kind")
    job = server.submit(kind, idempotency_key=key, busy_timeout_s=busy_timeout_s, **fields)
    if wait:
        follow(job, quiet=as_json)
    print_json(job.document) if as_json else print(job.id, flush=True)
    if wait and job.status != "SUCCEEDED":
        raise job_failed(job.document)
    if wait and not as_json:
        print(ending_sentence(job), file=sys.stderr)


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
