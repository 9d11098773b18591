"""`tidegate doctor`: what this machine offers, where each number comes from, and what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import typer

from tidegate.app.checkup import doctor as examine
from tidegate.core.resources import format_bytes, format_cpus
from tidegate.settings import load_settings
from tidegate.ui.cli.options import Json
from tidegate.ui.cli.output import clean, print_facts, print_json, print_table

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_AMOUNTS: tuple[tuple[str, str, Callable[[int], str]], ...] = (
    ("CPUs", "cpu_milli", format_cpus),
    ("memory", "memory_bytes", format_bytes),
    ("disk", "disk_bytes", format_bytes),
)


@app.command()
def doctor(
    data_dir: Annotated[str | None, typer.Option("--data-dir", help="Data directory to look at.")] = None,
    json: Json = False,
) -> None:
    """Show what this machine offers and what is missing. The exit code is 1 when a server cannot work here."""
    findings = examine(load_settings(data_dir=data_dir))
    if json:
        print_json(findings)
    else:
        show(findings)
    if any(problem["severity"] == "error" for problem in findings["problems"]):
        raise typer.Exit(1)


def show(findings: Mapping[str, Any]) -> None:
    """The findings for a reader: the machine, its amounts, the ladder of limits, the place, and last what is wrong."""
    print_facts(_machine(findings["software"]), title="Machine")
    print()
    amounts = list(_amounts(findings["capacity"], findings["offered"]))
    print_table(
        ("Amount", "Has", "Kept", "For jobs", "Because of"), amounts, right=(1, 2, 3), title="Capacity"
    )
    print()
    limits = findings["limits"]
    print_table(("Rung", "State", "Why"), list(_rungs(limits)), title="Limits, the strongest first")
    print()
    print_facts(_protection(limits))
    print()
    print_facts(_place(findings), title="Data directory and port")
    print()
    if services := list(_services(findings["services"])):
        print_facts(services, title="Services")
        print()
    _problems(findings["problems"])


def _services(services: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    if database := services["database"]:
        tables = f"tables of revision {database['revision']}" if database["revision"] else "no tables yet"
        yield "database", f"{database['product']} at {database['url']} ({tables})"
        yield "clock", f"{database['clock_offset_s']:+.3f} s against the database's"
    for name in ("broker", "redis", "consul"):
        if service := services[name]:
            yield name, f"{service['url']} ({service['fault'] or 'answers'})"
    if shared := services["shared_path"]:
        yield "shared path", f"folder {shared['id']}" if shared["id"] else "will be made"


def _machine(software: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "host", f"{software['host']} ({software['machine']}, kernel {software['kernel']})"
    yield "tidegate", software["tidegate"]
    yield "python", software["python"]
    yield "duckdb", software["duckdb"] or "missing"
    yield "user", "root" if software["user_id"] == 0 else f"number {software['user_id']}"


def _amounts(capacity: Mapping[str, Any], offered: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for name, key, text in _AMOUNTS:
        kept = offered["headroom"][key] + offered["withheld_by_settings"][key]
        found = capacity[key]
        yield name, text(found["value"]), text(kept), text(offered["allocatable"][key]), found["source"]


def _rungs(limits: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for rung in limits["rungs"]:
        state = "in use" if rung["rung"] == limits["in_use"] else "works" if rung["works"] else "no"
        yield rung["rung"], state, rung["reason"]


def _protection(limits: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "files and network", limits["landlock"]
    yield (
        "yielding the CPU",
        f"{limits['yield_cpu']}: {'works' if limits['yield_cpu_works'] else 'does not work here'}",
    )
    if limits["processes_free"] is not None:
        yield "processes and threads", f"{limits['processes_free']} more"


def _place(findings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    found, scratch, server = findings["data_dir"], findings["scratch"], findings["server"]
    state = "writable" if found["writable"] else "not writable"
    system = f"{found['file_system']} mounted at {found['mounted_at']}"
    yield "data", f"{found['path']} ({state if found['exists'] else 'will be made'}; {system})"
    if scratch is not None:
        writable = "writable" if scratch["writable"] else "not writable"
        yield (
            "scratch",
            f"{scratch['path']} ({writable}; {scratch['file_system']} mounted at {scratch['mounted_at']})",
        )
    used_by = found["used_by"]
    yield (
        "server",
        f"process {used_by.get('pid')} at {used_by.get('url')}" if used_by else "none runs on this data",
    )
    free = {True: "free", False: "taken"}.get(server["can_listen"], "not tried")
    yield "port", f"{server['host']}:{server['port']} is {free}"


def _problems(problems: list[Mapping[str, Any]]) -> None:
    for problem in problems:
        print(f"{problem['severity'].capitalize()}: {clean(problem['message'])} {clean(problem['advice'])}")
    if not problems:
        print("Nothing is missing.")
