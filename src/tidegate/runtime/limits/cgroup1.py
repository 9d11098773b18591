"""Control groups, version 1: a folder per attempt in the memory and pids hierarchies, and in cpu where there is one.

Processes join by writing `0` to `tasks`, which moves the writing thread alone: `cgroup.procs` takes a lock against every
fork on the machine and was measured at 6 ms instead of 0.15 ms. For the same reason the v2 tree of a hybrid machine is not
joined: with `pids.max` at zero no fork can outrun a kill, so its `cgroup.kill` is not needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

from tidegate.runtime.limits import files
from tidegate.runtime.limits.files import KeptFile
from tidegate.runtime.limits.group import Group, GroupLimits, GroupUsage
from tidegate.runtime.limits.paths import Hierarchy
from tidegate.runtime.processes import write_file

_NEEDED = ("memory", "pids")
_MOST_SHARES = 262_144
_CHARGE_BATCH_BYTES = 1024 * 1024
"""The kernel charges ahead in batches per CPU, so a full group may show a little less than its limit."""


class Cgroup1Group:
    """One attempt's folders, one per hierarchy."""

    def __init__(self, name: str, folders: Mapping[str, str], hurry: Callable[[bool], None]) -> None:
        self.name = name
        self._folders = folders
        self.hurry = hurry
        memory = folders["memory"]
        self._stat = KeptFile(f"{memory}/memory.stat")
        self._limit = KeptFile(f"{memory}/memory.limit_in_bytes")
        self._highest = KeptFile(f"{memory}/memory.max_usage_in_bytes", os.O_RDWR)
        self._oom = KeptFile(f"{memory}/memory.oom_control")
        self._tasks = [KeptFile(f"{folder}/tasks", os.O_WRONLY) for folder in dict.fromkeys(folders.values())]
        self._killed = False

    def open_files(self) -> None:
        """What each child would otherwise open for itself. Raises OSError."""
        for kept in (self._stat, *self._tasks):
            kept.fileno()

    def join(self) -> None:
        for tasks in self._tasks:
            tasks.write(b"0")

    def stat_fd(self) -> int | None:
        return self._stat.fileno()

    def usage(self) -> GroupUsage:
        return self.final_usage()._replace(memory_bytes=files.used_memory(self._stat.read()))

    def final_usage(self) -> GroupUsage:
        highest = int(self._highest.read())
        return GroupUsage(
            memory_bytes=0,
            peak_with_cache_bytes=highest,
            oom_kills=files.pick_number(self._oom.read(), "oom_kill"),
            # The fail counters are no help: which of two moves depends on whether swap is accounted.
            limit_hit=highest >= int(self._limit.read()) - _CHARGE_BATCH_BYTES,
        )

    def renew(self) -> bool:
        """The count of memory kills cannot be reset. The cache of its files stays charged, so this is for little ones only."""
        if self._killed:
            return False
        try:
            if files.pick_number(self._oom.read(), "oom_kill"):
                return False
            self._highest.write(b"0")
            return int(self._highest.read()) <= _CHARGE_BATCH_BYTES
        except OSError:
            return False

    def kill(self) -> None:
        self._killed = True
        files.write_if_there(f"{self._folders['pids']}/pids.max", 0)
        for folder in dict.fromkeys(self._folders.values()):
            files.kill_listed(folder)

    def empty(self) -> bool:
        return not any(files.processes_in(folder) for folder in self._folders.values())

    def close_files(self) -> None:
        for kept in (self._stat, self._limit, self._highest, self._oom, *self._tasks):
            kept.close()

    def remove(self) -> bool:
        self.close_files()
        return all([files.remove_folder(folder) for folder in dict.fromkeys(self._folders.values())])  # noqa: C419  all are tried


class Cgroup1:
    """The rung. Its containers are made at once. Raises OSError where a hierarchy is missing or not writable."""

    name = "cgroup1"
    kernel_holds_memory = True

    def __init__(
        self,
        instance: str,
        hierarchies: Mapping[str, Hierarchy],
        yield_cpu: str,
        own_pids: Iterable[int] = (),
    ) -> None:
        missing = [name for name in _NEEDED if name not in hierarchies]
        if missing:
            raise OSError(f"no v1 hierarchy with {' and '.join(missing)} is mounted")
        read_only = [name for name in _NEEDED if not hierarchies[name].writable]
        if read_only:
            raise OSError(f"the v1 hierarchy of {' and '.join(read_only)} is mounted read-only")
        self._names = files.container_names(instance)
        self._bases = {name: hierarchies[name].folder for name in _NEEDED}
        self.yields_cpu = False
        for base in self._bases.values():
            self._make_containers(base)
        self._pair = ""
        self._own_pids = tuple(own_pids)
        cpu = hierarchies.get("cpu")
        if cpu is not None and cpu.writable:
            base = _above_pair(cpu.folder)
            together = cpu.folder in self._bases.values()  # one folder for all: a process cannot be in two
            if yield_cpu == "auto" and (together or not self._make_pair(base, instance)):
                yield_cpu = "nice"
            self._use_cpu(self._pair or base, yield_cpu)

    def _make_containers(self, base: str) -> None:
        for name in self._names:
            files.make_folder(f"{base}/{name}")

    def _make_pair(self, base: str, instance: str) -> bool:
        """Put the service beside where its jobs will be, in one group; whether that worked."""
        pair = f"{base}/{files.PAIR.format(instance=instance)}"
        try:
            files.make_folder(pair)
            files.make_folder(f"{pair}/{files.SERVICE_LEAF}")
            for pid in self._own_pids:
                write_file(f"{pair}/{files.SERVICE_LEAF}/cgroup.procs", pid)
        except OSError:
            _leave_pair(pair, self._own_pids)
            return False
        write_file(f"{pair}/cpu.shares", _pair_shares())
        self._pair = pair
        return True

    def _use_cpu(self, base: str, yield_cpu: str) -> None:
        """Weigh the containers against the service. Without this processes yield by their own policy."""
        try:
            self._make_containers(base)
        except OSError:
            return
        write_file(f"{base}/{self._names[1]}/cpu.shares", files.INTERACTIVE_SHARES)
        self._bases["cpu"] = base
        self._yield_cpu = yield_cpu
        self.yields_cpu = True
        self._hurry(on=False)

    def _hurry(self, on: bool) -> None:
        """By the container's weight: moving the processes would take a lock that a starved one may hold."""
        if self.yields_cpu:
            batch = f"{self._bases['cpu']}/{self._names[0]}"
            yield_cpu = "off" if on else self._yield_cpu
            files.write_if_there(f"{batch}/cpu.idle", 0)  # Linux 5.15
            files.write_if_there(f"{batch}/cpu.shares", files.cpu_shares(yield_cpu))
            files.write_if_there(f"{batch}/cpu.idle", int(yield_cpu in ("auto", "idle")))

    def create(self, name: str, limits: GroupLimits) -> Group:
        container = self._names[limits.interactive]
        folders = {controller: f"{base}/{container}/{name}" for controller, base in self._bases.items()}
        group = Cgroup1Group(name, folders, self._hurry)
        made: list[str] = []
        try:
            for folder in dict.fromkeys(folders.values()):
                os.mkdir(folder)
                made.append(folder)
            _limit(folders, limits)
            group.open_files()
        except OSError:
            group.close_files()
            for folder in made:
                files.remove_folder(folder)
            raise
        return group

    def leftovers(self) -> list[Group]:
        found: dict[str, dict[str, str]] = {}
        for controller, base in self._bases.items():
            for container in self._names:
                for name in files.subgroups(f"{base}/{container}"):
                    found.setdefault(name, {})[controller] = f"{base}/{container}/{name}"
        return [
            Cgroup1Group(name, self._all_folders(folders), self._hurry) for name, folders in found.items()
        ]

    def _all_folders(self, known: Mapping[str, str]) -> dict[str, str]:
        """Folders of a group that may be half made or half removed: what is missing is named like a sibling."""
        tail = "/".join(next(iter(known.values())).split("/")[-2:])
        return {controller: f"{base}/{tail}" for controller, base in self._bases.items()}

    def close(self) -> None:
        for base in self._bases.values():
            for name in self._names:
                files.remove_folder(f"{base}/{name}")
        if self._pair:
            _leave_pair(self._pair, self._own_pids)


def _pair_shares() -> int:
    """As much as one normal process on each CPU: the kernel divides a group's weight among the CPUs it runs on."""
    return min(1024 * (os.cpu_count() or 1), _MOST_SHARES)


def _above_pair(own: str) -> str:
    """The group to work in: our own, or the one above the pair when an earlier start has moved us into it."""
    above, leaf = os.path.split(own)
    return os.path.dirname(above) if leaf == files.SERVICE_LEAF and above.endswith(".pair") else own


def _leave_pair(pair: str, own_pids: Iterable[int]) -> None:
    for pid in own_pids:
        files.write_if_there(f"{os.path.dirname(pair)}/cgroup.procs", pid)
    files.remove_folder(f"{pair}/{files.SERVICE_LEAF}")
    files.remove_folder(pair)


def _limit(folders: Mapping[str, str], limits: GroupLimits) -> None:
    memory = folders["memory"]
    write_file(f"{memory}/memory.limit_in_bytes", limits.memory_bytes)
    # Memory and swap together: no swapping past the limit. Kernels without swap accounting lack the file.
    if not files.write_if_there(f"{memory}/memory.memsw.limit_in_bytes", limits.memory_bytes):
        files.write_if_there(f"{memory}/memory.swappiness", 0)
    write_file(f"{folders['pids']}/pids.max", limits.processes)
    if "cpu" in folders:
        write_file(f"{folders['cpu']}/cpu.shares", max(limits.cpu_milli, 100) * 1024 // 1000)
