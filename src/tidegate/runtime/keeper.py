"""One slot of the sandbox: a process that runs one attempt at a time, from the order to the report.

The keeper is forked from the zygote and lives on between attempts. It is not in the attempt's control group, so the
attempt's limits cannot touch it, and it is a subreaper, so nothing of an attempt's tree can leave it. When its server goes
away it ends the tree it has and leaves.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple, NoReturn

from tidegate.core.job import AttemptKey, ExitReason
from tidegate.core.resources import Resources
from tidegate.runtime.child import ChildOrder, run_child
from tidegate.runtime.limits.group import Group, GroupLimits, GroupUsage, Rung
from tidegate.runtime.limits.ladder import remove_within
from tidegate.runtime.pipes import LogPipe, ReportPipe
from tidegate.runtime.processes import (
    PR_SET_CHILD_SUBREAPER,
    disk_use_bytes,
    end_descendants,
    host_oom_kills,
    prctl,
    read_file,
    reap,
    send_signal,
    write_file,
)
from tidegate.runtime.protocol import Channel
from tidegate.runtime.verdict import Ending, Facts, judge

GRACE_S = 0.5
"""How long an attempt that is asked to stop may take before it is killed."""
_GONE_WITHIN_S = 1.2
_FIRST_SAMPLE_S = 0.02
_SAMPLE_S = 0.25
_SAMPLE_NEAR_LIMIT_S = 0.1
_NEAR_LIMIT = 0.8
_FAR_OVER_LIMIT = 1.2
_DISK_S = 0.25
_HEARTBEAT_S = 1.0
_MAX_PROCESSES = 512
LEAST_MEMORY_BYTES = 32 * 1024 * 1024
"""An attempt that asks for less gets this: a forked interpreter alone takes some of it."""
LEAST_DISK_BYTES = 64 * 1024 * 1024
"""Likewise for scratch disk, so that small results can always be written."""


class World(NamedTuple):
    """What all keepers of a zygote share."""

    generation: str
    rung: Rung
    yield_cpu: str
    landlock_abi: int
    system_paths: tuple[str, ...]


class Attempt:
    """One attempt from fork to account."""

    def __init__(self, world: World, channel: Channel, inbox: deque[dict[str, Any]], group_name: str) -> None:
        self._world = world
        self._channel = channel
        self._inbox = inbox
        order = inbox.popleft()
        self._order = order
        self._group_name = group_name
        self.key = AttemptKey(*order["key"])
        self._resources = Resources(*order["resources"])
        self._memory_limit = max(self._resources.memory_bytes, LEAST_MEMORY_BYTES)
        self._disk_limit = max(self._resources.disk_bytes, LEAST_DISK_BYTES)
        self._timeout_s = float(order["timeout_s"])
        self._folder = str(order["folder"])
        self._interactive = bool(order.get("interactive"))
        self._started = time.monotonic()
        self._group: Group | None = None
        self._usage: GroupUsage | None = None
        self._child = 0
        self._pidfd = -1
        self._report = ReportPipe()
        self._log = LogPipe(f"{self._folder}/log")
        self._ending: Ending | None = None
        self._kill_at: float | None = None
        self._child_ended = False
        self._peak = 0
        self._over_limit = 0
        self._oom_baseline: int | None = None
        self._sample_gap = _FIRST_SAMPLE_S
        self._sample_at = self._started + _FIRST_SAMPLE_S
        self._disk_at = self._started + _DISK_S
        self._sent_memory = 0
        self._progress_at = self._started + _HEARTBEAT_S
        self._wait_status: int | None = None
        self.tree_gone = False

    def run(self) -> dict[str, Any]:
        """The steps; answers the report."""
        before = _spent()
        failure = self._prepare()
        if failure is None:
            self._fork()
            self._watch()
        self._end_tree()
        return self._account(before, failure)

    def remove_group(self) -> None:
        """After the report, since nobody waits for it. A group that stays is found by the zygote or the next sweep."""
        if self._group is not None:
            remove_within(self._group, _GONE_WITHIN_S)

    def finish_off(self) -> bool:
        """For a tree that could not be ended in time: try for another while; whether it is gone now."""
        self._end_tree()
        return self.tree_gone

    def _prepare(self) -> Ending | None:
        """Folders, then the group with its limits. An attempt without its limits is never started."""
        try:
            os.makedirs(f"{self._folder}/staging", mode=0o700, exist_ok=True)
            limits = GroupLimits(
                self._memory_limit, self._resources.cpu_milli, _MAX_PROCESSES, self._interactive
            )
            self._group = self._world.rung.create(self._group_name, limits)
        except OSError as error:
            return Ending(ExitReason.ERROR, f"The sandbox could not be set up: {error}", code="sandbox")
        return None

    def _fork(self) -> None:
        assert self._group is not None
        order = self._child_order(self._group)
        self._child = os.fork()
        if self._child == 0:
            run_child(order, self._report.writer, self._log.writer)
        self._pidfd = os.pidfd_open(self._child)
        self._report.close_writer()
        self._log.close_writer()
        self._channel.send({"is": "started", "key": self.key, "pid": self._child})

    def _child_order(self, group: Group) -> ChildOrder:
        world = self._world
        return ChildOrder(
            key=self.key,
            runner=str(self._order["runner"]),
            spec=self._order["spec"],
            resources=self._resources,
            timeout_s=self._timeout_s,
            staging=os.path.realpath(f"{self._folder}/staging"),
            interactive=self._interactive,
            join_paths=tuple(group.join_paths),
            memory_stat_path=group.memory_stat_path,
            memory_bytes=self._memory_limit,
            disk_bytes=self._disk_limit,
            kernel_holds_memory=world.rung.kernel_holds_memory,
            group_yields_cpu=world.rung.yields_cpu,
            yield_cpu=world.yield_cpu,
            landlock_abi=world.landlock_abi,
            system_paths=world.system_paths,
            keeper_pid=os.getpid(),
        )

    def _watch(self) -> None:
        """Until the first process has ended, or has to be killed."""
        poll = select.poll()
        handlers = {
            self._pidfd: self._on_child_end,
            self._report.reader: self._on_report,
            self._log.reader: self._log.read,
            self._channel.fileno(): self._on_message,
        }
        for fd in handlers:
            poll.register(fd, select.POLLIN)
        self._obey()  # a cancel may have come together with the order
        while not self._child_ended and not self._channel.closed:
            poll.modify(self._channel.fileno(), select.POLLIN | select.POLLOUT * self._channel.wants_write)
            for fd, _ in poll.poll(self._until_next_timer() * 1000):
                if handlers[fd]() is False:
                    poll.unregister(fd)
                    handlers.pop(fd)
            if self._timers(time.monotonic()):
                break

    def _until_next_timer(self) -> float:
        times = [self._sample_at, self._disk_at, self._kill_at or self._started + self._timeout_s]
        return max(min(times) - time.monotonic(), 0.0)

    def _timers(self, now: float) -> bool:
        """Do what is due; whether the tree has to be killed now."""
        if self._kill_at is None and now >= self._started + self._timeout_s:
            self._ask_to_stop(Ending(ExitReason.TIME_LIMIT, observed=round(now - self._started, 3)))
        if now >= self._sample_at:
            self._sample(now)
        if now >= self._disk_at:
            self._look_at_disk(now)
        return self._kill_at is not None and now >= self._kill_at

    def _on_child_end(self) -> None:
        self._child_ended = True

    def _on_report(self) -> bool:
        going_on = self._report.read()
        if self._report.progress_changed():
            self._send_progress()
        return going_on

    def _on_message(self) -> None:
        self._channel.flush()
        self._inbox.extend(self._channel.receive())
        self._obey()

    def _obey(self) -> None:
        while self._inbox:
            message = self._inbox.popleft()
            if message["do"] == "cancel" and AttemptKey(*message["key"]) == self.key:
                self._ask_to_stop(Ending(ExitReason(message["reason"]), message.get("message")))

    def _ask_to_stop(self, ending: Ending) -> None:
        """The first reason counts. What has already reported its result may finish."""
        if self._ending is None and not self._report.finished:
            self._ending = ending
            self._kill_at = time.monotonic() + GRACE_S
            send_signal([self._child], signal.SIGTERM)

    def _kill_now(self, ending: Ending) -> None:
        if self._ending is None:
            self._ending = ending
            self._kill_at = 0.0

    def _send_progress(self) -> None:
        self._sent_memory = self._peak
        self._progress_at = time.monotonic() + _HEARTBEAT_S
        self._channel.send(
            {
                "is": "progress",
                "key": self.key,
                "progress": self._report.progress,
                "peak_memory_bytes": self._peak,
            }
        )

    def _sample(self, now: float) -> None:
        """Memory of the tree. Short gaps at first, so that short attempts are seen too; then a quarter of a second."""
        usage = self._read_usage()
        if self._oom_baseline is None:
            self._oom_baseline = host_oom_kills()
        near = usage is not None and usage.memory_bytes > _NEAR_LIMIT * self._memory_limit
        self._sample_gap = _SAMPLE_NEAR_LIMIT_S if near else min(self._sample_gap * 2, _SAMPLE_S)
        self._sample_at = now + self._sample_gap
        if usage is not None:
            self._enforce(usage)

    def _enforce(self, usage: GroupUsage) -> None:
        """Where the kernel does not hold the limit: over it twice in a row, or far over it once, ends the attempt.

        Where it does: after a memory kill the rest of the tree is ended too (`memory.oom.group` does it on v2).
        """
        if usage.oom_kills:
            self._kill_at = 0.0
        if self._world.rung.kernel_holds_memory:
            return
        over = usage.memory_bytes > self._memory_limit
        self._over_limit = self._over_limit + 1 if over else 0
        if self._over_limit >= 2 or usage.memory_bytes > _FAR_OVER_LIMIT * self._memory_limit:
            self._kill_now(Ending(ExitReason.MEMORY_LIMIT, observed=usage.memory_bytes))
        if usage.processes is not None and usage.processes > _MAX_PROCESSES:
            message = f"The job started {usage.processes} processes; {_MAX_PROCESSES} are allowed."
            self._kill_now(
                Ending(ExitReason.ERROR, message, _MAX_PROCESSES, usage.processes, "process_limit")
            )

    def _read_usage(self) -> GroupUsage | None:
        assert self._group is not None
        try:
            usage = self._group.usage()
        except OSError:  # the group is gone: somebody outside removed it
            return None
        self._peak = max(self._peak, usage.memory_bytes)
        return usage

    def _look_at_disk(self, now: float) -> None:
        used = disk_use_bytes(f"{self._folder}/staging")
        took = time.monotonic() - now
        self._disk_at = now + max(_DISK_S, 50 * took)  # a folder of very many files must not keep us busy
        if used > self._disk_limit:
            self._kill_now(Ending(ExitReason.DISK_LIMIT, observed=used))
        if self._peak != self._sent_memory and now >= self._progress_at:
            self._send_progress()

    def _end_tree(self) -> None:
        """Nothing may outlive the first process. Proof: a subreaper without children has no descendants."""
        group = self._group
        kill = group.kill if group is not None else _nothing
        hurry = group.hurry if group is not None else _nothing
        quick = reap()
        self._note_status(quick.ended)
        self.tree_gone = quick.none_left
        if not quick.none_left:
            round_ = end_descendants(kill, hurry, time.monotonic() + _GONE_WITHIN_S)
            self._note_status(round_.ended)
            self.tree_gone = round_.none_left

    def _note_status(self, ended: Mapping[int, int]) -> None:
        if self._child in ended:
            self._wait_status = ended[self._child]

    def _account(self, before: _Spent, failure: Ending | None) -> dict[str, Any]:
        self._report.drain()
        self._log.drain()
        usage = self._read_usage() if self._group is not None else None
        after = _spent()
        facts = Facts(
            enforced_by=self._world.rung.name,
            memory_limit_bytes=self._memory_limit,
            disk_limit_bytes=self._disk_limit,
            timeout_s=self._timeout_s,
            wait_status=self._wait_status,
            ending=failure or self._ending,
            oom_kills=usage.oom_kills if usage else 0,
            memory_limit_hit=usage.limit_hit if usage else False,
            host_oom_kills=self._host_kills(),
            peak_memory_bytes=self._peak_memory(usage),
            result=self._report.result,
            error=self._report.error,
        )
        verdict = judge(facts)
        own_group = usage is not None and usage.cpu_seconds is not None
        cpu = usage.cpu_seconds if own_group and usage is not None else after.cpu_s - before.cpu_s
        self._close()
        return {
            "is": "end",
            "key": self.key,
            "succeeded": verdict is None,
            "exit": None if verdict is None else asdict(verdict),
            "usage": {
                "peak_memory_bytes": facts.peak_memory_bytes,
                "peak_memory_with_cache_bytes": usage.peak_with_cache_bytes if usage else None,
                "cpu_seconds": round(cpu or 0.0, 6),
                "wall_seconds": round(time.monotonic() - self._started, 6),
                "read_bytes": after.read_bytes - before.read_bytes,
                "written_bytes": after.written_bytes - before.written_bytes,
            },
            "result": self._report.result if verdict is None else None,
            "tree_gone": self.tree_gone,
            "enforced_by": self._world.rung.name,
            "log_bytes": self._log.written_bytes,
        }

    def _peak_memory(self, usage: GroupUsage | None) -> int | None:
        """The highest of the samples and of what the child saw itself at its end, never above what the kernel charged.

        The child's own figure makes a short attempt's peak sensible; samples alone would miss it.
        """
        if self._child == 0:
            return None
        if usage is not None and usage.oom_kills and usage.limit_hit:
            return self._memory_limit
        own = max(self._report.peak_memory_bytes, 0)
        ceiling = usage.peak_with_cache_bytes if usage is not None else None
        return max(self._peak, own if ceiling is None else min(own, ceiling))

    def _host_kills(self) -> int:
        if (
            self._oom_baseline is None
            or self._wait_status is None
            or self._wait_status & 0x7F != signal.SIGKILL
        ):
            return 0
        return host_oom_kills() - self._oom_baseline

    def _close(self) -> None:
        self._report.close()
        self._log.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)


class _Spent(NamedTuple):
    cpu_s: float
    read_bytes: int
    written_bytes: int


def _spent() -> _Spent:
    """CPU and input/output of all children reaped so far.

    The kernel adds a child's counters to its parent's when it is reaped, so the keeper's own `io` file holds those of the
    whole tree, plus little of its own. Not added are children whose parent ignores SIGCHLD.
    """
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    amounts = {"read_bytes": 0, "write_bytes": 0, "cancelled_write_bytes": 0}
    try:
        for line in read_file("/proc/self/io").splitlines():
            name, _, value = line.partition(": ")
            if name in amounts:
                amounts[name] = int(value)
    except OSError:  # kernels without task accounting
        pass
    return _Spent(usage.ru_utime + usage.ru_stime, amounts["read_bytes"], amounts["write_bytes"])


def _nothing(_: bool = False) -> None:
    return


def keep(world: World, channel: Channel, number: int) -> NoReturn:
    """The keeper's main: orders in, reports out, until the server is gone."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    write_file("/proc/self/comm", "tidegate-keeper")
    status = 1
    try:
        _serve(world, channel, number)
        status = 0
    except BaseException as error:  # noqa: BLE001  the zygote sweeps after a keeper that failed
        sys.stderr.write(f"tidegate: keeper {number} failed: {type(error).__name__}: {error}\n")
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def _serve(world: World, channel: Channel, number: int) -> None:
    poll = select.poll()
    poll.register(channel.fileno(), select.POLLIN)
    inbox: deque[dict[str, Any]] = deque()
    count = 0
    while not channel.closed:
        poll.modify(channel.fileno(), select.POLLIN | select.POLLOUT * channel.wants_write)
        poll.poll()
        channel.flush()
        inbox.extend(channel.receive())
        while inbox:
            if inbox[0]["do"] != "run":
                inbox.popleft()  # a cancel that crossed the report of its attempt
                continue
            count += 1
            _run_one(world, channel, inbox, f"{world.generation}-{number}-{count}")


def _run_one(world: World, channel: Channel, inbox: deque[dict[str, Any]], group_name: str) -> None:
    attempt = Attempt(world, channel, inbox, group_name)
    channel.send(attempt.run())
    while not attempt.tree_gone:
        if attempt.finish_off():
            channel.send({"is": "gone", "key": attempt.key})
    attempt.remove_group()
