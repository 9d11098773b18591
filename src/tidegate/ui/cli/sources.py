"""`tidegate sources ...`: named data sets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from tidegate.client.views import Source
from tidegate.ui.cli.connection import client
from tidegate.ui.cli.options import DataDir, Json, Name, RowFormat, Url
from tidegate.ui.cli.output import count, print_facts, print_json, print_rows, print_table, size

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Named data sets: list, add, look into, delete.",
)


Shared = Annotated[bool, typer.Option("--shared", help="Let every owner read it.")]


@app.command("list")
def list_sources(json: Json = False, url: Url = None, data_dir: DataDir = None) -> None:
    """List all sources."""
    with client(url, data_dir) as server:
        found = list(server.sources.list())
    if json:
        print_json([source.document for source in found])
        return
    rows = [
        (s.name, s.format, _number(s.row_count), len(s.columns), size(s.size_bytes), s.job_id, s.path)
        for s in found
    ]
    print_table(("Source", "Format", "Rows", "Columns", "Size", "Job", "Path"), rows, right=(2, 3, 4, 5))


def _number(value: int | None) -> str | None:
    return None if value is None else f"{value:,}"


@app.command()
def add(
    name: Name,
    path: Annotated[
        str, typer.Argument(help="File, glob or folder on the server's machine.", show_default=False)
    ],
    format: Annotated[
        str | None, typer.Option("--format", help="csv, parquet or json; default: by name.")
    ] = None,
    shared: Shared = False,
    json: Json = False,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Register a file, a glob or a folder under a name."""
    # A path that exists here is meant from here; any other is the server's to find in its data directory.
    here = os.path.abspath(os.path.expanduser(path))
    with client(url, data_dir) as server:
        meant = (
            here if server.is_local and (Path(here).exists() or path.startswith(("./", "../", "~"))) else path
        )
        _say(server.sources.add(name, meant, format=format, shared=shared), json)


@app.command()
def upload(
    path: Annotated[Path, typer.Argument(help="File on this machine.", show_default=False)],
    name: Annotated[
        str | None, typer.Option("--name", help="The source's name; default: after the file.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an uploaded file of that name.")
    ] = False,
    shared: Shared = False,
    json: Json = False,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Send a file to the server and register it."""
    with client(url, data_dir) as server:
        _say(server.sources.upload(path, name, overwrite=overwrite, shared=shared), json)


def _say(source: Source, as_json: bool) -> None:
    if as_json:
        print_json(source.document)
        return
    rows = "rows not counted yet" if source.row_count is None else count(source.row_count, "row")
    print(
        f"{source.name}: {rows}, {count(len(source.columns), 'column')}, {size(source.size_bytes)} of {source.format}"
    )


@app.command()
def show(name: Name, json: Json = False, url: Url = None, data_dir: DataDir = None) -> None:
    """Show a source with its columns and origin."""
    with client(url, data_dir) as server:
        source = server.sources.get(name)
    if json:
        print_json(source.document)
        return
    document = source.document
    facts = (
        ("format", source.format),
        ("path", source.path),
        ("owner", document.get("owner")),
        ("shared", "yes" if document.get("shared") else None),
        ("files", document.get("file_count")),
        ("rows", _number(source.row_count)),
        ("size", size(source.size_bytes)),
        ("created", document.get("created_at")),
        ("made by job", source.job_id),
        ("made from", ", ".join(document.get("lineage") or ()) or None),
        ("sql", document.get("sql")),
    )
    print_facts(facts, title=source.name)
    print()
    print_table(("Column", "Type"), source.columns)


@app.command()
def preview(
    name: Name,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most rows.")] = 20,
    offset: Annotated[int, typer.Option("--offset", min=0, help="Rows to leave out first.")] = 0,
    format: Annotated[RowFormat, typer.Option("--format", help="How rows are printed.")] = RowFormat.TABLE,
    json: Json = False,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Print a page of a source's rows."""
    with client(url, data_dir) as server:
        rows = server.sources.preview(name, limit, offset)
    if json:
        columns = [column._asdict() for column in rows.columns]
        print_json({"columns": columns, "rows": rows.dicts(), "truncated": rows.truncated})
    else:
        print_rows(rows.columns, rows.dicts(), format)


@app.command()
def download(
    name: Name,
    output: Annotated[Path, typer.Argument(help="File to write.", show_default=False)],
    format: Annotated[
        str | None, typer.Option("--format", help="parquet, csv or jsonl; default: by ending.")
    ] = None,
    json: Json = False,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Write a whole source to a file here."""
    with client(url, data_dir) as server:
        path = server.sources.download(name, output, format)
    size_bytes = path.stat().st_size
    print_json({"file": str(path), "size_bytes": size_bytes}) if json else print(
        f"{path}: {size(size_bytes)}"
    )


@app.command()
def delete(name: Name, json: Json = False, url: Url = None, data_dir: DataDir = None) -> None:
    """Forget a source. Files that Tidegate made go with it; your own stay."""
    with client(url, data_dir) as server:
        server.sources.delete(name)
    print_json({"deleted": name}) if json else print(f"{name} is deleted.")
