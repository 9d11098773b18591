"""Landlock: what a sandbox may touch of the file system, the network and other processes. Linux 5.13, no privilege needed.

Structures, numbers and rights are those of linux/landlock.h; the rights grow with the ABI version (landlock(7)), and what
the running kernel does not know is left out.
"""

from __future__ import annotations

import functools
import os
import stat
import struct
import sys
from collections.abc import Iterable
from enum import IntFlag
from typing import NamedTuple

from tidegate.runtime.processes import PR_SET_NO_NEW_PRIVS, prctl, syscall

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_VERSION_FLAG = 1
_RULE_PATH_BENEATH, _RULE_NET_PORT = 1, 2


class Access(IntFlag):
    """Rights on files and folders."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


_ALL_OF_ABI_1 = (1 << 13) - 1
_ON_FILES = int(Access.EXECUTE | Access.WRITE_FILE | Access.READ_FILE | Access.TRUNCATE | Access.IOCTL_DEV)
_READ = int(Access.READ_FILE | Access.READ_DIR)
_RUN = _READ | int(Access.EXECUTE)
_WRITE = 0xFFFF & ~int(Access.MAKE_CHAR | Access.MAKE_BLOCK | Access.IOCTL_DEV)
"""Everything in a folder of one's own but device files."""

_WRITE_FILE = int(Access.WRITE_FILE)

_BIND_AND_CONNECT_TCP = 3
_CONNECT_TCP = 2
_NET_SINCE = 4
_ABSTRACT_SOCKETS_AND_SIGNALS = 3


def abi() -> int:
    """The kernel's Landlock version; 0 where there is none."""
    try:
        return syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    except OSError:
        return 0


def coverage(version: int) -> str:
    """In words, what this version confines."""
    if version == 0:
        return "no Landlock: files of other users are protected by permissions alone"
    covered = ["files"]
    covered += ["TCP"] if version >= _NET_SINCE else []
    covered += ["signals", "abstract sockets"] if version >= 6 else []
    return f"Landlock ABI {version}: {', '.join(covered)}"


def system_paths() -> tuple[str, ...]:
    """What a program needs to run: the interpreter with its packages, shared libraries, time zones. No settings, no homes."""
    wanted = [
        "/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/localtime", "/etc/timezone",
        sys.prefix, sys.base_prefix, sys.exec_prefix, *sys.path,
    ]  # fmt: skip
    real = sorted({os.path.realpath(path) for path in wanted if path and os.path.exists(path)})
    kept: list[str] = []
    for path in real:
        if path != "/" and not any(path.startswith(f"{above}/") for above in kept):
            kept.append(path)
    return tuple(kept)


DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/urandom", "/dev/random")


class Confinement(NamedTuple):
    """What is the same for all attempts: made once, by the zygote. Its rules hold open descriptors of what they allow."""

    attributes: bytes
    handled: int
    rules: tuple[bytes, ...]
    denies_tcp: bool


def prepare(system: Iterable[str], version: int) -> Confinement | None:
    """A confinement in which `system` may be read and run; None with `version` 0. Its folders are held open for good.

    TCP, abstract UNIX sockets and signals to processes outside are denied where the version knows them. Not covered: UNIX
    sockets with a path, UDP, chmod and other metadata of files that permissions allow.
    """
    if version == 0:
        return None
    handled = _handled(version)
    attributes = struct.pack("QQQ", handled, _BIND_AND_CONNECT_TCP, _ABSTRACT_SOCKETS_AND_SIGNALS)
    attributes = attributes[: 24 if version >= 6 else 16 if version >= _NET_SINCE else 8]
    wanted = [(path, _RUN) for path in system] + [(path, _READ | _WRITE_FILE) for path in DEVICES]
    fds = [(_open(path), rights) for path, rights in wanted]
    rules = tuple(_rule(rights & handled, fd) for fd, rights in fds if fd is not None)
    return Confinement(attributes, handled, rules, denies_tcp=version >= _NET_SINCE)


def confine(
    confinement: Confinement | None,
    readable: Iterable[str],
    writable: Iterable[str],
    *,
    runnable: Iterable[str] = (),
    connectable: Iterable[int] = (),
) -> None:
    """Confine this thread and all it starts, for ever. Sets no_new_privs, and does nothing else without a confinement.

    Beside what that allows, `readable` may be read, `runnable` read and run, and `writable` read, run and written but for
    device files. TCP connections may be opened to the ports `connectable`, of any host: the kernel knows no rules by host. A
    path that does not exist is passed over, and so is one that leads through a link: it was judged without
    one, and has changed since.
    """
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    if confinement is None:
        return
    ruleset = syscall(_CREATE_RULESET, confinement.attributes, len(confinement.attributes), 0)
    try:
        for rule in confinement.rules:
            syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
        _allow(ruleset, "/proc/self", _READ & confinement.handled, exact=False)
        for paths, rights in ((readable, _READ), (runnable, _RUN), (writable, _WRITE)):
            for path in paths:
                _allow(ruleset, path, rights & confinement.handled, exact=True)
        for port in connectable if confinement.denies_tcp else ():
            syscall(_ADD_RULE, ruleset, _RULE_NET_PORT, struct.pack("=QQ", _CONNECT_TCP, port), 0)
        syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


@functools.cache
def _handled(version: int) -> int:
    """All rights that this version knows: what is not granted is denied."""
    known = {2: Access.REFER, 3: Access.TRUNCATE, 5: Access.IOCTL_DEV}
    return _ALL_OF_ABI_1 | sum(int(right) for since, right in known.items() if version >= since)


def _open(path: str) -> int | None:
    try:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _allow(ruleset: int, path: str, rights: int, *, exact: bool) -> None:
    fd = _open(path)
    if fd is None:
        return
    try:
        if exact and os.readlink(f"/proc/self/fd/{fd}") != os.path.normpath(path):
            return
        syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, _rule(rights, fd), 0)
    finally:
        os.close(fd)


def _rule(rights: int, fd: int) -> bytes:
    """A file takes only rights that files have; the kernel refuses others (EINVAL)."""
    return struct.pack("=Qi", rights if stat.S_ISDIR(os.fstat(fd).st_mode) else rights & _ON_FILES, fd)
