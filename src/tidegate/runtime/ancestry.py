"""The control groups that bound this process, each with its ancestors, and the small files in them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tidegate.runtime.limits.paths import Hierarchy, own_hierarchies, parse_mounts
from tidegate.runtime.processes import read_file


class Above(NamedTuple):
    """A group that bounds this process: its folder, and the name to show for it."""

    folder: str
    shown: str


def groups_above(base: str = "") -> dict[str, list[Above]]:
    """For each controller the groups that bound this process: its own first, then the ancestors one can see.

    v2 is under `limits.paths.UNIFIED`. `base` is put before every path, for tests.
    """
    mounts = text_of(f"{base}/proc/self/mountinfo") or ""
    hierarchies = own_hierarchies(text_of(f"{base}/proc/self/cgroup") or "", mounts, base)
    points = {base + mount.point for mount in parse_mounts(mounts)}
    return {name: _ancestry(hierarchy, points, base) for name, hierarchy in hierarchies.items()}


KNOWN_S = 30.0
"""For how long the groups are believed to be the same. A process is seldom moved, and to look costs half a millisecond."""


class Groups:
    """`groups_above`, looked up twice a minute."""

    def __init__(self, root: Path = Path("/"), *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.base = base_of(root)
        self._monotonic = monotonic
        self._known: dict[str, list[Above]] = {}
        self._until_s = float("-inf")

    def of(self, controller: str) -> list[Above]:
        """Those that bound this process in the hierarchy of a controller, its own first; v2 is `UNIFIED`."""
        now_s = self._monotonic()
        if now_s >= self._until_s:
            self._known, self._until_s = groups_above(self.base), now_s + KNOWN_S
        return self._known.get(controller, [])


def base_of(root: os.PathLike[str]) -> str:
    """What to put before paths, for a machine that lies below `root`."""
    return "" if os.fspath(root) == "/" else os.fspath(root)


def text_of(path: str) -> str | None:
    """A small file, or None when it is not there or not for us: what cannot be read does not bound us."""
    try:
        return read_file(path)
    except OSError:
        return None


def number_of(path: str) -> int | None:
    """The number that a file holds; None for `max`, -1, and files that are not there."""
    text = (text_of(path) or "").strip()
    return int(text) if text.isdigit() else None


def field_of(text: str | None, name: str) -> str | None:
    """The second word of the line that begins with `name`."""
    for line in (text or "").splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == name:
            return words[1]
    return None


def number_field_of(text: str | None, name: str) -> int | None:
    word = field_of(text, name)
    return int(word) if word is not None and word.isdigit() else None


def _ancestry(hierarchy: Hierarchy, points: set[str], base: str) -> list[Above]:
    """A process's group and those above it, up to what the hierarchy is mounted at."""
    levels = []
    folder = hierarchy.folder
    while True:
        levels.append(Above(folder, folder.removeprefix(base)))
        parent = os.path.dirname(folder)
        if folder in points or parent == folder:
            return levels
        folder = parent
