"""`tidegate audit`: who did what."""

from __future__ import annotations

import itertools
import json as json_format
from typing import Annotated, Any

import typer

from tidegate.ui.cli.connection import client
from tidegate.ui.cli.options import Csv, DataDir, From, Json, RowFormat, To, Url, only_one
from tidegate.ui.cli.output import print_json, print_rows, print_table

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_COLUMNS = (
    "id",
    "at",
    "actor",
    "role",
    "key_id",
    "action",
    "object",
    "outcome",
    "request_id",
    "address",
    "detail",
)


@app.command()
def audit(
    actor: Annotated[str | None, typer.Option("--actor", help="Only what this owner did.")] = None,
    action: Annotated[str | None, typer.Option("--action", help="Only such actions, as key.create.")] = None,
    object: Annotated[
        str | None, typer.Option("--object", help="Only what was done to this, as 'queue etl'.")
    ] = None,
    since: From = None,
    until: To = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most rows.")] = 50,
    json: Json = False,
    csv: Csv = False,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Show who did what, the newest first. For operators."""
    only_one(json, csv)
    with client(url, data_dir) as server:
        found = server.audit(actor=actor, action=action, object=object, since=since, until=until)
        rows = list(itertools.islice(found, limit))
    if json:
        print_json(rows)
        return
    if csv:
        print_rows([(name, "") for name in _COLUMNS], map(_as_line, rows), RowFormat.CSV)
        return
    heads = ("At", "Actor", "Role", "Action", "Object", "Outcome", "From", "Detail")
    print_table(heads, [_cells(row) for row in rows], cut=7)


def _as_line(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "detail": json_format.dumps(row["detail"], ensure_ascii=False) if row["detail"] else None}


def _cells(row: dict[str, Any]) -> list[Any]:
    detail = json_format.dumps(row["detail"]) if row["detail"] else None
    names = ("at", "actor", "role", "action", "object", "outcome", "address")
    return [*(row[name] for name in names), detail]
