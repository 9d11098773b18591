"""The files that an attempt left behind, listed and opened without ever following a link."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tidegate.errors import NotFound

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class OutputFile(NamedTuple):
    """A file by its path below the folder, and its size."""

    name: str
    size_bytes: int


def list_files(folder: Path, after: str, limit: int) -> list[OutputFile]:
    """Plain files below a folder in order of name, those behind `after`. Raises NotFound when the folder is gone."""
    try:
        root = os.open(folder, _OPEN | os.O_DIRECTORY)
    except OSError:
        raise NotFound(f"The files of {folder.name!r} are not there any more.") from None
    try:
        found = sorted(file for file in _below(root, "") if file.name > after)
    finally:
        os.close(root)
    return found[:limit]


def _below(folder: int, prefix: str) -> Iterator[OutputFile]:
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{prefix}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                inner = os.open(entry.name, _OPEN | os.O_DIRECTORY, dir_fd=folder)
                try:
                    yield from _below(inner, f"{name}/")
                finally:
                    os.close(inner)
            elif _is_ours(found := entry.stat(follow_symlinks=False)):
                yield OutputFile(name, found.st_size)


def open_file(folder: Path, name: str) -> int:
    """A descriptor of one plain file below a folder, to be closed by the caller.

    Each part of the name is opened by itself, without following links. Raises NotFound for anything else than a plain file.
    """
    parts = name.split("/")
    missing = NotFound(f"There is no file {name!r:.200} in this result.")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise missing
    try:
        fd = os.open(folder, _OPEN | os.O_DIRECTORY)
        for part in parts[:-1]:
            fd = _step(fd, part, os.O_DIRECTORY)
        fd = _step(fd, parts[-1], os.O_NONBLOCK)
    except (OSError, UnicodeEncodeError):  # _step has closed what was open
        raise missing from None
    if _is_ours(os.fstat(fd)):
        return fd
    os.close(fd)
    raise missing


def _step(folder: int, name: str, flags: int) -> int:
    """Open one entry of an open folder, which is closed."""
    try:
        return os.open(name, _OPEN | flags, dir_fd=folder)
    finally:
        os.close(folder)


def _is_ours(found: os.stat_result) -> bool:
    """A plain file that lies nowhere else as well."""
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1
