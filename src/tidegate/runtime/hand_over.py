"""What an attempt has made, from the scratch disk of its machine to the shared path.

The attempt's own process copies, within its limits, before it reports its success: a large result holds up nobody else, and
an attempt that fails puts nothing there. It becomes visible later, by the worker's move and the commit that names it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from tidegate.runtime.task_file import FILE_NAME

_NAMED = ("file", "folder", "bad_rows_file")
"""Fields of a report that name what is to be published."""
_PIECE_BYTES = 1 << 30


def hand_over(staging: str, target: str, result: Mapping[str, Any]) -> None:
    """Copy what `result` names, and the tasks that were added, from one folder to the other and through to the disk.

    What is not there or no plain name is left for the worker to refuse. Raises OSError.
    """
    names = [name for name in map(result.get, _NAMED) if isinstance(name, str)]
    for name in (*names, FILE_NAME):
        if os.sep in name or name in ("", ".", ".."):
            continue
        try:
            _copy(f"{staging}/{name}", f"{target}/{name}")
        except FileNotFoundError:
            continue


def _copy(source: str, target: str) -> None:
    if os.path.islink(source) or not os.path.isdir(source):
        _copy_file(source, target)
        return
    for at, _, names in os.walk(source):
        there = os.path.normpath(os.path.join(target, os.path.relpath(at, source)))
        os.mkdir(there, 0o700)
        for name in names:
            _copy_file(os.path.join(at, name), os.path.join(there, name))


def _copy_file(source: str, target: str) -> None:
    """A plain file; links are not followed, and devices and pipes not waited for."""
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            while os.sendfile(writing, reading, None, _PIECE_BYTES):
                pass
            os.fsync(writing)
        finally:
            os.close(writing)
    finally:
        os.close(reading)
