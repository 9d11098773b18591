"""`tidegate serve`: a server in the foreground. One of the two commands that load what serves."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Annotated

import typer

from tidegate.app.serving import serve as run_server
from tidegate.settings import load_settings
from tidegate.ui.cli.announcing import say
from tidegate.ui.cli.fields import labels_of
from tidegate.ui.cli.options import LogLevel, OfferedCpus, OfferedMemory, OwnLabels

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen on; default: 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", help="Port; 0 picks a free one; default: 8420.")
    ] = None,
    data_dir: Annotated[str | None, typer.Option("--data-dir", help="Where everything is kept.")] = None,
    cpus: OfferedCpus = None,
    memory: OfferedMemory = None,
    label: OwnLabels = None,
    log_level: LogLevel = None,
    die_with_parent: Annotated[
        bool, typer.Option("--die-with-parent", help="Stop when standard input closes.")
    ] = False,
) -> None:
    """Run a server with its worker, until Ctrl-C.

    The first line on standard output has its address; logs go to standard error, unless the setting `log_to` says otherwise.
    """
    settings = load_settings(
        host=host,
        port=port,
        data_dir=data_dir,
        cpus=cpus,
        memory=memory,
        labels=labels_of(label),
        log_level=log_level,
    )

    def announce(url: str) -> None:
        say(f"Tidegate is listening on {url} (data in {settings.data_dir.expanduser()})", settings)

    if die_with_parent:
        threading.Thread(target=_stop_at_end_of_input, name="parent-watch", daemon=True).start()
    raise typer.Exit(run_server(settings, announce=announce))


def _stop_at_end_of_input() -> None:
    """The parent holds the other end of our input; it closes with the parent, however that ends."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
