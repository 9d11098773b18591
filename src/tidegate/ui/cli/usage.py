"""`tidegate usage`: who used how much."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from tidegate.ui.cli.connection import client
from tidegate.ui.cli.options import Csv, DataDir, From, Json, RowFormat, To, Url, only_one
from tidegate.ui.cli.output import duration, print_json, print_rows, print_table

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_HEADS = ("Jobs", "Failed", "Cancelled", "CPU", "CPU allocated", "GiB-s at peak", "GiB-s allocated",
          "Mean wait", "p95 wait")  # fmt: skip


class By(StrEnum):
    """What is told apart."""

    USER = "user"
    QUEUE = "queue"
    KIND = "kind"


@app.command()
def usage(
    by: Annotated[By, typer.Option("--by", help="What is told apart.")] = By.USER,
    since: From = None,
    until: To = None,
    owner: Annotated[str | None, typer.Option("--owner", help="Only what this owner used.")] = None,
    json: Json = False,
    csv: Csv = False,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Show who used how much: jobs, failures, waits, CPU and memory of the jobs that ended in a time.

    By default of the last 30 days, in whole hours. Operators see what all used, others what they used themselves.
    """
    only_one(json, csv)
    with client(url, data_dir) as server:
        found = server.usage(by.value, since=since, until=until, owner=owner)
    if json:
        print_json(found)
    elif csv:
        names = ("name", *found["total"])
        print_rows([(name, "") for name in names], found["items"], RowFormat.CSV)
    else:
        rows = [(item["name"], *_cells(item)) for item in found["items"]]
        print_table(
            (by.value.capitalize(), *_HEADS),
            [*rows, ("all", *_cells(found["total"]))],
            right=range(1, len(_HEADS) + 1),
            title=f"Jobs that ended from {found['from']} to {found['to']}",
        )


def _cells(sums: dict[str, Any]) -> list[Any]:
    return [
        *(f"{sums[name]:,}" for name in ("jobs", "failed", "cancelled")),
        *(duration(sums[name]) for name in ("cpu_seconds", "allocated_cpu_seconds")),
        *(f"{sums[name]:,.1f}" for name in ("peak_gib_seconds", "allocated_gib_seconds")),
        *(duration(sums[name]) for name in ("wait_mean_s", "wait_p95_s")),
    ]
