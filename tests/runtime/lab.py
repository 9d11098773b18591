"""Runs attempts in real sandboxes and looks at what is left of them."""

from __future__ import annotations

import ctypes
import os
import select
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tidegate.core.job import AttemptKey
from tidegate.core.resources import MIB, Resources
from tidegate.core.states import ExitReason
from tidegate.runtime.limits.paths import UNIFIED, own_hierarchies
from tidegate.runtime.processes import children_of, marked_processes, read_file
from tidegate.runtime.sandbox import (
    AHEAD_S,
    ANSWERS_WITHIN_S,
    SandboxEnd,
    Sandboxes,
    SandboxEvent,
    SandboxOrder,
    SandboxProgress,
    SandboxStarted,
)

RUNNERS_PATH = str(Path(__file__).parent)
_LONGEST_S = 30.0


class Lab:
    """One Sandboxes with a folder to work in."""

    def __init__(
        self,
        instance: str,
        folder: Path,
        rung: str = "auto",
        yield_cpu: str = "off",
        *,
        preload: str = "runners",
        answers_within_s: float = ANSWERS_WITHIN_S,
        ahead_s: float = AHEAD_S,
    ) -> None:
        self.instance = instance
        self.folder = folder
        self.sandboxes = Sandboxes(
            instance=instance,
            rung=rung,
            yield_cpu=yield_cpu,
            preload=[preload],
            python_path=[RUNNERS_PATH],
            answers_within_s=answers_within_s,
            ahead_s=ahead_s,
        )
        self.sandboxes.open()
        self._count = 0

    def order(self, runner: str, **options: Any) -> SandboxOrder:
        """Options of the order by name, all else into the spec."""
        self._count += 1
        key = AttemptKey(self._count, 1, 1)
        return SandboxOrder(
            key=key,
            runner=f"runners:{runner}",
            resources=Resources(
                options.pop("cpu_milli", 1000),
                options.pop("memory_mib", 128) * MIB,
                options.pop("disk_mib", 256) * MIB,
            ),
            timeout_s=options.pop("timeout_s", 20.0),
            folder=str(self.folder / str(key)),
            interactive=options.pop("interactive", False),
            log_path=options.pop("log_path", None),
            spec=options,
        )

    def run(self, runner: str, **options: Any) -> SandboxEnd:
        """Run one attempt to its end."""
        order = self.order(runner, **options)
        self.sandboxes.start(order)
        return self.end_of(order.key)

    def run_until(
        self,
        runner: str,
        when: Callable[[SandboxEvent], bool],
        do: Callable[[SandboxOrder], Any],
        **options: Any,
    ) -> SandboxEnd:
        """Run one attempt; do something once, at its first event for which `when` is true."""
        order = self.order(runner, **options)
        self.sandboxes.start(order)
        done = False
        until = time.monotonic() + _LONGEST_S
        while time.monotonic() < until:
            for event in self.sandboxes.poll(1.0):
                if isinstance(event, SandboxEnd) and event.key == order.key:
                    return event
                if not done and when(event):
                    done = True
                    do(order)
        raise AssertionError(f"attempt {order.key} did not end")

    def cancel_once_working(
        self, runner: str, reason: ExitReason = ExitReason.CANCELLED, **options: Any
    ) -> SandboxEnd:
        """Cancel when the runner has reported its first progress."""
        return self.run_until(
            runner, is_progress, lambda order: self.sandboxes.cancel(order.key, reason), **options
        )

    def end_of(self, key: AttemptKey) -> SandboxEnd:
        return self.ends_of({key})[key]

    def ends_of(self, keys: set[AttemptKey]) -> dict[AttemptKey, SandboxEnd]:
        """Wait for the ends of all of these."""
        ends: dict[AttemptKey, SandboxEnd] = {}
        until = time.monotonic() + _LONGEST_S
        while ends.keys() < keys and time.monotonic() < until:
            ends |= {event.key: event for event in self.sandboxes.poll(1.0) if isinstance(event, SandboxEnd)}
        assert ends.keys() >= keys, f"{keys - ends.keys()} did not end"
        return ends

    def strays(self) -> list[int]:
        """Processes of this instance that are neither zygote nor keeper, nor wait for an order."""
        return [
            pid
            for pid in marked_processes(self.instance)
            if name_of(pid) not in ("tidegate-zygote", "tidegate-keeper", "tidegate-ahead")
        ]

    def keeper_pids(self) -> list[int]:
        """A fork of a keeper has its name for a moment."""
        return [pid for pid in children_of(self.zygote_pid()) if name_of(pid) == "tidegate-keeper"]

    def ahead_pids(self) -> list[int]:
        """Processes that wait for an order."""
        return [pid for pid in marked_processes(self.instance) if name_of(pid) == "tidegate-ahead"]

    def zygote_pid(self) -> int:
        return next(pid for pid in marked_processes(self.instance) if name_of(pid) == "tidegate-zygote")

    def close(self) -> list[SandboxEvent]:
        return self.sandboxes.close()


def rungs_to_try() -> list[str]:
    """Rungs that may work here by what is mounted; whether they do is for the ladder to find out."""
    hierarchies = own_hierarchies(read_file("/proc/self/cgroup"), read_file("/proc/self/mountinfo"))
    rungs = ["watchdog"]
    if "memory" in hierarchies:
        rungs.insert(0, "cgroup1")
    if UNIFIED in hierarchies and "memory" in read_file(f"{hierarchies[UNIFIED].folder}/cgroup.controllers"):
        rungs.insert(0, "cgroup2")
    return rungs


def is_progress(event: SandboxEvent) -> bool:
    return isinstance(event, SandboxProgress) and event.progress is not None


def is_started(event: SandboxEvent) -> bool:
    return isinstance(event, SandboxStarted)


def name_of(pid: int) -> str:
    try:
        return read_file(f"/proc/{pid}/comm").strip()
    except OSError:
        return ""


def groups_of(instance: str) -> list[str]:
    """All control groups of an instance, in every hierarchy, with its containers."""
    hierarchies = own_hierarchies(read_file("/proc/self/cgroup"), read_file("/proc/self/mountinfo"))
    found = []
    for folder in {hierarchy.folder for hierarchy in hierarchies.values()}:
        for path, _, _ in os.walk(folder):
            if f"/tidegate-{instance}" in path:
                found.append(path)
    return found


def eventually(
    condition: Callable[[], bool],
    *,
    folders: Callable[[], Iterable[str | Path]] = tuple,
    pids: Callable[[], Iterable[int]] = tuple,
    within_s: float = 20.0,
) -> bool:
    """Whether it comes to be so in time. Looked at again when something changes in one of the folders (of those that are
    there), or one of the processes ends; both are asked for anew each time. Without any, the condition waits itself."""
    until = time.monotonic() + within_s
    while True:
        with Changes(folders(), pids()) as changes:
            if condition():
                return True
            if not changes.wait(until - time.monotonic()):
                return condition()


class Changes:
    """Ends of processes, by pidfd, and changes in folders, by inotify(7), from its making on."""

    def __init__(self, folders: Iterable[str | Path], pids: Iterable[int]) -> None:
        libc = ctypes.CDLL(None)
        inotify = libc.inotify_init1(os.O_CLOEXEC)
        self._descriptors = [inotify]
        self._gone = False
        watched = [
            libc.inotify_add_watch(inotify, os.fsencode(folder), _MODIFY_MOVE_MAKE_DELETE)
            for folder in folders
        ]
        for pid in pids:
            try:
                self._descriptors.append(os.pidfd_open(pid))
            except ProcessLookupError:
                self._gone = True
        self._nothing = len(self._descriptors) == 1 and all(watch < 0 for watch in watched)

    def __enter__(self) -> Changes:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)

    def wait(self, seconds: float) -> bool:
        """Whether something has changed before the time is over."""
        if seconds <= 0 or self._gone or self._nothing:
            return seconds > 0
        return bool(select.select(self._descriptors, [], [], seconds)[0])


_MODIFY_MOVE_MAKE_DELETE = 0x2 | 0x80 | 0x100 | 0x200 | 0x400
"""IN_MODIFY, IN_MOVED_TO, IN_CREATE, IN_DELETE, IN_DELETE_SELF of linux/inotify.h."""


def with_parents(path: str | Path) -> Callable[[], list[Path]]:
    """The folder of a file that is to come, and the folders above, for `eventually`: the file's own may be missing yet."""
    return lambda: [*Path(path).parents][:4]


def all_gone(instance: str) -> bool:
    """Whether the last process of an instance ends in time."""
    return eventually(lambda: marked_processes(instance) == {}, pids=lambda: marked_processes(instance))


def group_parents(instance: str) -> list[str]:
    """The folders in which groups of the instance are made and removed."""
    hierarchies = own_hierarchies(read_file("/proc/self/cgroup"), read_file("/proc/self/mountinfo"))
    return [*{hierarchy.folder for hierarchy in hierarchies.values()}, *groups_of(instance)]
