"""`tidegate pressure ...`: what the machines feel, and the rules about it."""

from __future__ import annotations

import json as json_of
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tidegate.core.resources import format_bytes
from tidegate.ui.cli.connection import client
from tidegate.ui.cli.options import DataDir, Json, Url
from tidegate.ui.cli.output import clean, print_json, print_table

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Pressure: levels, readings, rules.",
)

Rules = Annotated[
    str,
    typer.Argument(
        metavar="FILE", help="JSON with what differs from the settings; `-` reads standard input."
    ),
]


@app.command()
def show(json: Json = False, url: Url = None, data_dir: DataDir = None) -> None:
    """Say how much pressure there is, what is felt, and how the workers do."""
    with client(url, data_dir) as server:
        told = server.pressure.now()
    if json:
        print_json(told)
        return
    since = f" since {clean(told['since'])}" if told["since"] else ""
    acts = "" if told["acts"] else " Nothing follows from it: the setting `pressure` is `watch`."
    print(f"The level of the server is {told['level']}{since}.{acts}")
    rows = [(one["signal"], one["level"], _numbers(one["readings"])) for one in told["signals"]]
    print_table(("Signal", "Level", "Readings"), rows)
    for one in told["workers"]:
        print(f"Worker {clean(one['worker_id'])}: {one['level']}, told at {clean(one['told_at'])}.")


@app.command()
def rules(json: Json = False, url: Url = None, data_dir: DataDir = None) -> None:
    """Show when each signal enters a level, and what each level allows."""
    with client(url, data_dir) as server:
        _say_rules(server.pressure.rules(), json)


@app.command()
def change(file: Rules, json: Json = False, url: Url = None, data_dir: DataDir = None) -> None:
    """Have what differs from the settings be this, and nothing else. For operators."""
    changes = _changes_of(file)
    with client(url, data_dir) as server:
        _say_rules(server.pressure.change_rules(changes), json)


@app.command()
def reset(json: Json = False, url: Url = None, data_dir: DataDir = None) -> None:
    """Go back to the rules of the settings. For operators."""
    with client(url, data_dir) as server:
        _say_rules(server.pressure.change_rules({}), json)


def _changes_of(file: str) -> Mapping[str, Any]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
        changes = json_of.loads(text)
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise typer.BadParameter(f"{file} is no JSON: {error}.") from None
    if not isinstance(changes, dict):
        raise typer.BadParameter(f"{file} must hold a JSON object, such as {{}}.")
    return changes


def _say_rules(told: Mapping[str, Any], json: bool) -> None:
    if json:
        print_json(told)
        return
    rows = [
        (signal, level, " or ".join(_trigger(trigger) for trigger in triggers) or "never")
        for signal, levels in told["signals"].items()
        for level, triggers in levels.items()
    ]
    print_table(("Signal", "Level", "Entered at"), rows)
    rows = [
        (level, name, _said(value))
        for level, allowed in told["levels"].items()
        for name, value in allowed.items()
    ]
    print_table(("Level", "Allows", "Value"), rows)
    if told["changes"]:
        print(
            f"Changed by {clean(told['changed_by'])} at {clean(told['changed_at'])}: {json_of.dumps(told['changes'])}"
        )


def _trigger(trigger: Mapping[str, Any]) -> str:
    bounds = " and ".join(_bounds(trigger["thresholds"]))
    return f"{bounds} for {trigger['hold_s']:g} s" if trigger["hold_s"] else bounds


def _bounds(thresholds: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for reading, threshold in thresholds.items():
        yield f"{reading} {'<=' if threshold['below'] else '>='} {_amount(reading, threshold['bound'])}"


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else clean(f"{value:g}" if isinstance(value, float) else str(value))


def _numbers(readings: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {_amount(name, value)}" for name, value in readings.items()) or "-"


def _amount(reading: str, value: float) -> str:
    return format_bytes(int(value)) if reading.endswith("_bytes") else f"{value:.4g}"
