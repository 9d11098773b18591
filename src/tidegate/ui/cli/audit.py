"""`tidegate audit`: who did what."""

from __future__ import annotations

import itertools
import json as json_format
from typing import Annotated, Any

import typer

from tidegate.ui.cli.connection import client
from tidegate.ui.cli.options import DataDir, Json, Url
from tidegate.ui.cli.output import print_json, print_table

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def audit(
    actor: Annotated[str | None, typer.Option("--actor", help="Only what this owner did.")] = None,
    action: Annotated[str | None, typer.Option("--action", help="Only such actions, as key.create.")] = None,
    object: Annotated[
        str | None, typer.Option("--object", help="Only what was done to this, as 'queue etl'.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most rows.")] = 50,
    json: Json = False,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Show who did what, the newest first. For operators."""
    with client(url, data_dir) as server:
        rows = list(itertools.islice(server.audit(actor=actor, action=action, object=object), limit))
    if json:
        print_json(rows)
        return
    heads = ("At", "Actor", "Role", "Action", "Object", "Outcome", "From", "Detail")
    print_table(heads, [_cells(row) for row in rows], cut=7)


def _cells(row: dict[str, Any]) -> list[Any]:
    detail = json_format.dumps(row["detail"]) if row["detail"] else None
    names = ("at", "actor", "role", "action", "object", "outcome", "address")
    return [*(row[name] for name in names), detail]
