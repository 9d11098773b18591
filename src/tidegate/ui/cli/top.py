"""`tidegate top`: what goes on, live in a terminal, or once as text."""

from __future__ import annotations

import asyncio
import sys
from enum import StrEnum
from importlib import import_module
from typing import Annotated, Any

import typer

from tidegate.client.aio import AsyncClient
from tidegate.client.session import choose_server
from tidegate.errors import SettingError
from tidegate.ui.cli.options import DataDir, Json, Url
from tidegate.ui.cli.output import print_json
from tidegate.ui.tui.look import Watcher
from tidegate.ui.tui.picture import Picture
from tidegate.ui.tui.plain import glyphs_of_output, print_plainly

app = typer.Typer(rich_markup_mode=None, add_completion=False)


class Theme(StrEnum):
    """Colours of the live view."""

    AUTO = "auto"
    DARK = "dark"
    LIGHT = "light"
    TERMINAL = "terminal"


@app.command()
def top(
    once: Annotated[bool, typer.Option("--once", help="Print it once as plain text and end.")] = False,
    every: Annotated[
        float, typer.Option("--every", min=0.5, max=3600, help="Seconds between two looks at the server.")
    ] = 2.0,
    theme: Annotated[
        Theme, typer.Option("--theme", help="Colours: the terminal's own, or for a dark or light one.")
    ] = Theme.AUTO,
    ascii: Annotated[
        bool | None,
        typer.Option("--ascii/--unicode", help="Draw with these characters; default: what the terminal can."),
    ] = None,
    json: Json = False,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Show what goes on: workers, queues, the machine, health, alerts, and jobs that run or wait, with why.

    It stays live until q; ? shows its keys. For scripts there are --once and --json, which print one picture and end.
    """
    client = AsyncClient(lambda: choose_server(url, data_dir, None, {}, may_start=False))
    drawn = not (once or json)
    if drawn and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise SettingError("The live view draws on a terminal, and this is none. Take --once or --json.")
    if drawn:
        asyncio.run(_live().watch(client, every_s=every, theme=theme.value, ascii_only=ascii))
        return
    picture = asyncio.run(_look(client))
    print_json(picture.document()) if json else print_plainly(picture, glyphs_of_output(ascii))


async def _look(client: AsyncClient) -> Picture:
    async with client:
        return await Watcher(client).look()


def _live() -> Any:
    """The live view. It alone needs Textual, an extra, which takes 0.2 s to load."""
    try:
        return import_module("tidegate.ui.tui.live")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "textual":
            raise
        raise SettingError(
            "The live view draws with Textual, which is not installed: pip install 'tidegate[tui]'. "
            "Without it there are `tidegate top --once` and `--json`."
        ) from error
