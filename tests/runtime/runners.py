"""Runners for the sandbox tests, imported by name inside the sandbox. Each misbehaves in one way."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidegate.core.job import TaskOrder
from tidegate.core.resources import Resources
from tidegate.ports import TaskContext
from tidegate.workloads.errors import TaskError

MIB = 1024 * 1024


def answer(context: TaskContext) -> Mapping[str, Any]:
    return {"answer": context.spec.get("answer", 42)}


def keepable(context: TaskContext) -> Mapping[str, Any]:
    """Say whether the answer may be kept."""
    return {"answer": context.spec["answer"], "keep": context.spec["keep"]}


def sleep(context: TaskContext) -> Mapping[str, Any]:
    """Say that it runs, then sleep."""
    context.progress(0.5)
    time.sleep(float(context.spec.get("seconds", 60)))
    return {}


def hold(context: TaskContext) -> Mapping[str, Any]:
    """Use an amount of memory for a while."""
    block = bytearray(int(context.spec["mib"]) * MIB)
    time.sleep(float(context.spec.get("seconds", 0)))
    return {"held": len(block)}


def eat(context: TaskContext) -> Mapping[str, Any]:
    """Take memory without end."""
    blocks = []
    while True:
        blocks.append(bytearray(MIB))


def eat_shared(context: TaskContext) -> Mapping[str, Any]:
    """Take shared memory without end: no limit on private data sees it."""
    blocks = []
    while True:
        block = mmap.mmap(-1, MIB)
        block.write(b"x" * MIB)
        blocks.append(block)


def eat_in_child(context: TaskContext) -> Mapping[str, Any]:
    """A child takes memory without end; this process does not care."""
    pid = os.fork()
    if pid == 0:
        eat_shared(context)  # no limit of a single process sees it
    os.waitpid(pid, 0)
    return {}


def return_twice(context: TaskContext) -> Mapping[str, Any]:
    """Fork, and let both processes come back with a result; the child first."""
    pid = os.fork()
    if pid == 0:
        return {"by": "child"}
    _, status = os.waitpid(pid, 0)
    return {"by": "parent", "status_of_child": os.waitstatus_to_exitcode(status)}


def fork_bomb(context: TaskContext) -> Mapping[str, Any]:
    """Fork without end, in every process; with `most`, only so many, all of which stay."""
    most = context.spec.get("most")
    context.progress(0.0)
    if most is None:
        while True:
            _try_fork()
    for _ in range(int(most)):
        if os.fork() == 0:
            while True:
                signal.pause()
    while True:
        signal.pause()


def _try_fork() -> None:
    try:
        os.fork()
    except OSError:
        return


def escape(context: TaskContext) -> Mapping[str, Any]:
    """Leave daemons behind: sessions of their own, forked twice, deaf to everything that can be ignored."""
    reader, writer = os.pipe()
    for _ in range(5):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                _be_deaf()
                os.write(writer, b"x")
                while True:
                    signal.pause()
            os._exit(0)
    alive = 0
    while alive < 5:
        alive += len(os.read(reader, 5))
    if context.spec.get("stay"):
        context.progress(1.0)
        time.sleep(60)
    return {"left": alive}


def _be_deaf() -> None:
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def ignore(context: TaskContext) -> Mapping[str, Any]:
    """Ignore the request to stop."""
    _be_deaf()
    context.progress(0.5)
    while True:
        signal.pause()


def stop_itself(context: TaskContext) -> Mapping[str, Any]:
    """Stop, as by SIGSTOP."""
    context.progress(0.5)
    os.kill(os.getpid(), signal.SIGSTOP)
    return {}


def attack_keeper(context: TaskContext) -> Mapping[str, Any]:
    """Try to kill the process that watches over us."""
    try:
        os.kill(os.getppid(), signal.SIGKILL)
    except PermissionError:
        return {"refused": True}
    time.sleep(60)
    return {"refused": False}


def fail(context: TaskContext) -> Mapping[str, Any]:
    raise TaskError("The column 'x' is not there.", code="unknown_column", numbers={"position": 7})


def crash(context: TaskContext) -> Mapping[str, Any]:
    raise RuntimeError("out of ideas")


def refuse_memory(context: TaskContext) -> Mapping[str, Any]:
    raise MemoryError


def segfault(context: TaskContext) -> Mapping[str, Any]:
    ctypes.string_at(0)
    return {}


def exit_with(context: TaskContext) -> Mapping[str, Any]:
    os._exit(int(context.spec["code"]))


def kill_itself(context: TaskContext) -> Mapping[str, Any]:
    os.kill(os.getpid(), int(context.spec["signal"]))
    return {}


def talk(context: TaskContext) -> Mapping[str, Any]:
    """Print, log, and write to standard error."""
    print("printed", flush=True)
    context.log("logged")
    sys.stderr.write("complained\n")
    return {}


def talk_and_wait(context: TaskContext) -> Mapping[str, Any]:
    """Print, then say that it runs, and sleep."""
    print("printed", flush=True)
    return sleep(context)


def babble(context: TaskContext) -> Mapping[str, Any]:
    """Print more than is kept."""
    line = b"x" * 65536
    for _ in range(int(context.spec["mib"]) * 16):
        os.write(1, line)
    os.write(1, b"x" * int(context.spec.get("more", 0)))
    return {}


def report_much(context: TaskContext) -> Mapping[str, Any]:
    return {"text": "x" * 2 * MIB}


def report_nonsense(context: TaskContext) -> Mapping[str, Any]:
    """Write into the pipe that belongs to the sandbox."""
    os.write(3, b"nonsense\n")
    return {}


def steps(context: TaskContext) -> Mapping[str, Any]:
    for step in range(1, 4):
        context.progress(step / 4)
        time.sleep(0.12)
    return {}


def fill_disk(context: TaskContext) -> Mapping[str, Any]:
    """Write files of 8 MiB without end."""
    number = 0
    while True:
        Path(context.staging, f"{number}.bin").write_bytes(bytes(8 * MIB))
        number += 1


def fill_file(context: TaskContext) -> Mapping[str, Any]:
    """Write one file that is larger than the disk limit."""
    with Path(context.staging, "one.bin").open("wb") as file:
        while True:
            file.write(bytes(8 * MIB))


def fill_cache(context: TaskContext) -> Mapping[str, Any]:
    """Write and read a file: page cache, hardly any memory of its own."""
    path = Path(context.staging, "data.bin")
    with path.open("wb") as file:
        for _ in range(int(context.spec["mib"])):
            file.write(bytes(MIB))
        file.flush()
        os.fsync(file.fileno())
    return {"size": path.stat().st_size}


def spin(context: TaskContext) -> Mapping[str, Any]:
    """Use CPU for so long, in a child as well when asked."""
    if context.spec.get("child"):
        pid = os.fork()
        if pid == 0:
            _spin(float(context.spec["seconds"]))
            os._exit(0)
        os.waitpid(pid, 0)
    _spin(float(context.spec["seconds"]))
    return {}


def spin_family(context: TaskContext) -> Mapping[str, Any]:
    """Use so much CPU four times: here, in a child, in a child of that, and in a daemon that has left its parents."""
    seconds = float(context.spec["seconds"])
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        inner = os.fork()
        _spin(seconds)
        if inner == 0:
            os._exit(0)
        os.waitpid(inner, 0)
        os._exit(0)
    leaver = os.fork()
    if leaver == 0:
        os.setsid()
        if os.fork() == 0:
            _spin(seconds)
            os.write(writer, b"x")
        os._exit(0)
    os.waitpid(leaver, 0)
    _spin(seconds)
    os.waitpid(pid, 0)
    os.read(reader, 1)
    return {}


def _spin(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def look_around(context: TaskContext) -> Mapping[str, Any]:
    """Try what a sandbox must not allow; answers the name of what happened for each."""
    listener = socket.socket()
    attempts = {
        "read_input": lambda: Path(context.spec["input"]).read_bytes(),
        "write_input": lambda: Path(context.spec["input"]).write_bytes(b""),
        "read_other": lambda: Path(context.spec["other"]).read_bytes(),
        "list_other": lambda: os.listdir(Path(context.spec["other"]).parent),
        "delete_other": lambda: os.unlink(context.spec["other"]),
        "write_beside_staging": lambda: Path(context.staging).parent.joinpath("x").write_bytes(b""),
        "write_staging": lambda: Path(context.staging, "x").write_bytes(b"x"),
        "read_environment_of_server": lambda: Path(
            f"/proc/{context.spec['server_pid']}/environ"
        ).read_bytes(),
        "read_shadow": lambda: Path("/etc/shadow").read_bytes(),
        "connect": lambda: socket.create_connection(("127.0.0.1", int(context.spec["port"])), timeout=1),
        "listen": lambda: listener.bind(("127.0.0.1", 0)),
        "signal_server": lambda: os.kill(int(context.spec["server_pid"]), 0),
        "leave_group": lambda: Path("/sys/fs/cgroup/memory/cgroup.procs").write_text("0"),
        "become_other": lambda: os.setuid(1000),
    }
    return {name: _outcome(attempt) for name, attempt in attempts.items()}


def _outcome(attempt: Any) -> str:
    try:
        attempt()
    except OSError as error:
        return type(error).__name__
    return "allowed"


def circumstances(context: TaskContext) -> Mapping[str, Any]:
    """What the process looks like from inside."""
    status = dict(
        line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line
    )
    return {
        "environment": dict(os.environ),
        "open_files": sorted(int(name) for name in os.listdir("/proc/self/fd")),
        "cwd": os.getcwd(),
        "policy": os.sched_getscheduler(0),
        "nice": os.nice(0),
        "session": os.getsid(0) == os.getpid(),
        "effective_capabilities": int(status["CapEff"], 16),
        "no_new_privileges": int(status["NoNewPrivs"]),
        "groups": Path("/proc/self/cgroup").read_text(),
        "threads": int(status["Threads"]),
        "modules": sorted(name for name in sys.modules if "." not in name),
    }


def leave_file(context: TaskContext) -> Mapping[str, Any]:
    """Leave what looks like a whole Parquet file."""
    Path(context.staging, "numbers.parquet").write_bytes(b"PAR1" + b"\0" * 40 + b"PAR1")
    return {"file": "numbers.parquet", "row_count": 3, "columns": [{"name": "n", "type": "BIGINT"}]}


def leave_cut_file(context: TaskContext) -> Mapping[str, Any]:
    """Claim a file that is cut off."""
    Path(context.staging, "numbers.parquet").write_bytes(b"PAR1" + b"\0" * 40)
    return {"file": "numbers.parquet", "row_count": 3, "columns": []}


def misdescribe_file(context: TaskContext) -> Mapping[str, Any]:
    """Leave a file, and describe its columns as nobody expects it."""
    return {**leave_file(context), "columns": [{"title": "n"}]}


def name_path_outside(context: TaskContext) -> Mapping[str, Any]:
    """Claim a file elsewhere."""
    return {"file": "../../../tidegate.db"}


def expand(context: TaskContext) -> Mapping[str, Any]:
    """Leave a folder and a task for each of its files; such a task tells what it reads there."""
    if "file" in context.spec:
        assert context.input_folder is not None
        return {"text": Path(context.input_folder, context.spec["file"]).read_text()}
    folder = Path(context.staging, "unpacked")
    folder.mkdir()
    for number in range(context.spec["count"]):
        name = f"{number}.txt"
        folder.joinpath(name).write_text(f"text {number}")
        context.add_task(TaskOrder(name, {"file": name}, Resources(500, 64 * MIB, 0), 10.0))
    if context.spec.get("then_fail"):
        raise TaskError("It went wrong.", code="wrong")
    return {"folder": "unpacked"}


def leave_lines(context: TaskContext) -> Mapping[str, Any]:
    """Write the file of added tasks itself, as code of users could."""
    Path(context.staging, "tasks.jsonl").write_text(context.spec["lines"])
    return {}


def add_without_leave(context: TaskContext) -> Mapping[str, Any]:
    context.add_task(TaskOrder("never"))
    return {}


def as_told(context: TaskContext) -> Mapping[str, Any]:
    """Whatever the spec says under `does`: each task of a batch may behave otherwise."""
    print(f"task {context.key}", flush=True)
    does: Mapping[str, Any] = {
        "answer": answer, "sleep": sleep, "hold": hold, "eat": eat, "fail": fail, "crash": crash, "segfault": segfault,
        "exit_with": exit_with, "leave_file": leave_file, "refuse_memory": refuse_memory, "pid": _pid,
        "add": add_without_leave, "report_much": report_much, "spin": spin,
    }  # fmt: skip
    result: Mapping[str, Any] = does[context.spec["does"]](context)
    return result


def _pid(context: TaskContext) -> Mapping[str, Any]:
    return {"pid": os.getpid(), "key": list(context.key), "timeout_s": context.timeout_s}
