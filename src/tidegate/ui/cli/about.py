"""`tidegate version`."""

from __future__ import annotations

import platform

import typer

from tidegate import __version__
from tidegate.ui.cli.options import Json
from tidegate.ui.cli.output import print_json

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def version(json: Json = False) -> None:
    """Print the version."""
    if json:
        print_json({"tidegate": __version__, "python": platform.python_version()})
    else:
        print(f"tidegate {__version__}")
