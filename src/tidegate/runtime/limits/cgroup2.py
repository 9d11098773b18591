"""Control groups, version 2: one folder per attempt with memory, pids and, where delegated, cpu."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

from tidegate.runtime.limits import files
from tidegate.runtime.limits.files import KeptFile
from tidegate.runtime.limits.group import Group, GroupLimits, GroupUsage
from tidegate.runtime.limits.paths import UNIFIED, Hierarchy
from tidegate.runtime.processes import read_file, write_file

_NEEDED = ("memory", "pids")
_SERVICE = "tidegate-service"


class Cgroup2Group:
    """One attempt's folder."""

    def __init__(self, name: str, folder: str, hurry: Callable[[bool], None]) -> None:
        self.name = name
        self._folder = folder
        self.hurry = hurry
        self._stat = KeptFile(f"{folder}/memory.stat")
        self._procs = KeptFile(f"{folder}/cgroup.procs", os.O_WRONLY)

    def open_files(self) -> None:
        """What each child would otherwise open for itself. Raises OSError."""
        for kept in (self._stat, self._procs):
            kept.fileno()

    def join(self) -> None:
        self._procs.write(b"0")

    def stat_fd(self) -> int | None:
        return self._stat.fileno()

    def usage(self) -> GroupUsage:
        return self.final_usage()._replace(memory_bytes=files.used_memory(self._stat.read()))

    def final_usage(self) -> GroupUsage:
        events = files.read_numbers(f"{self._folder}/memory.events")
        return GroupUsage(
            memory_bytes=0,
            peak_with_cache_bytes=self._peak(),
            cpu_seconds=files.read_numbers(f"{self._folder}/cpu.stat")["usage_usec"] / 1e6,
            oom_kills=events["oom_kill"],
            limit_hit=events.get("oom", 0) > 0,
        )

    def renew(self) -> bool:
        """CPU time and, before Linux 6.12, the highest memory cannot be reset."""
        return False

    def _peak(self) -> int | None:
        """`memory.peak` is there from Linux 5.19 on."""
        try:
            return files.read_number(f"{self._folder}/memory.peak")
        except OSError:
            return None

    def kill(self) -> None:
        if files.write_if_there(f"{self._folder}/cgroup.kill", 1):  # Linux 5.14
            return
        files.write_if_there(f"{self._folder}/pids.max", 0)
        files.kill_listed(self._folder)

    def empty(self) -> bool:
        return not files.processes_in(self._folder)

    def remove(self) -> bool:
        self._stat.close()
        self._procs.close()
        return files.remove_folder(self._folder)


class Cgroup2:
    """The rung. Its containers are made at once. Raises OSError where controllers cannot be had.

    A group with processes cannot give controllers to groups below it ("no internal processes"), except the root. So where
    this process's own group holds nothing but `own_pids`, these are moved to a leaf beside the containers.
    """

    name = "cgroup2"
    kernel_holds_memory = True

    def __init__(
        self, instance: str, hierarchies: Mapping[str, Hierarchy], yield_cpu: str, own_pids: Iterable[int]
    ) -> None:
        if UNIFIED not in hierarchies:
            raise OSError("no v2 hierarchy is mounted")
        self._names = files.container_names(instance)
        self._base = _base_folder(hierarchies[UNIFIED].folder)
        offered = files_words(f"{self._base}/cgroup.controllers")
        missing = [name for name in _NEEDED if name not in offered]
        if missing:
            raise OSError(f"the v2 group {self._base} has no {' and '.join(missing)} controller")
        if not hierarchies[UNIFIED].writable:
            raise OSError("the v2 hierarchy is mounted read-only")
        controllers = [name for name in (*_NEEDED, "cpu") if name in offered]
        alone = _delegate(self._base, controllers, set(own_pids))
        for name in self._names:
            files.make_folder(f"{self._base}/{name}")
            _enable(f"{self._base}/{name}", controllers)
        # In a group of our own the service is beside its jobs: they give way to it alone. In the root all others are too.
        self._yield_cpu = "nice" if yield_cpu == "auto" and not alone else yield_cpu
        self.yields_cpu = "cpu" in controllers
        if self.yields_cpu:
            write_file(f"{self._base}/{self._names[1]}/cpu.weight", _weight(files.INTERACTIVE_SHARES))
            self._hurry(on=False)

    def _hurry(self, on: bool) -> None:
        """By the container's weight: moving the processes would take a lock that a starved one may hold."""
        if self.yields_cpu:
            batch = f"{self._base}/{self._names[0]}"
            yield_cpu = "off" if on else self._yield_cpu
            files.write_if_there(f"{batch}/cpu.idle", 0)  # Linux 5.15
            files.write_if_there(f"{batch}/cpu.weight", _weight(files.cpu_shares(yield_cpu)))
            files.write_if_there(f"{batch}/cpu.idle", int(yield_cpu in ("auto", "idle")))

    def create(self, name: str, limits: GroupLimits) -> Group:
        folder = f"{self._base}/{self._names[limits.interactive]}/{name}"
        os.mkdir(folder)
        group = Cgroup2Group(name, folder, self._hurry)
        try:
            self._limit(folder, limits)
            group.open_files()
        except OSError:
            group.remove()
            raise
        return group

    def _limit(self, folder: str, limits: GroupLimits) -> None:
        write_file(f"{folder}/memory.max", limits.memory_bytes)
        files.write_if_there(f"{folder}/memory.swap.max", 0)  # not there without swap accounting
        files.write_if_there(
            f"{folder}/memory.oom.group", 1
        )  # Linux 4.19; the keeper kills the rest where it is missing
        write_file(f"{folder}/pids.max", limits.processes)
        if self.yields_cpu:
            write_file(f"{folder}/cpu.weight", _weight(limits.cpu_milli * 1024 // 1000))

    def leftovers(self) -> list[Group]:
        return [
            Cgroup2Group(name, f"{self._base}/{container}/{name}", self._hurry)
            for container in self._names
            for name in files.subgroups(f"{self._base}/{container}")
        ]

    def close(self) -> None:
        for name in self._names:
            files.remove_folder(f"{self._base}/{name}")


def files_words(path: str) -> set[str]:
    """The words of a control file such as `cgroup.controllers`; none when it cannot be read."""
    try:
        return set(read_file(path).split())
    except OSError:
        return set()


def _base_folder(own: str) -> str:
    """The group to work in: our own, or the one above when an earlier start has already moved us to its leaf."""
    return os.path.dirname(own) if os.path.basename(own) == _SERVICE else own


def _enable(folder: str, controllers: Iterable[str]) -> None:
    enabled = files_words(f"{folder}/cgroup.subtree_control")
    wanted = [f"+{name}" for name in controllers if name not in enabled]
    if wanted:
        write_file(f"{folder}/cgroup.subtree_control", " ".join(wanted))


def _delegate(base: str, controllers: Iterable[str], own_pids: set[int]) -> bool:
    """Make the controllers available below `base`, moving our own processes to a leaf when that is what it takes.

    Whether the group is ours alone: the root is everybody's.
    """
    is_root = not os.path.exists(f"{base}/cgroup.type")  # the real root has no type and may hold processes
    inside = set(files.processes_in(base))
    if inside and not is_root:
        strangers = inside - own_pids
        if strangers:
            raise OSError(
                f"the v2 group {base} holds processes of others ({len(strangers)}); start the service in a group of its own"
            )
        files.make_folder(f"{base}/{_SERVICE}")
        for pid in inside:
            write_file(f"{base}/{_SERVICE}/cgroup.procs", pid)
    _enable(base, controllers)
    return not is_root


def _weight(shares: int) -> int:
    """v1 shares (normal 1024) as a v2 weight (normal 100, 1 to 10000)."""
    return min(max(round(shares * 100 / 1024), 1), 10_000)
