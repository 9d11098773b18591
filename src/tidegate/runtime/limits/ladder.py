"""Which rungs hold here. Found by doing: a probe group is made, limited, joined by a process, read back and removed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from tidegate.errors import SettingError
from tidegate.runtime.limits.cgroup1 import Cgroup1
from tidegate.runtime.limits.cgroup2 import Cgroup2
from tidegate.runtime.limits.group import Finding, Group, GroupLimits, Rung
from tidegate.runtime.limits.paths import Hierarchy, own_hierarchies
from tidegate.runtime.limits.watchdog import Watchdog
from tidegate.runtime.processes import read_file

_PROBE_BYTES = 64 * 1024 * 1024
_REMOVE_WITHIN_S = 2.0


class Ladder(NamedTuple):
    """The rung in use and what was found about each, the strongest first."""

    rung: Rung
    findings: tuple[Finding, ...]


def find_ladder(
    instance: str,
    wanted: str = "auto",
    *,
    yield_cpu: str = "idle",
    own_pids: Iterable[int] = (),
    hierarchies: dict[str, Hierarchy] | None = None,
) -> Ladder:
    """Try the rungs from the strongest down. Must be called in a process with one thread, since it forks.

    `auto` takes the first that works. Raises SettingError when another one is wanted and does not work here.
    """
    known = (
        hierarchies
        if hierarchies is not None
        else own_hierarchies(read_file("/proc/self/cgroup"), read_file("/proc/self/mountinfo"))
    )
    makers: dict[str, Callable[[], Rung]] = {
        "cgroup2": lambda: Cgroup2(instance, known, yield_cpu, own_pids),
        "cgroup1": lambda: Cgroup1(instance, known, yield_cpu, own_pids),
        "watchdog": Watchdog,
    }
    found: dict[str, Rung] = {}
    findings = []
    for name, make in makers.items():
        finding, rung = _try(name, make)
        findings.append(finding)
        if rung is not None:
            found[name] = rung
    return Ladder(_choose(wanted, found, findings), tuple(findings))


def _choose(wanted: str, found: dict[str, Rung], findings: list[Finding]) -> Rung:
    chosen = next(iter(found)) if wanted == "auto" else wanted
    for name, rung in found.items():
        if name != chosen:
            rung.close()
    if chosen not in found:
        why = next(
            (finding.reason for finding in findings if finding.rung == wanted), "there is no such rung"
        )
        raise SettingError(f"enforcement is {wanted!r}, but that does not work here: {why}. Use 'auto'.")
    return found[chosen]


def _try(name: str, make: Callable[[], Rung]) -> tuple[Finding, Rung | None]:
    try:
        rung = make()
    except OSError as error:
        return Finding(name, works=False, reason=_why(error)), None
    try:
        if rung.name != "watchdog":
            _probe(rung)
    except OSError as error:
        rung.close()
        return Finding(name, works=False, reason=_why(error)), None
    reason = _PROBED if name != "watchdog" else _WATCHED
    return Finding(name, works=True, reason=reason), rung


_PROBED = "the probe group took its limits and a process"
_WATCHED = "needs nothing of the kernel; measures each job's processes again and again and ends what is over its limit"


def _why(error: OSError) -> str:
    if error.strerror is None:
        return str(error)
    return f"{error.strerror}: {error.filename}" if error.filename else error.strerror


def _probe(rung: Rung) -> None:
    """Raises OSError with what did not work."""
    group = rung.create(f"probe-{os.getpid()}", GroupLimits(_PROBE_BYTES, 1000))
    child = 0
    try:
        child = _joined_child(group)
        if group.empty():
            raise OSError("a process joined the probe group and is not in it")
        group.usage()
        group.kill()
        os.waitpid(child, 0)
        child = 0
    finally:
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        remove_within(group, _REMOVE_WITHIN_S)


def _joined_child(group: Group) -> int:
    """A process that has joined and waits for its end. Raises OSError when it could not join."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _join_and_wait(group, reader, writer)
    os.close(writer)
    answer = os.read(reader, 400)
    os.close(reader)
    if answer != b"joined":
        os.waitpid(pid, 0)
        raise OSError(
            f"a process could not join the probe group: {answer.decode(errors='replace') or 'it died'}"
        )
    return pid


def _join_and_wait(group: Group, reader: int, writer: int) -> None:
    try:
        os.close(reader)
        group.join()
        os.write(writer, b"joined")
        os.close(writer)
        while True:
            signal.pause()
    except BaseException as error:  # noqa: BLE001  whatever it is, this process must not go on as the zygote
        os.write(writer, str(error).encode()[:400])
    finally:
        os._exit(1)


def remove_within(group: Group, seconds: float) -> bool:
    """Remove a group whose processes are being torn down: the kernel says EBUSY for some milliseconds."""
    until = time.monotonic() + seconds
    while not group.remove():
        if time.monotonic() >= until:
            return False
        time.sleep(0.001)
    return True
