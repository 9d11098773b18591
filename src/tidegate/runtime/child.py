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
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any, NoReturn

from tidegate.ports import TaskContext
from tidegate.runtime.hand_over import hand_over
from tidegate.runtime.limits import landlock, process
from tidegate.runtime.limits.group import Group
from tidegate.runtime.order import Order, World
from tidegate.runtime.processes import PR_SET_PDEATHSIG, prctl, set_handler, set_name
from tidegate.runtime.rehearsal import Stretch, copy_pages
from tidegate.runtime.reporter import Reporter
from tidegate.runtime.task_file import INPUT_FOLDER, TaskWriter
from tidegate.runtime.turns import Turn
from tidegate.workloads.errors import TaskError

_MAX_MESSAGE = 8000
_CHUNK_BYTES = 65536


def run_child(
    world: World,
    group: Group,
    keeper_pid: int,
    pages: Sequence[Stretch],
    order_fd: int,
    report_fd: int,
    log_fd: int,
) -> NoReturn:
    """Wait for an order in this freshly forked process, and run it. Never returns."""
    status = 70  # as EX_SOFTWARE of sysexits.h: the sandbox, not the job, went wrong
    try:
        _isolate(keeper_pid)
        reporter = Reporter(report_fd, group.stat_fd())
        copy_pages(pages)
        order = _wait_for_order(order_fd)
        reporter.begin(len(order.turns))
        try:
            _confine(world, group, order)
            reporter.settle(log_fd)
        except Exception as error:  # noqa: BLE001  any failure here must stop the attempt
            reporter.error({"code": "sandbox", "message": f"The sandbox could not be set up: {error}"})
        else:
            status = _run(order, reporter)
    except BaseException:  # noqa: BLE001  nothing may travel up into the keeper's code
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def _isolate(keeper_pid: int) -> None:
    """A session of its own, the keeper's death as its own, and none of the zygote's signal handlers."""
    os.setsid()
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != keeper_pid:
        os._exit(1)
    set_name("tidegate-ahead")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        set_handler(number, signal.SIG_DFL)


def _wait_for_order(fd: int) -> Order:
    """The one that comes, a line of JSON. Leaves when the keeper hangs up instead."""
    line = bytearray()
    while not line.endswith(b"\n"):
        line += os.read(fd, _CHUNK_BYTES) or os._exit(0)
    order = Order(json.loads(line))
    set_name(f"job {order.key}")
    return order


def _confine(world: World, group: Group, order: Order) -> None:
    """Limits first, before anything is allocated; privileges and Landlock last, since the rest needs them."""
    group.join()
    process.offer_to_oom_killer()
    process.yield_cpu(world.yield_cpu, interactive=order.interactive, group_yields=world.rung.yields_cpu)
    process.set_resource_limits(
        memory_bytes=order.bounds.memory_bytes,
        disk_bytes=order.bounds.disk_bytes,
        kernel_holds_memory=world.rung.kernel_holds_memory,
    )
    os.umask(0o077)
    os.chdir(order.staging)
    os.environ["TMPDIR"] = order.staging
    if "tempfile" in sys.modules:  # it may have been used by a warm-up, and remembers
        sys.modules["tempfile"].tempdir = order.staging  # type: ignore[attr-defined]
    process.drop_privileges(files_confined=world.confinement is not None)
    landlock.confine(
        world.confinement,
        _paths(order, "readable_paths"),
        [*order.writable, *_paths(order, "writable_paths")],
        runnable=_paths(order, "runnable_paths"),
        connectable=_ports(order),
    )


def _paths(order: Order, name: str) -> list[str]:
    named = (path for turn in order.turns for path in turn.spec.get(name, ()) if isinstance(path, str))
    return list(dict.fromkeys(named))


def _ports(order: Order) -> list[int]:
    """`connect_ports` of the spec, which the server accepts of workloads alone that say that they connect."""
    given = (port for turn in order.turns for port in turn.spec.get("connect_ports", ()))
    return [port for port in given if type(port) is int and 0 < port < 65536]


def _run(order: Order, reporter: Reporter) -> int:
    """Run the turns until one was the last, report what came of each. Answers the exit status of that one."""
    status = 0
    for number, turn in enumerate(order.turns):
        status = _run_turn(order, turn, reporter, first=number == 0)
        if reporter.finished:
            break
    return status


def _run_turn(order: Order, turn: Turn, reporter: Reporter, *, first: bool) -> int:
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


def _check_batched(order: Order, result: Mapping[str, Any]) -> None:
    """The staging folder of a batch is one for all, so nothing in it could be told apart."""
    if len(order.turns) > 1 and not result.keys().isdisjoint(("file", "folder")):
        raise TaskError(
            "A task that shares a sandbox can leave facts alone, no file and no folder.", code="file_in_batch"
        )


def _keep(order: Order, result: Mapping[str, Any]) -> None:
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


def _context(order: Order, turn: Turn, reporter: Reporter, tasks: TaskWriter) -> TaskContext:
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
