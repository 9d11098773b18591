"""A network of our own, whose links can be cut: network namespaces joined by pairs of virtual interfaces (Linux, root).

`enter` moves the calling thread, and every process it starts from then on, into a fresh namespace with its own loopback. An
`Island` is a further namespace with one link to it. A cut link drops every packet, as a broken switch does: nobody is told.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Self

_CLONE_NEWNET = 0x40000000
_TOOLS = ("ip", "nsenter")
_NAMES = Path("/run/netns")


def missing() -> str | None:
    """Why networks cannot be made here; None when they can."""
    tools = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if tools:
        return f"{' and '.join(tools)} not found; Debian's packages iproute2 and util-linux have them"
    if os.geteuid() != 0:
        return "network namespaces need root"
    return None


def enter() -> None:
    """Leave the machine's network for an empty one of our own. There is no way back for this thread. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    _ip("link", "set", "lo", "up")


class Island:
    """A namespace with one link to ours. `hub_address` is our end of it, `address` the island's.

    `number` (0 to 16,000) must be free in our namespace; it makes names and addresses.
    """

    def __init__(self, number: int) -> None:
        self.name = f"tidegate-{os.getpid()}-{number}"
        self._interface = f"tg{number}"
        third, fourth = divmod(number * 4, 256)
        self.hub_address = f"10.99.{third}.{fourth + 1}"
        self.address = f"10.99.{third}.{fourth + 2}"
        _ip("netns", "add", self.name)
        _ip("link", "add", self._interface, "type", "veth", "peer", "name", "uplink", "netns", self.name)
        _ip("addr", "add", f"{self.hub_address}/30", "dev", self._interface)
        _ip("link", "set", self._interface, "up")
        _ip("-n", self.name, "addr", "add", f"{self.address}/30", "dev", "uplink")
        for interface in ("lo", "uplink"):
            _ip("-n", self.name, "link", "set", interface, "up")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` on the island. Only the network is another: groups and files stay the same."""
        return ["nsenter", f"--net={_NAMES / self.name}", *argv]

    def cut(self) -> None:
        """Drop every packet from now on; connections stay open on both sides and hear nothing."""
        _ip("link", "set", self._interface, "down")

    def mend(self) -> None:
        """Carry packets again."""
        _ip("link", "set", self._interface, "up")

    def close(self) -> None:
        """Remove the namespace and its link. Processes on it must have ended."""
        _ip("netns", "delete", self.name)


def _ip(*arguments: str) -> None:
    ran = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {ran.stderr.strip()}")
