"""The server of a data directory: find the one that runs, or start one that lives as long as this process wants it."""

from __future__ import annotations

import atexit
import json
import os
import selectors
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tidegate.errors import InvalidInput, ServerUnreachable

START_S = 60.0
"""Longest time a server may take to say its address."""
STOP_S = 30.0
"""Longest time a server may take to stop; its running jobs get their grace within it."""
DEFAULT_DATA_DIR = "~/.local/share/tidegate"


def data_dir_of(given: str | os.PathLike[str] | None = None) -> Path:
    """The data directory as a server started here would choose it: argument, environment, `tidegate.toml`, default."""
    chosen = (
        given
        or os.environ.get("TIDEGATE_DATA_DIR")
        or os.environ.get("NFS_SHARE_ROOT_PATH")
        or _configured_data_dir()
        or DEFAULT_DATA_DIR
    )
    return Path(chosen).expanduser().absolute()


def _configured_data_dir() -> str | None:
    try:
        settings = tomllib.loads(Path("tidegate.toml").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    value = settings.get("data_dir")
    return value if isinstance(value, str) else None


def running_url(data_dir: Path, answers: Callable[[str], bool]) -> str | None:
    """The address of the server that runs on the data directory, or None. `answers(url)` asks whether it lives."""
    try:
        note = json.loads((data_dir / "server.json").read_text("utf-8"))
        pid, url = int(note["pid"]), str(note["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return url if _alive(pid) and answers(url) else None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


class LocalServer:
    """A server started as a child. It ends by `stop()`, and by itself when this process is gone and its input ends."""

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self.url = url
        self.pid = process.pid
        self._process = process
        atexit.register(self.stop)

    def stop(self) -> None:
        """End the server and wait until it is gone. Doing so twice is fine."""
        atexit.unregister(self.stop)
        _end(self._process)


def start_server(
    data_dir: Path, settings: Mapping[str, Any] | None = None, timeout_s: float = START_S
) -> LocalServer:
    """Start `tidegate serve` on the data directory and a free port. Raises ServerUnreachable with its last words."""
    data_dir.mkdir(parents=True, exist_ok=True)
    log_path = data_dir / "server.log"
    command = [
        sys.executable,
        "-m",
        "tidegate",
        "serve",
        "--port",
        "0",
        "--data-dir",
        str(data_dir),
        "--die-with-parent",
    ]
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **settings_environment(settings or {})},
            # Ctrl-C in the terminal is this process's business; it then ends the server in good order.
            start_new_session=True,
        )
    try:
        return LocalServer(process, _address_of(process, timeout_s, log_path))
    except BaseException:
        _end(process)
        raise


def settings_environment(settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings as environment variables of a server. Raises InvalidInput for a value that has no text."""
    return {
        f"TIDEGATE_{name.upper()}": _setting_text(name, value)
        for name, value in settings.items()
        if value is not None
    }


def _setting_text(name: str, value: Any) -> str:
    if isinstance(value, list | tuple):
        return json.dumps([_setting_text(name, item) for item in value])
    if isinstance(value, str | int | float | os.PathLike):
        return str(value)
    raise InvalidInput(f"The setting {name} must be text, a number or a list of them, not {value!r}.")


def _address_of(process: subprocess.Popen[bytes], timeout_s: float, log_path: Path) -> str:
    """The address in the first line that the server prints."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        ready = selector.select(timeout_s)
    line = process.stdout.readline().decode("utf-8", "replace") if ready else ""
    url = next((word.rstrip(".,") for word in line.split() if word.startswith(("http://", "https://"))), None)
    if url is None:
        raise ServerUnreachable(
            f"A server did not start in {log_path.parent}: {_story(process, line, timeout_s, log_path)}"
        )
    return url


def _story(process: subprocess.Popen[bytes], line: str, timeout_s: float, log_path: Path) -> str:
    if line:
        return f"it printed {line.strip()!r} in place of its address."
    if process.stdin is not None:
        process.stdin.close()
    try:
        code: int | None = process.wait(5)
    except subprocess.TimeoutExpired:
        code = None
    last = log_path.read_text("utf-8", "replace").strip().splitlines()[-1:] or ["it said nothing."]
    ended = (
        f"it ended with exit code {code}"
        if code is not None
        else f"it gave no address within {timeout_s:g} s"
    )
    free = shutil.disk_usage(log_path.parent).free
    full = f" Its disk may be full: {free} bytes are free in {log_path.parent}." if free < 2**20 else ""
    return f"{ended}. Its last words: {last[0]}{full}"


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
