"""Writes the table of all settings into docs/settings.md, between its markers."""

from __future__ import annotations

from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from tidegate.settings import Settings

BEGIN, END = "<!-- settings: written by scripts/settings_docs.py -->", "<!-- end of settings -->"
PAGE = Path(__file__).parents[1] / "docs" / "settings.md"


def section() -> str:
    """The part of the page that is written here."""
    lines = ["| setting | default | values | environment | what it does |", "| --- | --- | --- | --- | --- |"]
    lines += [_line(name, field) for name, field in Settings.model_fields.items()]
    return "\n".join([BEGIN, *lines, END])


def _line(name: str, field: FieldInfo) -> str:
    cells = (f"`{name}`", _default(field), _values(field), _environment(name, field), field.description or "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is None or value in ([], {}):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _values(field: FieldInfo) -> str:
    kinds: list[Any] = [kind for kind in _alternatives(field.annotation) if kind is not type(None)]
    if get_origin(kinds[0]) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kinds[0]))
    if get_origin(kinds[0]) is list:
        return "list"
    if get_origin(kinds[0]) is dict:
        return "table of names and texts"
    words = {
        "bool": "true or false", "str": "text", "SecretStr": "text", "Path": "path", "int": "whole number", "float": "number"
    }  # fmt: skip
    bounds = [f"{sign} {getattr(bound, attribute):g}" for bound in field.metadata for attribute, sign in _BOUNDS.items()
              if hasattr(bound, attribute)]  # fmt: skip
    return ", ".join([words[kinds[0].__name__], *bounds])


_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)


def _environment(name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    names = (
        [str(choice) for choice in alias.choices]
        if isinstance(alias, AliasChoices)
        else [f"TIDEGATE_{name.upper()}"]
    )
    return ", ".join(f"`{one}`" for one in names if one != name)


def with_section(page: str) -> str:
    """The page with its table as the settings are now."""
    head, _, rest = page.partition(BEGIN)
    return head + section() + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(with_section(PAGE.read_text("utf-8")), "utf-8")
