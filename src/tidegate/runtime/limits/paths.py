"""Where this process's control groups are in the file system, from /proc/self/cgroup and /proc/self/mountinfo."""

from __future__ import annotations

import posixpath
from typing import NamedTuple

UNIFIED = ""
"""The name of the v2 hierarchy among the controllers, as in `0::/path`."""


class Hierarchy(NamedTuple):
    """A mounted cgroup hierarchy: this process's own folder in it, and what it is mounted with."""

    folder: str
    controllers: frozenset[str]
    writable: bool


class Mount(NamedTuple):
    """One cgroup line of mountinfo: `root` is the part of the hierarchy that is visible at `point`."""

    point: str
    root: str
    type: str
    options: frozenset[str]
    writable: bool


def parse_memberships(text: str) -> dict[str, str]:
    """Controller to path from the text of /proc/<pid>/cgroup; v2 under `UNIFIED`."""
    memberships = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            memberships[controller] = path
    return memberships


def parse_mounts(text: str) -> list[Mount]:
    """The cgroup mounts from the text of /proc/<pid>/mountinfo."""
    mounts = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, rest = right.partition(" ")
        if kind not in ("cgroup", "cgroup2"):
            continue
        fields = left.split()
        super_options = rest.rpartition(" ")[2].split(",")
        writable = "rw" in fields[5].split(",") and "rw" in super_options
        mounts.append(
            Mount(_unescape(fields[4]), _unescape(fields[3]), kind, frozenset(super_options), writable)
        )
    return mounts


def _unescape(path: str) -> str:
    """Blanks in mountinfo are written in octal."""
    return path.encode().decode("unicode_escape") if "\\" in path else path


def own_hierarchies(memberships_text: str, mounts_text: str, base: str = "") -> dict[str, Hierarchy]:
    """Controller to the hierarchy it is mounted in; v2 under `UNIFIED`, with the controllers left empty.

    Left out: what is not mounted, and hierarchies in which this process lies outside of what is mounted (a path that
    begins with `/..`, or a bind mount of another branch). `base` is put before every mount point, for tests.
    """
    memberships = parse_memberships(memberships_text)
    found: dict[str, Hierarchy] = {}
    for mount in parse_mounts(mounts_text):
        names = (
            [UNIFIED] if mount.type == "cgroup2" else [name for name in memberships if name in mount.options]
        )
        for name in names:
            path = memberships.get(name)
            folder = None if path is None else _folder(mount, path)
            if folder is not None and name not in found:
                found[name] = Hierarchy(base + folder, frozenset(names) - {UNIFIED}, mount.writable)
    return found


def _folder(mount: Mount, path: str) -> str | None:
    if path.startswith("/.."):
        return None
    inside = posixpath.relpath(path, mount.root)
    if inside.startswith(".."):
        return None
    return posixpath.normpath(posixpath.join(mount.point, inside))
