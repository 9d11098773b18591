"""Which server a client speaks to: the one that was named, the one that runs here, or one that it starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tidegate.client import calls
from tidegate.client.http import client_options, request_options
from tidegate.client.local import LocalServer, data_dir_of, running_url, start_server
from tidegate.errors import InvalidInput, ServerUnreachable


@dataclass(frozen=True, slots=True)
class Target:
    """An address, the key to show there, and the server that was started for it, if one was."""

    url: str
    api_key: str | None
    server: LocalServer | None = None


def key_of_environment() -> str | None:
    """The key of `TIDEGATE_API_KEY`, or of the file that `TIDEGATE_API_KEY_FILE` names. Raises InvalidInput."""
    given, file = os.environ.get("TIDEGATE_API_KEY"), os.environ.get("TIDEGATE_API_KEY_FILE")
    if given or not file:
        return (given or "").strip() or None
    try:
        return Path(file).read_text("utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"TIDEGATE_API_KEY_FILE: {file} cannot be read: {error}.") from None


def choose_server(
    url: str | None,
    data_dir: str | os.PathLike[str] | None,
    api_key: str | None,
    settings: Mapping[str, Any],
    *,
    may_start: bool = True,
    start_settings: Mapping[str, Any] | None = None,
) -> Target:
    """The server to speak to. `start_settings` are used only if one is started; `settings` must be.

    Raises ServerUnreachable when none runs and none may be started.
    """
    key = api_key or key_of_environment()
    named = url or (os.environ.get("TIDEGATE_URL") if data_dir is None else None)
    if named:
        _refuse_settings(settings, f"the server at {named}")
        return Target(named.rstrip("/"), key)
    folder = data_dir_of(data_dir)
    found = running_url(folder, answers)
    if found is not None:
        _refuse_settings(settings, f"the server that already runs on {folder}")
        return Target(found, key)
    if not may_start:
        raise ServerUnreachable(
            f"No Tidegate server runs on {folder}. Start one with `tidegate serve`, "
            "or set TIDEGATE_URL to the address of one that runs."
        )
    return _start_or_find(folder, key, settings, {**(start_settings or {}), **settings})


def _start_or_find(
    folder: Path, key: str | None, settings: Mapping[str, Any], to_start: Mapping[str, Any]
) -> Target:
    """Two programs may start a server at the same moment; the second finds that of the first."""
    try:
        server = start_server(folder, to_start)
    except ServerUnreachable:
        found = running_url(folder, answers)
        if found is None:
            raise
        _refuse_settings(settings, f"the server that already runs on {folder}")
        return Target(found, key)
    return Target(server.url, key, server)


def _refuse_settings(settings: Mapping[str, Any], what: str) -> None:
    given = [name for name, value in settings.items() if value is not None]
    if given:
        raise InvalidInput(
            f"{', '.join(given)}: these settings cannot be given to {what}. Leave them out, or stop it first."
        )


def answers(url: str) -> bool:
    """Whether a Tidegate server answers at the address."""
    call = calls.health.live()
    try:
        with httpx2.Client(**client_options(url, None)) as http:
            return bool(http.request(call.method, call.path, **request_options(call)).status_code == 200)
    except httpx2.HTTPError:
        return False
