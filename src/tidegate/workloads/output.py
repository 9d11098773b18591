"""The files that a command or a function leaves in its output folder: looked through before the attempt ends.

Plain files stay. Links, devices and the like are taken away, since they would lead whoever downloads them elsewhere. What is
listed here is for people; whoever opens a published file looks again.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Any

FOLDER = "output"
"""Name of the folder, in the staging folder."""
MOST_FILES = 10_000
LISTED_BYTES = 128 * 1024
"""About how much of a result the list of files may be; the API lists the rest from the disk."""
_MOST_SKIPPED = 20


def gather(staging: str) -> dict[str, Any]:
    """Facts for the attempt's result: `folder`, `file_count`, `size_bytes`, `files` with names and sizes, `skipped`.

    Empty when nothing was left. Every file is written through to the disk.
    """
    root = os.path.join(staging, FOLDER)
    sizes: dict[str, int] = {}
    skipped: list[dict[str, str]] = []
    for name in sorted(_names(root)):
        reason = _fault(root, name) or (f"more than {MOST_FILES} files" if len(sizes) == MOST_FILES else None)
        if reason is None:
            sizes[name] = _write_through(os.path.join(root, name))
            continue
        os.unlink(os.path.join(root, name))
        if len(skipped) < _MOST_SKIPPED:
            skipped.append({"name": name.encode("utf-8", "replace").decode(), "reason": reason})
    facts: dict[str, Any] = {"skipped": skipped} if skipped else {}
    if not sizes:
        return facts
    listed = _listed(sizes)
    return {
        "folder": FOLDER,
        "file_count": len(sizes),
        "size_bytes": sum(sizes.values()),
        "files": listed,
        "files_truncated": len(listed) < len(sizes),
        **facts,
    }


def _names(root: str) -> Iterator[str]:
    """All that is no folder, by its path below the root."""
    for at, folders, names in os.walk(root):
        links = [name for name in folders if os.path.islink(os.path.join(at, name))]
        yield from (os.path.relpath(os.path.join(at, name), root) for name in (*names, *links))


def _fault(root: str, name: str) -> str | None:
    """Why a file cannot be kept; None when it can."""
    found = os.lstat(os.path.join(root, name))
    if stat.S_ISLNK(found.st_mode):
        return "a link"
    if not stat.S_ISREG(found.st_mode):
        return "not a plain file"
    if found.st_nlink > 1:
        return "one of several hard links"
    if not name.isprintable():  # halves of surrogate pairs stand for bytes that are no UTF-8
        return "a name with bytes or characters that cannot be shown"
    return None


def _write_through(path: str) -> int:
    """The file onto the disk, before anybody is told of it; its size."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fsync(fd)
        return os.fstat(fd).st_size
    finally:
        os.close(fd)


def _listed(sizes: dict[str, int]) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = []
    room = LISTED_BYTES
    for name, size_bytes in sizes.items():
        room -= len(name.encode()) + 50
        if room < 0:
            break
        listed.append({"name": name, "size_bytes": size_bytes})
    return listed
