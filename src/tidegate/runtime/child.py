"""The attempt's own main: from the fork in the keeper to `_exit`, as flat steps.

The process confines itself before it runs anything of the job; whatever fails before that is reported as `sandbox` and
nothing is run. What it tells the keeper goes over one pipe as JSON lines, the last of which is a result or an error.

Asked to stop (SIGTERM), it dies, unless the runner's module has a function `interrupt()`: then that is called, in a thread
of its own, and the runner is to end soon.
"""

from __future__ import annotations

import _thread
import errno
import importlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

from tidegate.core.job import AttemptKey
from tidegate.core.resources import Resources
from tidegate.ports import TaskContext
from tidegate.runtime.hand_over import hand_over
from tidegate.runtime.limits import landlock, process
from tidegate.runtime.limits.files import used_memory
from tidegate.runtime.limits.group import Group
from tidegate.runtime.processes import (
    PR_SET_PDEATHSIG,
    MemoryOf,
    parse_memory,
    prctl,
    set_handler,
    set_name,
)
from tidegate.runtime.task_file import INPUT_FOLDER, TaskWriter
from tidegate.workloads.errors import TaskError

MAX_RESULT_BYTES = 1024 * 1024
"""Largest report of an attempt. Data belongs into files of the staging folder."""
_MAX_MESSAGE = 8000
_PROGRESS_EVERY_S = 0.1
LOG_MARK = b"\0-- next attempt --\0"
BATCH_S = 3.0
"""A batch begins nothing more after this long: what is left is put back, so that others get their turn."""


class ChildTurn(NamedTuple):
    """One attempt of those that run in this process, one after another."""

    key: AttemptKey
    spec: Mapping[str, Any]
    timeout_s: float


class ChildOrder(NamedTuple):
    """What the keeper decided for this attempt, or for this batch of them."""

    turns: Sequence[ChildTurn]
    runner: str
    resources: Resources
    staging: str
    hand_over: str | None
    interactive: bool
    expands: bool
    group: Group
    memory_bytes: int
    disk_bytes: int
    kernel_holds_memory: bool
    group_yields_cpu: bool
    yield_cpu: str
    confinement: landlock.Confinement | None
    keeper_pid: int


class Reporter:
    """The child's end of the pipe to the keeper. Lines are whole even when several threads report."""

    def __init__(self, fd: int, stat_fd: int | None, turns: int = 1) -> None:
        """`stat_fd` is of the group's `memory.stat`; without, the memory of this process is told. It reports on so many
        attempts, unless it is `finished` before."""
        self._fd = fd
        self._turns = turns
        self._until = time.monotonic() + BATCH_S
        self._told_cpu_s = 0.0
        self.finished = False
        self._pid = os.getpid()
        self._status_fd = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
        self._stat_fd = stat_fd
        self._inherited_bytes = 0
        self._lock = _thread.allocate_lock()
        self._next_progress_at = 0.0
        if stat_fd is None:
            memory = self._memory_now()
            self._inherited_bytes = memory.anonymous_bytes + memory.shared_bytes

    def settle(self, log_fd: int) -> None:
        """Take the descriptors from 3 on, give the log 1 and 2, and close all others."""
        wanted = [log_fd, log_fd, self._fd, self._status_fd]
        wanted += [] if self._stat_fd is None else [self._stat_fd]
        _place_fds(wanted)
        self._fd, self._status_fd = 3, 4
        self._stat_fd = None if self._stat_fd is None else 5

    def progress(self, share: float) -> None:
        """At most ten times a second; the rest is dropped."""
        now = time.monotonic()
        if now < self._next_progress_at:
            return
        self._next_progress_at = now + _PROGRESS_EVERY_S
        self._write({"progress": min(max(float(share), 0.0), 1.0)})

    def result(self, facts: Mapping[str, Any]) -> None:
        more = self._more()
        line = _encode({"result": facts, "peak_memory_bytes": self._peak(), **more})
        if len(line) > MAX_RESULT_BYTES:
            raise TaskError(
                f"The runner's report of {len(line)} bytes is above the {MAX_RESULT_BYTES} bytes allowed. "
                "Write data to a file in the staging folder instead.",
                code="result_too_large",
            )
        self._end_turn(line, more)

    def error(self, facts: Mapping[str, Any], *, sound: bool = False) -> None:
        """`sound`: the process is none the worse for it, and may go on with the next one."""
        more = self._more() if sound else {}
        self._end_turn(_encode({"error": facts, "peak_memory_bytes": self._peak(), **more}), more)

    def _more(self) -> dict[str, float]:
        """What a report says besides when the next one of the batch follows."""
        if self._turns == 1 or time.monotonic() >= self._until:
            return {}
        return {"cpu_s": time.process_time() - self._told_cpu_s}

    def _end_turn(self, line: bytes, more: Mapping[str, float]) -> None:
        if more:
            _mark_log()
        self._turns -= 1
        self._told_cpu_s += more.get("cpu_s", 0.0)
        self.finished = not more
        self._send(line)

    def _peak(self) -> int:
        """Highest anonymous and shared memory so far: what is used now, and how much more was resident at the highest.

        Too low, never too high, as long as no file was unmapped: resident file pages count in both.
        """
        memory = self._memory_now()
        resident = memory.anonymous_bytes + memory.shared_bytes
        used = max(resident - self._inherited_bytes, 0)
        if self._stat_fd is not None:
            used = used_memory(os.pread(self._stat_fd, 16384, 0).decode())
        return used + max(memory.highest_bytes - resident - memory.file_bytes, 0)

    def _memory_now(self) -> MemoryOf:
        return parse_memory(os.pread(self._status_fd, 4096, 0).decode())

    def _write(self, message: Mapping[str, Any]) -> None:
        self._send(_encode(message))

    def _send(self, line: bytes) -> None:
        """Only the attempt's first process speaks for it: a fork of it that ends up here is not the job."""
        if os.getpid() != self._pid:
            os._exit(1)
        with self._lock:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self._fd, rest) :]


def _mark_log() -> None:
    """What is printed from now on belongs to the next one."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(2, LOG_MARK)


_encoder = json.JSONEncoder(separators=(",", ":"), default=str)


def _encode(message: Mapping[str, Any]) -> bytes:
    return _encoder.encode(message).encode() + b"\n"


def run_child(order: ChildOrder, report_fd: int, log_fd: int) -> NoReturn:
    """Run one attempt in this freshly forked process. Never returns."""
    status = 70  # as EX_SOFTWARE of sysexits.h: the sandbox, not the job, went wrong
    try:
        _isolate(order)
        reporter = Reporter(report_fd, order.group.stat_fd(), len(order.turns))
        try:
            _confine(order)
            reporter.settle(log_fd)
        except Exception as error:  # noqa: BLE001  any failure here must stop the attempt
            reporter.error({"code": "sandbox", "message": f"The sandbox could not be set up: {error}"})
        else:
            status = _run(order, reporter)
    except BaseException:  # noqa: BLE001  nothing may travel up into the keeper's code
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def _isolate(order: ChildOrder) -> None:
    """A session of its own, the keeper's death as its own, and none of the zygote's signal handlers."""
    os.setsid()
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != order.keeper_pid:
        os._exit(1)
    set_name(f"job {order.turns[0].key}")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        set_handler(number, signal.SIG_DFL)


def _place_fds(fds: Sequence[int]) -> None:
    """Make these the descriptors 1, 2, 3, ... and close all others but 0, which is /dev/null in the zygote."""
    if min(fds) <= len(fds):  # in the way of another one
        fds = [_dup_above(fd, len(fds)) for fd in fds]
    for number, fd in enumerate(fds, start=1):
        os.dup2(fd, number, inheritable=number < 3)
    os.closerange(len(fds) + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _dup_above(fd: int, most: int) -> int:
    while fd <= most:
        fd = os.dup(fd)
    return fd


def _confine(order: ChildOrder) -> None:
    """Limits first, before anything is allocated; privileges and Landlock last, since the rest needs them."""
    order.group.join()
    process.offer_to_oom_killer()
    process.yield_cpu(order.yield_cpu, interactive=order.interactive, group_yields=order.group_yields_cpu)
    process.set_resource_limits(
        memory_bytes=order.memory_bytes,
        disk_bytes=order.disk_bytes,
        kernel_holds_memory=order.kernel_holds_memory,
    )
    os.umask(0o077)
    os.chdir(order.staging)
    os.environ["TMPDIR"] = order.staging
    if "tempfile" in sys.modules:  # it may have been used by a warm-up, and remembers
        sys.modules["tempfile"].tempdir = order.staging  # type: ignore[attr-defined]
    process.drop_privileges(files_confined=order.confinement is not None)
    landlock.confine(
        order.confinement,
        _paths(order, "readable_paths"),
        [*_own_folders(order), *_paths(order, "writable_paths")],
        runnable=_paths(order, "runnable_paths"),
        connectable=_ports(order),
    )


def _own_folders(order: ChildOrder) -> list[str]:
    return [order.staging] if order.hand_over is None else [order.staging, order.hand_over]


def _paths(order: ChildOrder, name: str) -> list[str]:
    named = (path for turn in order.turns for path in turn.spec.get(name, ()) if isinstance(path, str))
    return list(dict.fromkeys(named))


def _ports(order: ChildOrder) -> list[int]:
    """`connect_ports` of the spec, which the server accepts of workloads alone that say that they connect."""
    given = (port for turn in order.turns for port in turn.spec.get("connect_ports", ()))
    return [port for port in given if type(port) is int and 0 < port < 65536]


def _run(order: ChildOrder, reporter: Reporter) -> int:
    """Run the turns until one was the last, report what came of each. Answers the exit status of that one."""
    status = 0
    for number, turn in enumerate(order.turns):
        status = _run_turn(order, turn, reporter, first=number == 0)
        if reporter.finished:
            break
    return status


def _run_turn(order: ChildOrder, turn: ChildTurn, reporter: Reporter, *, first: bool) -> int:
    """Import and call the runner, report what came of it. Answers the exit status."""
    try:
        module, function = _load(order.runner)
        if first:
            _hear_interrupts(module)
        tasks = TaskWriter(order.staging)
        result = dict(function(_context(order, turn, reporter, tasks)))
        tasks.close()
        _check_batched(order, result)
        _keep(order, result)
        reporter.result(result)
    except TaskError as error:
        reporter.error(_facts(error, error.message, error.code, error.reason, error.numbers), sound=True)
    except MemoryError as error:
        reporter.error(
            _facts(error, str(error) or "memory could not be allocated", "memory_limit", "memory_limit")
        )
    except BaseException as error:  # noqa: BLE001  also SystemExit and KeyboardInterrupt end the attempt, and are told
        traceback.print_exc()
        reporter.error(_unexpected(error))
    else:
        return 0
    return 1


def _check_batched(order: ChildOrder, result: Mapping[str, Any]) -> None:
    """The staging folder of a batch is one for all, so nothing in it could be told apart."""
    if len(order.turns) > 1 and not result.keys().isdisjoint(("file", "folder")):
        raise TaskError(
            "A task that shares a sandbox can leave facts alone, no file and no folder.", code="file_in_batch"
        )


def _keep(order: ChildOrder, result: Mapping[str, Any]) -> None:
    """What was made onto the disk that it is published on, before anybody is told of it."""
    if order.hand_over is None:
        _write_through(order.staging, result)
        return
    try:
        hand_over(order.staging, order.hand_over, result)
    except OSError as error:
        raise TaskError(
            f"The result could not be written to the shared path: {error.strerror}. See that it has room and may be written.",
            code="hand_over",
        ) from None


def _write_through(staging: str, result: Mapping[str, Any]) -> None:
    """The result's file onto the disk, before anybody is told of it: a commit must not name what a power cut can take."""
    name = result.get("file")
    if not isinstance(name, str) or os.sep in name:
        return  # none, or one that will not be published
    try:
        fd = os.open(os.path.join(staging, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return  # the same
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _load(runner: str) -> tuple[ModuleType, Any]:
    name, _, attribute = runner.partition(":")
    module = sys.modules.get(name) or importlib.import_module(name)
    return module, getattr(module, attribute)


def _context(order: ChildOrder, turn: ChildTurn, reporter: Reporter, tasks: TaskWriter) -> TaskContext:
    context = TaskContext(
        key=turn.key,
        spec=turn.spec,
        resources=order.resources,
        timeout_s=turn.timeout_s,
        staging=order.staging,
        progress=reporter.progress,
        log=_log,
        input_folder=turn.spec.get(INPUT_FOLDER),
    )
    return replace(context, add_task=tasks.add) if order.expands and len(order.turns) == 1 else context


def _log(line: str) -> None:
    os.write(2, line.rstrip("\n").encode() + b"\n")


def _hear_interrupts(module: ModuleType) -> None:
    """Let a thread wait for SIGTERM: a handler would not run while the main thread is inside a library."""
    interrupt = getattr(module, "interrupt", None)
    if interrupt is None:
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def wait() -> None:
        signal.sigwait({signal.SIGTERM})
        interrupt()

    _thread.start_new_thread(wait, ())


def _facts(
    error: BaseException, message: str, code: str, reason: str, numbers: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "type": type(error).__name__,
        "message": message[:_MAX_MESSAGE],
        "code": code,
        "reason": reason,
        "numbers": dict(numbers or {}),
    }


def _unexpected(error: BaseException) -> dict[str, Any]:
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if getattr(error, "errno", None) == errno.EFBIG:
        return _facts(error, text, "disk_limit", "disk_limit")
    return _facts(error, text, "exception", "error")
