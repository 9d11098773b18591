"""What this machine offers, what is missing, and what to do about it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from tidegate.core.resources import GIB, MIB, format_bytes
from tidegate.errors import TidegateError
from tidegate.ports import Probe, Reading
from tidegate.runtime.limits import landlock
from tidegate.runtime.machine import Machine, file_system_of, listen_fault, server_of, write_fault
from tidegate.runtime.probe import MachineProbe
from tidegate.runtime.sandbox import Rungs
from tidegate.settings import Settings

LITTLE_MEMORY_BYTES = 512 * MIB
LITTLE_DISK_BYTES = 5 * GIB
FEW_PROCESSES = 100
"""A server or worker has 15 to 40 processes and threads, a job at least two, one of DuckDB one more for each CPU."""
_NO_LIMIT = 2**62
_MEMORY_FILE_SYSTEMS = frozenset({"tmpfs", "ramfs"})
_NETWORK_FILE_SYSTEMS = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "lustre", "nfs", "nfs4", "smb3"}
)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something to know. An `error` keeps a server from working here, a `warning` makes it work less well."""

    severity: Literal["error", "warning", "info"]
    code: str
    message: str
    advice: str


def examine(settings: Settings, machine: Machine | None = None) -> dict[str, Any]:
    """What a server with these settings would find here, as JSON values.

    Sections: `problems` (the worst first), `software`, `capacity` (each amount with its origin and every bound that was
    found), `offered` (amounts that jobs may share, and what is kept back), `limits` (rungs, Landlock, CPU policy),
    `data_dir`, `scratch` (None when that lies in the data directory), `server`.
    """
    machine = machine or Machine()
    data_dir = settings.data_dir.expanduser().absolute()
    problems: list[Problem] = []
    report: dict[str, Any] = {"problems": problems}
    report["software"] = _software(machine, problems)
    scratch = settings.scratch_dir.expanduser().absolute() if settings.scratch_dir is not None else None
    report |= _capacity(settings, machine.probe(data_dir, scratch), problems)
    report["limits"] = _limits(settings, machine, problems)
    report["data_dir"] = found = _data_dir(settings, data_dir, machine, problems)
    report["scratch"] = _scratch(settings, scratch, found["file_system"], machine, problems)
    report["server"] = _server(settings, found["used_by"], problems)
    _commands(settings, report["software"]["user_id"], machine.landlock_abi(), problems)
    report["problems"] = worst_first(map(asdict, problems))
    return report


def worst_first(problems: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Errors, then warnings, then the rest."""
    order = ("error", "warning", "info")
    return sorted(problems, key=lambda one: order.index(one["severity"]))


def _commands(settings: Settings, user_id: int, abi: int, problems: list[Problem]) -> None:
    if not settings.enable_commands:
        return
    if user_id == 0:
        message = "Commands are turned on and the user is root: they may change modes of files and use UNIX sockets as root."
        problems.append(
            Problem("warning", "commands_as_root", message, "Run the server as a user of its own.")
        )
    if abi == 0:
        message = "Commands are turned on, but this kernel has no Landlock: they can read and write what the user can."
        problems.append(
            Problem("warning", "commands_unconfined", message, "Use Linux 5.13 or later with Landlock.")
        )


def _software(machine: Machine, problems: list[Problem]) -> dict[str, Any]:
    duckdb = machine.duckdb_version()
    if duckdb is None:
        advice = "Install Tidegate with its dependencies again: `make setup`."
        problems.append(
            Problem("error", "no_duckdb", "DuckDB is not installed: sql jobs cannot run.", advice)
        )
    return {
        "tidegate": version("tidegate"),
        "python": sys.version.split()[0],
        "duckdb": duckdb,
        "kernel": os.uname().release,
        "machine": os.uname().machine,
        "host": os.uname().nodename,
        "user_id": os.getuid(),
    }


# Capacity


def _capacity(settings: Settings, probe: Probe, problems: list[Problem]) -> dict[str, Any]:
    capacity = probe.capacity()
    allocatable = settings.allocatable(capacity)
    if allocatable.memory_bytes < LITTLE_MEMORY_BYTES:
        message = f"Jobs can share only {format_bytes(allocatable.memory_bytes)} of memory."
        advice = "Give the machine or container more memory, or lower `headroom_memory`."
        problems.append(Problem("warning", "little_memory", message, advice))
    if allocatable.disk_bytes < LITTLE_DISK_BYTES:
        message = f"Jobs can share only {format_bytes(allocatable.disk_bytes)} of scratch disk."
        advice = "Free space where the data directory is, or choose another one with --data-dir."
        problems.append(Problem("warning", "little_disk", message, advice))
    return {
        "capacity": {name: _figure(found) for name, found in _readings(probe).items()},
        "offered": {
            "allocatable": asdict(allocatable),
            "headroom": asdict(settings.offered(capacity) - allocatable),
            "withheld_by_settings": asdict(capacity - settings.offered(capacity)),
        },
    }


def _readings(probe: Probe) -> Mapping[str, list[Reading]]:
    if isinstance(probe, MachineProbe):
        return probe.readings()
    return {name: [reading] for name, reading in probe.origins().items()}


def _figure(found: list[Reading]) -> dict[str, Any]:
    """The least counts. What says "none", as cgroup v1 does with nearly 2**63, is left out of the bounds."""
    least = min(found, key=lambda reading: reading.value)
    bounds = [asdict(reading) for reading in found if reading.value < _NO_LIMIT]
    return {**asdict(least), "bounds": bounds}


# Limits


def _limits(settings: Settings, machine: Machine, problems: list[Problem]) -> dict[str, Any]:
    rungs = _rungs(settings, machine, problems)
    abi = machine.landlock_abi()
    yields = machine.can_yield(settings.yield_cpu)
    free = machine.processes_free()
    problems.extend(_limit_problems(settings, rungs, abi, yields))
    problems.extend(_process_problems(free))
    return {
        "in_use": rungs.in_use if rungs else None,
        "rungs": [finding._asdict() for finding in rungs.findings] if rungs else [],
        "landlock_abi": abi,
        "landlock": landlock.coverage(abi),
        "yield_cpu": settings.yield_cpu,
        "yield_cpu_works": yields,
        "processes_free": free,
    }


def _rungs(settings: Settings, machine: Machine, problems: list[Problem]) -> Rungs | None:
    try:
        return machine.rungs(settings)
    except TidegateError as error:
        advice = "Set `enforcement` to auto, or see docs/limits.md for what the rung needs."
        problems.append(Problem("error", "enforcement", error.message, advice))
    if settings.enforcement == "auto":
        return None
    return _rungs(settings.model_copy(update={"enforcement": "auto"}), machine, problems)


def _limit_problems(settings: Settings, rungs: Rungs | None, abi: int, yields: bool) -> Iterator[Problem]:
    if rungs is not None and rungs.in_use == "watchdog":
        reasons = "; ".join(f"{one.rung}: {one.reason}" for one in rungs.findings if not one.works)
        message = "Memory limits are held by sampling alone, so a fast job can pass its limit for a moment"
        message += f" ({reasons})." if reasons else "."
        advice = "Run as root, as a systemd service with Delegate=yes, or with a writable /sys/fs/cgroup; see docs/limits.md."
        yield Problem("warning", "no_cgroups", message, advice)
    if abi == 0:
        message = "There is no Landlock here: jobs are kept from other files by DuckDB's own lock and permissions alone."
        advice = "Use Linux 5.13 or later with Landlock; in a container also a seccomp profile that lets its calls through."
        yield Problem("warning", "no_landlock", message, advice)
    if not yields:
        message = f"Jobs cannot give way to the service by {settings.yield_cpu!r}: this process may not lower its own rank."
        yield Problem(
            "warning",
            "no_yield",
            message,
            "Allow sched_setscheduler(2), or set `yield_cpu` to nice or weight.",
        )


def _process_problems(free: int | None) -> Iterator[Problem]:
    if free is not None and free < FEW_PROCESSES:
        message = (
            f"Only {free} more processes and threads can be started here, and each job takes at least two."
        )
        yield Problem(
            "warning", "few_processes", message, "Raise the pids limit of the container or service."
        )


# Data directory


def _data_dir(
    settings: Settings, data_dir: Path, machine: Machine, problems: list[Problem]
) -> dict[str, Any]:
    present = _present(data_dir)
    fault = write_fault(present)
    point, kind = file_system_of(present.resolve(), machine.mounts())
    used_by = server_of(data_dir)
    problems.extend(
        _data_dir_problems(data_dir, fault, kind, used_by, holds_database=_holds_database(settings))
    )
    return {
        "path": str(data_dir),
        "exists": data_dir.exists(),
        "writable": fault is None,
        "file_system": kind,
        "mounted_at": point,
        "used_by": used_by,
    }


def _present(folder: Path) -> Path:
    """The folder, or the first above it that is there."""
    return next((place for place in (folder, *folder.parents) if place.exists()), folder)


def _scratch(
    settings: Settings, scratch: Path | None, data_file_system: str, machine: Machine, problems: list[Problem]
) -> dict[str, Any] | None:
    """Where running jobs spill and write, when that is not the data directory."""
    if scratch is None:
        if settings.broker_url is not None and data_file_system in _NETWORK_FILE_SYSTEMS:
            message = f"Running jobs spill to the shared path, over the network ({data_file_system})."
            advice = "Set `scratch_dir` to a folder on a disk of this machine."
            problems.append(Problem("info", "scratch_on_network", message, advice))
        return None
    present = _present(scratch)
    fault = write_fault(present)
    point, kind = file_system_of(present.resolve(), machine.mounts())
    problems.extend(_scratch_problems(scratch, fault, kind))
    return {"path": str(scratch), "writable": fault is None, "file_system": kind, "mounted_at": point}


def _scratch_problems(scratch: Path, fault: str | None, kind: str) -> Iterator[Problem]:
    advice = "Choose a folder on a disk of this machine."
    if fault is not None:
        yield Problem("error", "scratch", f"scratch_dir {scratch} cannot be written: {fault}.", advice)
    if kind in _MEMORY_FILE_SYSTEMS:
        message = f"scratch_dir {scratch} lies in memory ({kind}): what jobs spill takes memory."
        yield Problem("warning", "scratch_in_memory", message, advice)
    if kind in _NETWORK_FILE_SYSTEMS:
        message = f"scratch_dir {scratch} lies on a network ({kind}), where spilling is slow."
        yield Problem("warning", "scratch_on_network", message, advice)


def _holds_database(settings: Settings) -> bool:
    return settings.database_url is None or settings.database_url.startswith("sqlite")


def _data_dir_problems(
    data_dir: Path, fault: str | None, type: str, used_by: Mapping[str, Any] | None, *, holds_database: bool
) -> Iterator[Problem]:
    other = "Choose another data directory with --data-dir."
    if fault is not None:
        yield Problem(
            "error", "data_dir", f"The data directory {data_dir} cannot be written: {fault}.", other
        )
    if type in _MEMORY_FILE_SYSTEMS:
        message = f"The data directory {data_dir} lies in memory ({type}): files of jobs take memory, and a reboot loses all."
        yield Problem(
            "warning", "data_in_memory", message, "Choose a data directory on a disk with --data-dir."
        )
    if type in _NETWORK_FILE_SYSTEMS and holds_database:
        message = f"The data directory {data_dir} lies on a network ({type}), where SQLite's database can be damaged."
        yield Problem(
            "error", "data_on_network", message, "Choose a data directory on a local disk with --data-dir."
        )
    if used_by is not None:
        message = f"A server uses the data directory {data_dir} (process {used_by['pid'] or 'unknown'})."
        yield Problem("info", "in_use", message, "Stop it before another one is started there.")


# Address


def _server(settings: Settings, used_by: Mapping[str, Any] | None, problems: list[Problem]) -> dict[str, Any]:
    fault = listen_fault(settings.host, settings.port)
    ours = used_by is not None and str(used_by["url"]).endswith(f":{settings.port}")
    if fault is not None and not ours:
        message = f"Cannot listen on {settings.host}:{settings.port}: {fault}."
        problems.append(Problem("error", "port", message, "Choose another --port; 0 picks a free one."))
    return {"host": settings.host, "port": settings.port, "can_listen": fault is None}
