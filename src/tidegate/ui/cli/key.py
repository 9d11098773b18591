"""`tidegate key ...`: API keys, over HTTP where a server is named, else in the database itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from tidegate.app.keys import LocalKeys, local_keys
from tidegate.client.keys import Keys
from tidegate.core.identity import Role
from tidegate.settings import load_settings
from tidegate.ui.cli.connection import client
from tidegate.ui.cli.options import Json
from tidegate.ui.cli.output import print_json, print_table

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="API keys: create, list, revoke.",
)

Url = Annotated[
    str | None, typer.Option("--url", help="Ask this server, with an admin's key; default: TIDEGATE_URL.")
]
DataDir = Annotated[
    str | None, typer.Option("--data-dir", help="Work on the database of this data directory itself.")
]
KeyId = Annotated[str, typer.Argument(metavar="KEY_ID", help="As `key list` shows it.", show_default=False)]


@app.command()
def create(
    owner: Annotated[str, typer.Option("--owner", help="Whose jobs and sources it opens.")],
    role: Annotated[
        Role, typer.Option("--role", help="What its holder may do; each role all that the one before may.")
    ] = Role.USER,
    name: Annotated[str, typer.Option("--name", help="What it is for.")] = "",
    expires: Annotated[
        float | None, typer.Option("--expires", min=0, help="Days until it expires; default: never.")
    ] = None,
    json: Json = False,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Make a key and print it: it is shown this once and kept nowhere.

    Without a server's address it is made in the database itself: so a server gets its first key.
    """
    with _keys(url, data_dir) as keys:
        made = keys.create(owner, role, name=name, expires_in_days=expires)
    if json:
        print_json(made)
        return
    print(made["key"], flush=True)
    until = f"until {made['expires_at']}" if made["expires_at"] else "until it is revoked"
    print(f"Key {made['key_id']} of {owner} ({made['role']}) is valid {until}. Keep it now.", file=sys.stderr)


@app.command()
def first(
    file: Annotated[
        Path,
        typer.Option("--file", help="Where the key is, or is written when there is none yet (mode 600)."),
    ],
    owner: Annotated[str, typer.Option("--owner", help="Whose jobs and sources it opens.")] = "admin",
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """See that an admin's key opens a new database, so that its server starts beyond loopback; do nothing where one does.

    For start scripts and containers: any number of servers may do it at once, with the same file.
    """
    settings: dict[str, Any] = {"data_dir": data_dir}
    with local_keys(load_settings(**settings)) as keys:
        made = keys.first(file, owner)
    if json:
        print_json(made)
    elif made is None:
        print("There are keys already.")
    else:
        print(
            f"Key {made['key_id']} of {owner} ({made['role']}) is valid until it is revoked; it stands in {file}."
        )


@app.command("list")
def list_keys(json: Json = False, url: Url = None, data_dir: DataDir = None) -> None:
    """List all keys, also those that open nothing any more. None shows the key itself."""
    with _keys(url, data_dir) as keys:
        found = list(keys.list())
    if json:
        print_json(found)
        return
    names = ("key_id", "owner", "role", "state", "created_at", "expires_at", "last_used_at", "name")
    heads = ("Key", "Owner", "Role", "State", "Created", "Expires", "Last used", "Name")
    print_table(heads, [[key[field] or None for field in names] for key in found])


@app.command()
def revoke(key_id: KeyId, json: Json = False, url: Url = None, data_dir: DataDir = None) -> None:
    """Let a key open nothing any more, on running servers within seconds."""
    with _keys(url, data_dir) as keys:
        revoked = keys.revoke(key_id)
    print_json(revoked) if json else print(f"Key {key_id} of {revoked['owner']} is revoked.")


@contextmanager
def _keys(url: str | None, data_dir: str | None) -> Iterator[Keys | LocalKeys]:
    if url or (data_dir is None and os.environ.get("TIDEGATE_URL")):
        with client(url, None) as server:
            yield server.keys
    else:
        settings: dict[str, Any] = {"data_dir": data_dir}
        with local_keys(load_settings(**settings)) as keys:
            yield keys
