"""Options that many commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from tidegate.errors import InvalidInput

Url = Annotated[str | None, typer.Option("--url", help="Address of the server; default: TIDEGATE_URL.")]
DataDir = Annotated[str | None, typer.Option("--data-dir", help="Data directory whose server is meant.")]
From = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="TIME", help="From when on: a day, or an instant as 2026-01-31T08:00:00Z."
    ),
]
To = Annotated[
    str | None, typer.Option("--to", metavar="TIME", help="Until when; what happens then is no part.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV and nothing else.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.", show_default=False)]
Name = Annotated[str, typer.Argument(help="The name.", show_default=False)]
Queue = Annotated[str | None, typer.Option("--queue", help="The line to wait in.")]
Priority = Annotated[str | None, typer.Option("--priority", help="low, normal or high.")]
Cpus = Annotated[float | None, typer.Option("--cpus", help="CPUs to ask for, such as 2 or 0.5.")]
MaxMemory = Annotated[
    str | None,
    typer.Option(
        "--max-memory", help="What it may ask for when it ran out of memory; default: --memory, if given."
    ),
]
Memory = Annotated[str | None, typer.Option("--memory", help="Memory to ask for, such as 512MiB.")]
Disk = Annotated[str | None, typer.Option("--disk", help="Scratch disk to ask for, such as 10GiB.")]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="NAME=VALUE", help="A label that the worker must have. Repeatable."),
]
TimeLimit = Annotated[float | None, typer.Option("--timeout", help="Seconds it may run.")]

OfferedCpus = Annotated[float | None, typer.Option("--cpus", help="CPUs to offer; default: what there is.")]
OfferedMemory = Annotated[
    str | None, typer.Option("--memory", help="Memory to offer; default: what there is.")
]
OwnLabels = Annotated[
    list[str] | None,
    typer.Option(
        "--label", metavar="NAME=VALUE", help="A label of this worker, for jobs that ask for it. Repeatable."
    ),
]
LogLevel = Annotated[str | None, typer.Option("--log-level", help="debug, info, warning or error.")]


class RowFormat(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"


def only_one(json: bool, csv: bool) -> None:
    """Raises InvalidInput when both are wanted."""
    if json and csv:
        raise InvalidInput("--json and --csv cannot be had together. Choose one.")
