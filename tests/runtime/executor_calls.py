"""Functions that the executors of tests call: at the top of a module, as they have to be."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


class Pair:
    """A class of a user's own."""

    def __init__(self, left: Any, right: Any) -> None:
        self.left, self.right = left, right


class Unmakeable(Exception):
    """An error that can be pickled, but not made again."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first)
        self.second = second


class Odd(Exception):
    """An error that takes its attributes along."""

    def __init__(self, message: str, amount: int) -> None:
        super().__init__(message, amount)
        self.amount = amount


def pair(left: Any, right: Any) -> Pair:
    return Pair(left, right)


def pid(*_: Any) -> int:
    return os.getpid()


def surroundings() -> dict[str, Any]:
    umask = os.umask(0)
    os.umask(umask)
    return {"cwd": os.getcwd(), "umask": umask, "seen": os.environ.get("SEEN_BY_EXECUTORS"), "argv": sys.argv}


def tell_and_stay(bell: str, seconds: float = 60.0) -> None:
    """Say the process id into a FIFO, once it is certain that the call has begun, and stay."""
    Path(bell).write_text(f"{os.getpid()}\n")
    time.sleep(seconds)


def tell_with_child_and_stay(bell: str) -> None:
    """The same, with a child that ignores what can be ignored."""
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import signal, time\nsignal.signal(15, 1)\nsignal.signal(1, 1)\ntime.sleep(60)",
        ]
    )
    Path(bell).write_text(f"{os.getpid()} {child.pid}\n")
    time.sleep(60.0)


def tell_and_wait(bell: str, gate: str) -> int:
    """Say the process id into a FIFO, and wait until somebody says something into another."""
    Path(bell).write_text(f"{os.getpid()}\n")
    with open(gate) as said:
        said.readline()
    return os.getpid()


def leave_a_child() -> int:
    subprocess.Popen(["sleep", "60"])
    return os.getpid()


def keep_memory(mib: int) -> int:
    keep_memory.kept = b"x" * (mib << 20)  # type: ignore[attr-defined]
    return os.getpid()


def use_memory(mib: int) -> int:
    return len(b"x" * (mib << 20))


def crash() -> None:
    ctypes.string_at(0)


def kill_self(number: int) -> None:
    os.kill(os.getpid(), number)


def kill_keeper() -> None:
    os.kill(os.getppid(), 9)
    time.sleep(60)


def leave(how: str) -> None:
    if how == "_exit":
        os._exit(7)
    if how == "exit":
        sys.exit(7)
    raise KeyboardInterrupt


def raise_(error: BaseException) -> None:
    raise error


def raise_unmakeable() -> None:
    raise Unmakeable("one", "two")


def raise_odd(amount: int) -> None:
    raise Odd("too much", amount)


def unsendable() -> Any:
    return open(os.devnull)


def echo(value: Any) -> Any:
    return value


def double(data: bytearray) -> bytearray:
    return data + data


def add(left: int, /, right: int, *, more: int = 0) -> int:
    return left + right + more


def open_another() -> str:
    import asyncio

    from tidegate import ExecutorManager

    async def story() -> None:
        async with ExecutorManager():
            pass

    asyncio.run(story())
    return "opened"
