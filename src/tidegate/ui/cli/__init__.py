"""The command line. Each command is loaded when it is called, so that `tidegate jobs` need not wait for what serves."""

from __future__ import annotations

from typing import Annotated

import typer

from tidegate import __version__
from tidegate.ui.cli.lazy import LazyGroup

EPILOG = (
    "Exit codes: 0 done, 1 a job failed, 2 wrong usage, 3 not found, 4 refused, 5 busy or in use, 6 no server, 124 not ended "
    "in time, 130 interrupted. TIDEGATE_URL and TIDEGATE_API_KEY point commands at a server."
)

app = typer.Typer(
    name="tidegate",
    cls=LazyGroup,
    help="Run heavy data jobs on this machine, filled to the edge and never over it.",
    epilog=EPILOG,
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"tidegate {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Carries the options of the command itself."""


def main() -> None:
    """The command `tidegate`."""
    app(prog_name="tidegate")
