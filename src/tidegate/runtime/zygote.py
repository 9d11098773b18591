"""The warm parent of all sandboxes: `python -m tidegate.runtime.zygote FD`.

It is started by exec, has one thread, loads the runners once and forks keepers, which fork attempts: so an attempt starts
in milliseconds with everything loaded. It is a subreaper: what a dead keeper leaves behind comes to it and is ended. When
its server goes away, it sees to it that nothing is left, and leaves.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

from tidegate.errors import BrokenInvariant, TidegateError
from tidegate.runtime.heap import fill_holes
from tidegate.runtime.hugepages import use_huge_pages
from tidegate.runtime.keeper import keep
from tidegate.runtime.limits import landlock
from tidegate.runtime.limits.group import Group
from tidegate.runtime.limits.ladder import Ladder, find_ladder, remove_within
from tidegate.runtime.limits.process import shrink_bounding_set
from tidegate.runtime.order import World
from tidegate.runtime.processes import (
    PR_SET_CHILD_SUBREAPER,
    children_of,
    descendants_of,
    end_descendants,
    marked_processes,
    prctl,
    read_file,
    reap,
    send_signal,
    set_name,
    threads_of,
)
from tidegate.runtime.protocol import Channel
from tidegate.runtime.rehearsal import written_by

_KEEPERS_LEAVE_WITHIN_S = 3.0
_SWEEP_WITHIN_S = 5.0


class Zygote:
    """Forks keepers on request and clears up after them."""

    def __init__(self, channel: Channel, config: dict[str, Any]) -> None:
        self._channel = channel
        self._config = config
        self._keepers: dict[int, int] = {}
        """Process id to the keeper's number."""
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        ladder = self._find_ladder()
        self._rung = ladder.rung
        self._world = World(
            generation=config["generation"],
            rung=ladder.rung,
            yield_cpu=config["yield_cpu"],
            confinement=landlock.prepare(
                landlock.system_paths(), landlock.abi() if config["confine_files"] else 0
            ),
            ahead_s=config["ahead_s"],
            usual_pages={},
        )
        self._findings = ladder.findings
        shrink_bounding_set()

    def _find_ladder(self) -> Ladder:
        return find_ladder(
            self._config["instance"],
            self._config["rung"],
            yield_cpu=self._config["yield_cpu"],
            own_pids={os.getpid(), os.getppid()},
        )

    def run(self) -> None:
        """Serve until the server is gone; then end everything."""
        signal.set_wakeup_fd(self._wake_writer)
        signal.signal(signal.SIGCHLD, _note)
        gc.collect()
        fill_holes()
        gc.freeze()
        use_huge_pages()
        self._rehearse(self._config["preload"])
        self._channel.send(
            {
                "is": "ready",
                "rung": self._rung.name,
                "findings": self._findings,
                "landlock": landlock.coverage(landlock.abi()),
            }
        )
        poll = select.poll()
        poll.register(self._channel.fileno(), select.POLLIN)
        poll.register(self._wake_reader, select.POLLIN)
        while not self._channel.closed:
            poll.modify(self._channel.fileno(), select.POLLIN | select.POLLOUT * self._channel.wants_write)
            ready = {fd for fd, _ in poll.poll()}
            if self._wake_reader in ready:
                os.read(self._wake_reader, 4096)
                self._clear_up()
            if self._channel.fileno() in ready:
                self._channel.flush()
                self._obey(self._channel.receive())
        self._end_everything()

    def _obey(self, messages: Sequence[dict[str, Any]]) -> None:
        for message in messages:
            match message["do"]:
                case "keeper":
                    self._fork_keeper(message["number"], self._channel.fds.pop(0))
                case "kill":
                    send_signal(
                        [pid for pid, number in self._keepers.items() if number == message["number"]],
                        signal.SIGKILL,
                    )
                case "load":
                    self._load(message["name"])
                case "sweep":
                    self._channel.send({"is": "swept", **self._sweep()})

    def _load(self, name: str) -> None:
        """For what is forked from now on."""
        for failure in _preload([name]):
            self._channel.send({"is": "warning", "message": failure})
        _refuse_threads([name])
        gc.collect()
        gc.freeze()
        self._rehearse([name])

    def _rehearse(self, names: Sequence[str]) -> None:
        """Where the runner's module says how."""
        for name in names:
            rehearse = getattr(sys.modules.get(name.partition(":")[0]), "rehearse", None)
            if rehearse is not None:
                self._world.usual_pages[name.partition(":")[0]] = written_by(rehearse)

    def _fork_keeper(self, number: int, fd: int) -> None:
        pid = os.fork()
        if pid == 0:
            self._become_keeper(number, fd)
        os.close(fd)
        self._keepers[pid] = number
        self._channel.send({"is": "forked", "number": number})

    def _become_keeper(self, number: int, fd: int) -> NoReturn:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._channel.close()
        os.close(self._wake_reader)
        os.close(self._wake_writer)
        keep(self._world, Channel(socket.socket(fileno=fd)), number)

    def _clear_up(self) -> None:
        """A child has ended: a keeper, or an orphan that came to us from one."""
        gone = [self._keepers.pop(pid) for pid in reap().ended if pid in self._keepers]
        if not gone and not self._orphans():
            return
        clean = self._end_orphans(time.monotonic() + _KEEPERS_LEAVE_WITHIN_S)
        for number in gone:
            prefix = f"{self._world.generation}-{number}-"
            clean &= self._remove_groups(
                [group for group in self._rung.leftovers() if group.name.startswith(prefix)]
            )
            self._channel.send({"is": "gone", "number": number, "clean": clean})

    def _orphans(self) -> list[int]:
        return [pid for pid in children_of(os.getpid()) if pid not in self._keepers]

    def _end_orphans(self, until: float) -> bool:
        """Whether none is left.

        An orphan's children come to us before it can be reaped, so when all orphans are reaped and there is no other child
        than keepers, the trees of dead keepers are gone.
        """
        while orphans := self._orphans():
            if time.monotonic() >= until:
                return False
            send_signal([*orphans, *descendants_of(orphans)], signal.SIGKILL)
            time.sleep(0.001)
            for pid in orphans:
                _reap_one(pid)
        return True

    def _remove_groups(self, groups: Sequence[Group]) -> bool:
        """Kill what is in these groups and remove them; whether all are gone."""
        until = time.monotonic() + _KEEPERS_LEAVE_WITHIN_S
        for group in groups:
            while not group.empty() and time.monotonic() < until:
                group.kill()
                group.hurry(True)
                time.sleep(0.001)
                self._end_orphans(until)
            group.hurry(False)
        return all([remove_within(group, max(until - time.monotonic(), 0.01)) for group in groups])  # noqa: C419  all are tried

    def _sweep(self) -> dict[str, Any]:
        """End what earlier servers of this instance left: processes by their mark, groups by their name.

        Their keepers notice by themselves that the server is gone and clear up, so they are given a moment first.
        """
        until = time.monotonic() + _SWEEP_WITHIN_S
        found = self._strangers()
        patience = time.monotonic() + _KEEPERS_LEAVE_WITHIN_S
        while (left := self._strangers()) and time.monotonic() < until:
            if time.monotonic() >= patience or not _has_keeper(left):
                send_signal(left, signal.SIGKILL)
            time.sleep(0.005)
        groups = [
            group
            for group in self._rung.leftovers()
            if not group.name.startswith(f"{self._world.generation}-")
        ]
        clean = self._remove_groups(groups)
        return {"processes": len(found), "groups": len(groups), "clean": clean and not left}

    def _strangers(self) -> list[int]:
        """Processes of this instance that belong to another server, and are not above us."""
        above = _ancestors()
        marked = marked_processes(self._config["instance"])
        return [
            pid
            for pid, generation in marked.items()
            if generation not in ("", self._world.generation) and pid not in above
        ]

    def _end_everything(self) -> None:
        """The server is gone. Keepers see it too and end their trees; what is left after a while is killed."""
        until = time.monotonic() + _KEEPERS_LEAVE_WITHIN_S
        while not reap().none_left and time.monotonic() < until:
            self._end_orphans(until)
            select.select([self._wake_reader], [], [], 0.05)
        end_descendants(_nothing, _nothing, time.monotonic() + _KEEPERS_LEAVE_WITHIN_S)
        own = f"{self._world.generation}-"
        self._remove_groups([group for group in self._rung.leftovers() if group.name.startswith(own)])
        self._rung.close()


def _reap_one(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _has_keeper(pids: Sequence[int]) -> bool:
    for pid in pids:
        try:
            if read_file(f"/proc/{pid}/comm").strip() in ("tidegate-keeper", "tidegate-zygote"):
                return True
        except OSError:
            continue
    return False


def _ancestors() -> set[int]:
    above: set[int] = set()
    pid = os.getpid()
    while pid > 0 and pid not in above:
        above.add(pid)
        pid = int(read_file(f"/proc/{pid}/stat").rpartition(")")[2].split()[1])
    return above


def _note(number: int, frame: FrameType | None) -> None:
    """A handler must be there for the wake-up descriptor to be written."""


def _nothing(_: bool = False) -> None:
    return


def _preload(names: Sequence[str]) -> list[str]:
    """Import the runners' modules and call their `warm()`; answers what failed, which then fails in the attempt as well."""
    failed = []
    for name in names:
        try:
            module = importlib.import_module(name.partition(":")[0])
            warm = getattr(module, "warm", None)
            if warm is not None:
                warm()
        except Exception as error:  # noqa: BLE001  a broken plugin must not take the others down
            failed.append(f"{name}: {type(error).__name__}: {error}")
    return failed


def _refuse_threads(loaded: Sequence[str]) -> None:
    if (count := threads_of("self")) != 1:
        raise BrokenInvariant(
            f"The zygote has {count} threads after loading {', '.join(loaded)}: forks would not be safe. A runner's module "
            "must start no thread when it is imported or warmed."
        )


def _import(names: Sequence[str]) -> list[str]:
    """Import the modules of users' functions; answers what failed, which is then told by the attempt that needs it."""
    failed = []
    for name in names:
        try:
            with contextlib.redirect_stdout(
                sys.stderr
            ):  # the server's output is not theirs, and no fork's either
                importlib.import_module(name)
        except BaseException as error:  # noqa: BLE001  a module may even try to leave
            failed.append(f"{name}: {type(error).__name__}: {error}")
    return failed


def _read_config(channel: Channel) -> dict[str, Any]:
    poll = select.poll()
    poll.register(channel.fileno(), select.POLLIN)
    while not channel.closed:
        poll.poll()
        for message in channel.receive():
            return message
    os._exit(0)


def main() -> NoReturn:
    """Set up, say so, serve. Leaves by `_exit`: libraries may hang in their own end after forks."""
    status = 1
    channel = Channel(socket.socket(fileno=int(sys.argv[1])), takes_fds=True)
    try:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        set_name("tidegate-zygote")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        config = _read_config(channel)
        sys.path[:0] = config["python_path"]
        for failure in [*_preload(config["preload"]), *_import(config["modules"])]:
            channel.send({"is": "warning", "message": failure})
        _refuse_threads([*config["preload"], *config["modules"]])
        Zygote(channel, config).run()
        status = 0
    except TidegateError as error:
        channel.send({"is": "failed", "code": error.code, "message": error.message})
    except BaseException as error:  # noqa: BLE001  whatever it is, the server must hear of it
        channel.send({"is": "failed", "code": "internal", "message": f"{type(error).__name__}: {error}"})
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
