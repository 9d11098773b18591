"""Control groups, version 1: a folder per attempt in the memory and pids hierarchies, and in cpu where there is one.

Processes join by writing `0` to `tasks`, which moves the writing thread alone: `cgroup.procs` takes a lock against every
fork on the machine and was measured at 6 ms instead of 0.15 ms. For the same reason the v2 tree of a hybrid machine is not
joined: with `pids.max` at zero no fork can outrun a kill, so its `cgroup.kill` is not needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from tidegate.runtime.limits import files
from tidegate.runtime.limits.group import Group, GroupLimits, GroupUsage
from tidegate.runtime.limits.paths import Hierarchy
from tidegate.runtime.processes import write_file

_NEEDED = ("memory", "pids")
_CHARGE_BATCH_BYTES = 1024 * 1024
"""The kernel charges ahead in batches per CPU, so a full group may show a little less than its limit."""


class Cgroup1Group:
    """One attempt's folders, one per hierarchy."""

    def __init__(self, name: str, folders: Mapping[str, str], hurry: Callable[[bool], None]) -> None:
        self.name = name
        self._folders = folders
        self.hurry = hurry
        self._memory = folders["memory"]
        self.memory_stat_path = f"{self._memory}/memory.stat"
        self.join_paths = tuple(f"{folder}/tasks" for folder in dict.fromkeys(folders.values()))

    def usage(self) -> GroupUsage:
        stat = files.read_numbers(f"{self._memory}/memory.stat")
        highest = files.read_number(f"{self._memory}/memory.max_usage_in_bytes")
        return GroupUsage(
            memory_bytes=files.used_memory(stat),
            peak_with_cache_bytes=highest,
            oom_kills=files.read_numbers(f"{self._memory}/memory.oom_control").get("oom_kill", 0),
            # The fail counters are no help: which of two moves depends on whether swap is accounted.
            limit_hit=highest >= stat["hierarchical_memory_limit"] - _CHARGE_BATCH_BYTES,
        )

    def kill(self) -> None:
        files.write_if_there(f"{self._folders['pids']}/pids.max", 0)
        for folder in dict.fromkeys(self._folders.values()):
            files.kill_listed(folder)

    def empty(self) -> bool:
        return not any(files.processes_in(folder) for folder in self._folders.values())

    def remove(self) -> bool:
        return all([files.remove_folder(folder) for folder in dict.fromkeys(self._folders.values())])  # noqa: C419  all are tried


class Cgroup1:
    """The rung. Its containers are made at once. Raises OSError where a hierarchy is missing or not writable."""

    name = "cgroup1"
    kernel_holds_memory = True

    def __init__(self, instance: str, hierarchies: Mapping[str, Hierarchy], yield_cpu: str) -> None:
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
        if "cpu" in hierarchies and hierarchies["cpu"].writable:
            self._use_cpu(hierarchies["cpu"].folder, yield_cpu)

    def _make_containers(self, base: str) -> None:
        for name in self._names:
            files.make_folder(f"{base}/{name}")

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
            files.write_if_there(f"{batch}/cpu.idle", int(yield_cpu == "idle"))

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
        except OSError:
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


def _limit(folders: Mapping[str, str], limits: GroupLimits) -> None:
    memory = folders["memory"]
    write_file(f"{memory}/memory.limit_in_bytes", limits.memory_bytes)
    # Memory and swap together: no swapping past the limit. Kernels without swap accounting lack the file.
    if not files.write_if_there(f"{memory}/memory.memsw.limit_in_bytes", limits.memory_bytes):
        files.write_if_there(f"{memory}/memory.swappiness", 0)
    write_file(f"{folders['pids']}/pids.max", limits.processes)
    if "cpu" in folders:
        write_file(f"{folders['cpu']}/cpu.shares", max(limits.cpu_milli, 100) * 1024 // 1000)
