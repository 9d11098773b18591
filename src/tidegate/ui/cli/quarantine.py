"""`tidegate quarantine ...`: tasks that took what watches over them with them too often."""

from __future__ import annotations

from typing import Annotated

import typer

from tidegate.ui.cli.connection import client
from tidegate.ui.cli.options import DataDir, Json, Url
from tidegate.ui.cli.output import clean, print_json, print_table

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Tasks that were lost too often: list, show, release. For operators.",
)
TaskId = Annotated[str, typer.Argument(metavar="TASK_ID", help="Such as 81.1.")]


@app.command("list")
def list_quarantine(json: Json = False, url: Url = None, data_dir: DataDir = None) -> None:
    """List all, also those that were released."""
    with client(url, data_dir) as server:
        found = list(server.recovery.quarantine())
    if json:
        print_json(found)
        return
    rows = [
        (
            one["task_id"],
            one["kind"],
            one["owner"],
            len(one["attempts"]),
            one["quarantined_at"],
            one["released_as"] or "",
        )
        for one in found
    ]
    print_table(("Task", "Kind", "Owner", "Attempts", "Since", "Released as"), rows, right=(3,))


@app.command()
def show(task_id: TaskId, json: Json = False, url: Url = None, data_dir: DataDir = None) -> None:
    """Say which attempts a task had, where, when, and what was seen."""
    with client(url, data_dir) as server:
        held = server.recovery.quarantined(task_id)
    if json:
        print_json(held)
        return
    print(
        f"Task {held['task_id']} ({held['kind']}) of {clean(held['owner'])}, since {held['quarantined_at']}."
    )
    print(clean(held["message"]))
    rows = [
        (
            one["number"],
            one["worker"],
            one["started_at"],
            one["ended_at"] or "",
            (one["exit"] or {}).get("message", ""),
        )
        for one in held["attempts"]
    ]
    print_table(("Attempt", "Worker", "Started", "Ended", "What was seen"), rows, right=(0,))
    if held["released_as"]:
        print(f"Released by {clean(held['released_by'] or 'somebody')} as job {held['released_as']}.")


@app.command()
def release(task_id: TaskId, json: Json = False, url: Url = None, data_dir: DataDir = None) -> None:
    """Run a task again, as a job of its own."""
    with client(url, data_dir) as server:
        released = server.recovery.release(task_id)
    if json:
        print_json(released)
    else:
        print(f"Task {task_id} runs again as job {released['job_id']}.")
