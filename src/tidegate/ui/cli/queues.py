"""`tidegate queues ...`: the lines that jobs wait in."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tidegate.client.views import Queue
from tidegate.ui.cli.connection import client
from tidegate.ui.cli.options import DataDir, Json, Name, Url
from tidegate.ui.cli.output import print_json, print_table

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Queues: list, pause, resume, set caps.",
)


@app.command("list")
def list_queues(json: Json = False, url: Url = None, data_dir: DataDir = None) -> None:
    """List all queues."""
    with client(url, data_dir) as server:
        found = list(server.queues.list())
    if json:
        print_json([queue.document for queue in found])
        return
    rows = [
        (q.name, "paused" if q.paused else "open", q.waiting, q.running, _cap(q), q.weight) for q in found
    ]
    print_table(("Queue", "State", "Waiting", "Running", "Cap", "Weight"), rows, right=(2, 3, 4, 5))


def _cap(queue: Queue) -> str:
    return "none" if queue.max_concurrent is None else str(queue.max_concurrent)


@app.command()
def pause(name: Name, json: Json = False, url: Url = None, data_dir: DataDir = None) -> None:
    """Start nothing new from a queue; what runs goes on."""
    with client(url, data_dir) as server:
        _say(server.queues.pause(name), json)


@app.command()
def resume(name: Name, json: Json = False, url: Url = None, data_dir: DataDir = None) -> None:
    """Start from a queue again."""
    with client(url, data_dir) as server:
        _say(server.queues.resume(name), json)


@app.command("set")
def set_queue(
    name: Name,
    max_concurrent: Annotated[
        int | None,
        typer.Option("--max-concurrent", min=0, help="Most that run at once; 0 takes the cap away."),
    ] = None,
    weight: Annotated[int | None, typer.Option("--weight", min=1, help="Share against other queues.")] = None,
    json: Json = False,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Change a queue's cap or weight."""
    settings: dict[str, Any] = {}
    if max_concurrent is not None:
        settings["max_concurrent"] = max_concurrent or None
    if weight is not None:
        settings["weight"] = weight
    if not settings:
        raise typer.BadParameter("Say what to change: --max-concurrent or --weight.")
    with client(url, data_dir) as server:
        _say(server.queues.set(name, **settings), json)


def _say(queue: Queue, as_json: bool) -> None:
    if as_json:
        print_json(queue.document)
    else:
        state = "paused" if queue.paused else "open"
        print(f"{queue.name}: {state}, at most {_cap(queue)} at once, weight {queue.weight}")
