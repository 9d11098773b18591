"""`tidegate doctor`: what this machine offers, where each number comes from, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from tidegate.app import doctor as examine
from tidegate.settings import load_settings
from tidegate.ui.cli.options import Json
from tidegate.ui.cli.output import print_facts, print_json

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def doctor(
    data_dir: Annotated[str | None, typer.Option("--data-dir", help="Data directory to look at.")] = None,
    json: Json = False,
) -> None:
    """Show what this machine offers and what is missing."""
    findings = examine(load_settings(data_dir=data_dir))
    if json:
        print_json(findings)
        return
    for title, found in findings.items():
        print_facts(found.items() if isinstance(found, Mapping) else [("", found)], title=title)
