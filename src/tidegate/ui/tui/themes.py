"""Three looks: dark, light, and the terminal's own colours. Few colours, each with a meaning that the text has as well."""

from __future__ import annotations

import os
from collections.abc import Mapping

from textual.theme import BUILTIN_THEMES, Theme

_CALM = {"soft": "#8aa3ae", "line": "#27404b", "cursor": "#1b4a58"}
DARK = Theme(
    name="dark",
    dark=True,
    primary="#4fc3d9",
    accent="#4fc3d9",
    success="#7ccf8f",
    warning="#e8b44f",
    error="#f2777a",
    foreground="#e3eef2",
    background="#0c1a21",
    surface="#12252e",
    panel="#12252e",
    variables=_CALM,
)
LIGHT = Theme(
    name="light",
    dark=False,
    primary="#0b7285",
    accent="#0b7285",
    success="#2b7a3d",
    warning="#8a5a00",
    error="#b3261e",
    foreground="#12303f",
    background="#f6f9fa",
    surface="#ffffff",
    panel="#ffffff",
    variables={"soft": "#55707e", "line": "#c9d8de", "cursor": "#cfe8ee"},
)
TERMINAL = Theme(
    name="terminal",
    ansi=True,
    primary="ansi_cyan",
    accent="ansi_cyan",
    success="ansi_green",
    warning="ansi_yellow",
    error="ansi_red",
    foreground="ansi_default",
    background="ansi_default",
    surface="ansi_default",
    panel="ansi_default",
    boost="ansi_default",
    variables={
        **BUILTIN_THEMES["ansi-dark"].variables,
        "soft": "ansi_default",
        "line": "ansi_default",
        "cursor": "ansi_default",
    },
)
THEMES = (DARK, LIGHT, TERMINAL)


def chosen_theme(wanted: str, environment: Mapping[str, str] = os.environ) -> str:
    """The name of a theme. `auto`: the terminal's own colours where there is no choice or none is wanted, else by what the
    terminal says of its background (`COLORFGBG`, whose last number is that of its colour)."""
    if environment.get("NO_COLOR") or environment.get("TERM") in ("linux", "vt100", "vt220"):
        return TERMINAL.name
    if wanted != "auto":
        return wanted
    background = environment.get("COLORFGBG", "").rpartition(";")[2]
    return LIGHT.name if background in ("7", "15") else DARK.name
