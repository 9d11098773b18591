"""`tidegate worker`: the worker of this machine in a cluster, in the foreground; and what is done to workers from afar."""

from __future__ import annotations

from typing import Annotated

import typer

from tidegate.app.worker import work
from tidegate.client.views import Worker
from tidegate.core.resources import format_bytes
from tidegate.settings import load_settings
from tidegate.ui.cli.announcing import say
from tidegate.ui.cli.connection import client
from tidegate.ui.cli.fields import labels_of
from tidegate.ui.cli.options import (
    DataDir,
    Json,
    LogLevel,
    Name,
    OfferedCpus,
    OfferedMemory,
    OwnLabels,
    Url,
)
from tidegate.ui.cli.output import print_json, print_table

app = typer.Typer(rich_markup_mode=None, add_completion=False, invoke_without_command=True)


@app.callback()
def worker(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Option("--name", help="Its name; default: the host's.")] = None,
    data_dir: Annotated[str | None, typer.Option("--data-dir", help="The shared path.")] = None,
    cpus: OfferedCpus = None,
    memory: OfferedMemory = None,
    label: OwnLabels = None,
    log_level: LogLevel = None,
) -> None:
    """Run the worker of this machine in a cluster, until Ctrl-C; or look at workers and tell them what to do.

    The first line on standard output says that it is ready; logs go to standard error, unless the setting `log_to` says
    otherwise. SIGTERM drains it: running jobs get their grace, the rest is put back. A second SIGTERM ends it at once.
    """
    if ctx.invoked_subcommand is not None:
        return
    settings = load_settings(
        data_dir=data_dir, cpus=cpus, memory=memory, labels=labels_of(label), log_level=log_level
    )

    def announce(worker_id: str) -> None:
        say(f"Tidegate worker {worker_id} is ready (data in {settings.data_dir.expanduser()})", settings)

    raise typer.Exit(work(settings, name, announce=announce))


@app.command("list")
def list_workers(json: Json = False, url: Url = None, data_dir: DataDir = None) -> None:
    """List all workers: what each has for jobs, how much of it is allocated, its labels, and how it is."""
    with client(url, data_dir) as server:
        found = list(server.workers.list())
    if json:
        print_json([worker.document for worker in found])
        return
    rows = [(w.id, w.document["hostname"], w.status, len(w.running), *_amounts(w), _labels(w)) for w in found]
    print_table(("Worker", "Host", "State", "Running", "CPUs", "Memory", "Labels"), rows, right=(3, 4, 5))


@app.command()
def drain(name: Name, json: Json = False, url: Url = None, data_dir: DataDir = None) -> None:
    """Start nothing more on a worker, until `resume`; what runs goes on."""
    with client(url, data_dir) as server:
        _say(server.workers.drain(name), json)


@app.command()
def resume(name: Name, json: Json = False, url: Url = None, data_dir: DataDir = None) -> None:
    """Start jobs on a worker again."""
    with client(url, data_dir) as server:
        _say(server.workers.resume(name), json)


@app.command()
def stop(name: Name, json: Json = False, url: Url = None, data_dir: DataDir = None) -> None:
    """Tell a worker to end: running jobs get their grace, the rest is put back."""
    with client(url, data_dir) as server:
        _say(server.workers.stop(name), json)


def _amounts(worker: Worker) -> tuple[str, str]:
    has, taken = worker.document["allocatable"], worker.document["allocated"]
    memory = f"{format_bytes(taken['memory_bytes'])} of {format_bytes(has['memory_bytes'])}"
    return f"{taken['cpus']:g} of {has['cpus']:g}", memory


def _labels(worker: Worker) -> str:
    return " ".join(f"{name}={value}" for name, value in worker.document["labels"].items())


def _say(worker: Worker, as_json: bool) -> None:
    if as_json:
        print_json(worker.document)
    else:
        print(f"{worker.id}: {worker.status}, {len(worker.running)} running")
