"""`tidegate alerts ...`: what is wrong, who has seen it, and who is told."""

from __future__ import annotations

import itertools
from enum import StrEnum
from typing import Annotated, Any

import typer

from tidegate.ui.cli.connection import client
from tidegate.ui.cli.exits import REFUSED
from tidegate.ui.cli.options import DataDir, Json, Url
from tidegate.ui.cli.output import print_facts, print_json, print_table

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Alerts: list, acknowledge, silence, rules, channels.",
)

AlertId = Annotated[str, typer.Argument(metavar="ALERT", help="The alert's id.", show_default=False)]
RuleName = Annotated[str, typer.Argument(metavar="RULE", help="The rule's name.", show_default=False)]


class AlertState(StrEnum):
    """Which alerts are shown."""

    ACTIVE = "active"
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    ALL = "all"


class LeastLevel(StrEnum):
    """From which level on."""

    WARNING = "warning"
    SEVERE = "severe"
    DANGER = "danger"


@app.command("list")
def list_alerts(
    state: Annotated[AlertState, typer.Option("--state", help="Only such.")] = AlertState.ACTIVE,
    level: Annotated[LeastLevel | None, typer.Option("--level", help="Only of this level or higher.")] = None,
    rule: Annotated[str | None, typer.Option("--rule", help="Only of this rule.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most alerts.")] = 50,
    json: Json = False,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """List alerts, the newest first: those that have not ended, unless told."""
    wanted = None if state is AlertState.ALL else state.value
    with client(url, data_dir) as server:
        found = list(itertools.islice(server.alerts.list(state=wanted, level=level, rule=rule), limit))
    if json:
        print_json(found)
        return
    heads = ("Alert", "Level", "State", "Raised", "Rule", "Subject", "Message")
    print_table(heads, [_alert_cells(alert) for alert in found], cut=6)


def _alert_cells(alert: dict[str, Any]) -> list[Any]:
    state = (
        f"{alert['state']}, silenced"
        if alert["silenced"] and alert["state"] != "resolved"
        else alert["state"]
    )
    names = ("raised_at", "rule", "subject", "message")
    return [alert["alert_id"], alert["level"], state, *(alert[name] for name in names)]


@app.command()
def show(alert_id: AlertId, json: Json = False, url: Url = None, data_dir: DataDir = None) -> None:
    """Show an alert: what to do, what happened to it, and who was told."""
    with client(url, data_dir) as server:
        alert = server.alerts.get(alert_id)
    if json:
        print_json(alert)
        return
    names = (
        "message",
        "advice",
        "level",
        "state",
        "rule",
        "subject",
        "raised_at",
        "acknowledged_by",
        "resolved_at",
    )
    print_facts([(name.replace("_", " ").capitalize(), alert[name] or None) for name in names])
    print()
    rows = [
        [moment[name] or None for name in ("at", "what", "level", "by", "text")]
        for moment in alert["history"]
    ]
    print_table(("At", "What", "Level", "By", "Text"), rows, cut=4)
    if alert["notices"]:
        print()
        fields = ("at", "channel", "what", "state", "tries", "error")
        told = [[notice[name] for name in fields] for notice in alert["notices"]]
        print_table(("At", "Channel", "What", "State", "Tries", "Error"), told, right=(4,), cut=5)


@app.command()
def ack(
    alert_id: AlertId,
    note: Annotated[str, typer.Option("--note", help="What to keep beside it.")] = "",
    json: Json = False,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Say that an alert is seen: it is not told again, unless it grows worse or ends."""
    with client(url, data_dir) as server:
        alert = server.alerts.acknowledge(alert_id, note)
    if json:
        print_json(alert)
    else:
        by = f" by {alert['acknowledged_by']}" if alert["acknowledged_by"] else ""
        print(f"Alert {alert['alert_id']} is {alert['state']}{by}.")


@app.command()
def silence(
    minutes: Annotated[
        float, typer.Option("--minutes", min=0.1, help="For how long; at most 31 days.")
    ] = 60.0,
    rule: Annotated[str | None, typer.Option("--rule", help="Only this rule.")] = None,
    subject: Annotated[
        str | None, typer.Option("--subject", help="Only this machine, queue or channel.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; for people.")] = "",
    json: Json = False,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Tell nobody of a rule, a subject, both together, or of anything; for a while."""
    with client(url, data_dir) as server:
        made = server.alerts.silence(minutes, rule=rule, subject=subject, reason=reason)
    _say_silence(made, json)


@app.command()
def silences(json: Json = False, url: Url = None, data_dir: DataDir = None) -> None:
    """List silences that have not ended."""
    with client(url, data_dir) as server:
        found = list(server.alerts.silences())
    if json:
        print_json(found)
        return
    fields = ("silence_id", "rule", "subject", "ends_at", "created_by", "reason")
    heads = ("Silence", "Rule", "Subject", "Until", "By", "Reason")
    print_table(heads, [[one[name] or None for name in fields] for one in found], cut=5)


@app.command()
def unsilence(
    silence_id: Annotated[
        str, typer.Argument(metavar="SILENCE", help="The silence's id.", show_default=False)
    ],
    json: Json = False,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """End a silence now."""
    with client(url, data_dir) as server:
        _say_silence(server.alerts.end_silence(silence_id), json)


def _say_silence(silence: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(silence)
        return
    covered = " of ".join(text for text in (silence["rule"], silence["subject"]) if text) or "everything"
    print(f"Silence {silence['silence_id']}: nobody is told of {covered} until {silence['ends_at']}.")


@app.command()
def rules(json: Json = False, url: Url = None, data_dir: DataDir = None) -> None:
    """List the rules as they hold now."""
    with client(url, data_dir) as server:
        found = list(server.alerts.rules())
    if json:
        print_json(found)
        return
    heads = ("Rule", "Unit", "Warning", "Severe", "Danger", "Hold s", "Clear s", "State", "Changed by")
    print_table(heads, [_rule_cells(rule) for rule in found], right=(2, 3, 4, 5, 6))


def _rule_cells(rule: dict[str, Any]) -> list[Any]:
    limits = [_number(rule[level]) for level in ("warning", "severe", "danger")]
    return [
        rule["name"],
        rule["unit"] or None,
        *(f"> {limit}" if limit else None for limit in limits[:2]),
        f">= {limits[2]}" if limits[2] else None,
        _number(rule["hold_s"]),
        _number(rule["clear_s"]),
        "on" if rule["enabled"] else "off",
        rule["changed_by"],
    ]


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:,.2f}".rstrip("0").rstrip(".")


@app.command("rule")
def change_rule(
    name: RuleName,
    warning: Annotated[str | None, typer.Option("--warning", help="Threshold, or 'none'.")] = None,
    severe: Annotated[str | None, typer.Option("--severe", help="Threshold, or 'none'.")] = None,
    danger: Annotated[str | None, typer.Option("--danger", help="Threshold, or 'none'.")] = None,
    hold: Annotated[float | None, typer.Option("--hold", min=0, help="Seconds it has to last.")] = None,
    clear: Annotated[float | None, typer.Option("--clear", min=0, help="Seconds it has to be over.")] = None,
    repeat: Annotated[
        float | None, typer.Option("--repeat", min=60, help="Seconds until told again.")
    ] = None,
    enabled: Annotated[bool | None, typer.Option("--on/--off", help="Whether the rule is looked at.")] = None,
    defaults: Annotated[bool, typer.Option("--defaults", help="Forget all changes of it.")] = False,
    json: Json = False,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Change a rule, or put it back."""
    limits = {"warning": warning, "severe": severe, "danger": danger}
    changes: dict[str, float | bool | None] = {
        level: _limit(level, text) for level, text in limits.items() if text is not None
    }
    others = {"hold_s": hold, "clear_s": clear, "repeat_s": repeat, "enabled": enabled}
    changes |= {field: value for field, value in others.items() if value is not None}
    if bool(changes) == defaults:
        raise typer.BadParameter("Say what to change, such as --warning 90, or --defaults alone.")
    with client(url, data_dir) as server:
        rule = server.alerts.reset_rule(name) if defaults else server.alerts.change_rule(name, **changes)
    if json:
        print_json(rule)
    else:
        heads = ("Rule", "Unit", "Warning", "Severe", "Danger", "Hold s", "Clear s", "State", "Changed by")
        print_table(heads, [_rule_cells(rule)], right=(2, 3, 4, 5, 6))


def _limit(level: str, text: str) -> float | None:
    if text.lower() == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"--{level} takes a number or 'none', not {text!r}.") from None


@app.command()
def channels(json: Json = False, url: Url = None, data_dir: DataDir = None) -> None:
    """List the channels, with how they do."""
    with client(url, data_dir) as server:
        found = list(server.alerts.channels())
    if json:
        print_json(found)
        return
    fields = ("name", "address", "level", "failures", "worked_at", "error")
    heads = ("Channel", "Address", "From level", "Failures", "Worked", "Error")
    print_table(heads, [[one[name] for name in fields] for one in found], right=(3,), cut=5)


@app.command("test")
def try_channel(
    channel: Annotated[
        str, typer.Argument(metavar="CHANNEL", help="The channel's name.", show_default=False)
    ],
    json: Json = False,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Send a test message over a channel; exit code 4 when that fails."""
    with client(url, data_dir) as server:
        answer = server.alerts.test(channel)
    if json:
        print_json(answer)
    else:
        print(f"Channel {channel}: " + ("the message was sent." if answer["sent"] else answer["error"]))
    if not answer["sent"]:
        raise typer.Exit(REFUSED)
