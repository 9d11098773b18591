"""`tidegate safe-mode ...`: whether the service starts and takes jobs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tidegate.ui.cli.connection import client
from tidegate.ui.cli.options import DataDir, Json, Url
from tidegate.ui.cli.output import clean, print_json

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Safe mode: show, enter, leave. For operators.",
)


@app.command()
def show(json: Json = False, url: Url = None, data_dir: DataDir = None) -> None:
    """Say whether jobs are taken and started, why not, and until when."""
    with client(url, data_dir) as server:
        _say(server.recovery.safe_mode(), json)


@app.command()
def enter(
    reason: Annotated[str, typer.Option("--reason", help="Why, for those who meet it.")] = "",
    json: Json = False,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Start nothing and take nothing in until `leave`; what runs goes on."""
    with client(url, data_dir) as server:
        _say(server.recovery.enter_safe_mode(reason), json)


@app.command()
def leave(json: Json = False, url: Url = None, data_dir: DataDir = None) -> None:
    """Start everything again at once."""
    with client(url, data_dir) as server:
        _say(server.recovery.leave_safe_mode(), json)


def _say(state: dict[str, Any], json: bool) -> None:
    if json:
        print_json(state)
        return
    since = f" since {clean(state['since'])}" if state["since"] else ""
    print(f"The service is in mode {state['mode']}{since}.")
    if state["mode"] == "ramp":
        print(f"Each worker is filled to {state['share']:.0%}.")
    if state["mode"] != "normal":
        print(clean(state["message"]))
        print(
            f"It ends by itself at {state['leaves_at']}."
            if state["leaves_at"]
            else "An operator has to end it."
        )
    for part in state["parts"]:
        if not part["alive"] or part["crashes"]:
            told = f", last: {clean(part['last_crash'])}" if part["last_crash"] else ""
            print(f"{part['name']}: {'up' if part['alive'] else 'down'}, {part['crashes']} crashes{told}")
