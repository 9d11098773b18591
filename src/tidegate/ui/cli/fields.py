"""The fields of a submission from what stands on the command line."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import typer

MOST_SENT_BYTES = 1024 * 1024
"""What a server takes of files that are sent along, all together."""


def pair(text: str, option: str) -> tuple[str, str]:
    """NAME and VALUE of `NAME=VALUE`."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE.", param_hint=option)
    return name, value


def field(text: str) -> tuple[str, Any]:
    """A field of a kind; its value is JSON, or else text."""
    name, value = pair(text, "--field")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def labels_of(texts: Sequence[str] | None) -> dict[str, str] | None:
    """Labels by their names; None where none is given."""
    return dict(pair(text, "--label") for text in texts) if texts else None


def read_json(text: str, option: str, kind: type) -> Any:
    """A list or an object given as JSON."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"This is no JSON: {error}.", param_hint=option) from None
    if not isinstance(value, kind):
        wanted = "a list" if kind is list else "an object"
        raise typer.BadParameter(f"This must be {wanted} in JSON, not {text!r:.60}.", param_hint=option)
    return value


def of_command(
    argv: Sequence[str],
    *,
    env: Sequence[str],
    cwd: str | None,
    stdin: str | None,
    send: Sequence[str],
    read: Sequence[str],
    write: Sequence[str],
) -> dict[str, Any]:
    """Of the kind `command`. A program that is named by a relative path is sent along, unless a folder is named."""
    sent = cwd is None and _is_sent(argv[0])
    fields: dict[str, Any] = {
        "kind": "command",
        "argv": [os.path.join(".", _sent_as(argv[0])) if sent else argv[0], *argv[1:]],
        "env": dict(pair(text, "--env") for text in env),
        "cwd": cwd,
        "stdin": None if stdin is None else _text(stdin),
        "files": _files([*([argv[0]] if sent else []), *send]),
        "readable_paths": [os.path.abspath(path) for path in read],
        "writable_paths": [os.path.abspath(path) for path in write],
    }
    return {name: value for name, value in fields.items() if value not in (None, [], {})}


def of_function(function: str, args: str | None, kwargs: str | None) -> dict[str, Any]:
    """Of the kind `function`."""
    fields: dict[str, Any] = {"kind": "function", "function": function}
    if args is not None:
        fields["args"] = read_json(args, "--args", list)
    if kwargs is not None:
        fields["kwargs"] = read_json(kwargs, "--kwargs", dict)
    return fields


def _is_sent(program: str) -> bool:
    return os.sep in program and not os.path.isabs(program) and os.path.isfile(program)


def _sent_as(path: str) -> str:
    """The name of a file that is sent along: its path from here, or its own name when it lies elsewhere."""
    name = os.path.relpath(path)
    return os.path.basename(path) if name.startswith("..") else name


def _files(paths: Iterable[str]) -> dict[str, Any]:
    """The contents of files, under the names that they have from here."""
    files: dict[str, Any] = {}
    size = 0
    for path in paths:
        name = _sent_as(path)
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise typer.BadParameter(
                f"{path} cannot be read: {error.strerror}.", param_hint="--send"
            ) from None
        size += len(content)
        if size > MOST_SENT_BYTES:
            raise typer.BadParameter(
                f"{path} makes more than 1 MiB of files to send. Put large ones where the server can read them, and name "
                "them by --cwd or --read.",
                param_hint="--send",
            )
        files[name] = {"base64": base64.b64encode(content).decode()}
    return files


def _text(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file} cannot be read as text: {error}.", param_hint="--stdin") from None
