"""`tidegate db ...`: the tables of the database of record."""

from __future__ import annotations

from typing import Annotated

import typer

from tidegate.app.database import upgrade_database
from tidegate.settings import load_settings
from tidegate.ui.cli.options import Json
from tidegate.ui.cli.output import print_json

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="The database: bring it up to date.",
)


@app.callback()
def db() -> None:
    """The database: bring it up to date."""


@app.command()
def upgrade(
    data_dir: Annotated[
        str | None, typer.Option("--data-dir", help="Data directory, where that has the database.")
    ] = None,
    json: Json = False,
) -> None:
    """Make the tables, or bring them up to this version, and stop.

    Servers and workers do the same when they start. Apart it is for those who want it done, and seen, before.
    """
    facts = upgrade_database(load_settings(data_dir=data_dir))
    if json:
        print_json({"url": facts.url, "product": facts.product, "revision": facts.revision})
    else:
        print(f"{facts.product} at {facts.url} has the tables of revision {facts.revision}.")
