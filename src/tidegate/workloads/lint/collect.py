"""Reads the SQL files of a folder, as `archive` reads those of an archive: into one file, links not followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from tidegate.core.resources import format_bytes
from tidegate.workloads.errors import TaskError
from tidegate.workloads.lint.archive import Limits, Member

_BLOCK_BYTES = 256 * 1024


def collect(folder: Path, into: BinaryIO, wanted: Callable[[str], bool], limits: Limits) -> Iterator[Member]:
    """Append the files below the folder whose names are `wanted` to `into`, and tell of each, in order of name.

    Raises TaskError `folder_too_many_entries`, `folder_too_large`.
    """
    at = seen = 0
    for name in _names(folder):
        seen += 1
        if seen > limits.entries:
            raise TaskError(
                f"The folder has more than {limits.entries} files. Send it in parts.",
                code="folder_too_many_entries",
                numbers={"limit": limits.entries},
            )
        if not wanted(name):
            continue
        member = _appended(folder, name, into, at, limits)
        at += member.size_bytes
        if at > limits.total_bytes:
            raise TaskError(
                f"The folder's SQL files have more than {format_bytes(limits.total_bytes)}. Send it in parts.",
                code="folder_too_large",
                numbers={"limit": limits.total_bytes, "observed": at},
            )
        yield member


def _names(folder: Path) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        folders.sort()
        inside = os.path.relpath(place, folder)
        for name in sorted(names):
            yield name if inside == "." else f"{inside}/{name}"


def _appended(folder: Path, path: str, into: BinaryIO, at: int, limits: Limits) -> Member:
    name = path.encode("utf-8", "replace").decode()[:1000]
    try:
        fd = os.open(folder / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return Member(name, problem="unreadable", reason=f"It cannot be opened: {error.strerror}.")
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return Member(name, problem="unreadable", reason="It is no plain file.")
        size = 0
        while block := file.read(min(_BLOCK_BYTES, limits.member_bytes + 1 - size)):
            size += len(block)
            if size > limits.member_bytes:
                into.seek(at)
                into.truncate()
                reason = f"It has more than {limits.member_bytes} bytes."
                return Member(name, problem="too_large", reason=reason)
            into.write(block)
    return Member(name, at, size)
