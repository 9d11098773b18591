"""Functions that the tests have called by jobs."""

from __future__ import annotations

import os
import sys
import time
from os import system
from typing import Any

import tidegate

print("imported")  # must not get anywhere


@tidegate.function(cpus=0.5, memory="128MiB", timeout_s=30)
def add(a: int, b: int = 1) -> int:
    """The sum."""
    return a + b


@tidegate.function
def echo(value: Any) -> Any:
    return value


@tidegate.function(max_attempts=2)
def fail_once() -> str:
    job = tidegate.current()
    job.log(f"try {job.attempt} of {job.key}")
    if job.attempt == 1:
        raise LookupError("not yet")
    return "at last"


@tidegate.function
def fail(text: str) -> None:
    raise ValueError(text)


@tidegate.function(name="of_length")
def long_text(length: int) -> str:
    return "x" * length


@tidegate.function
def leave(name: str) -> int:
    job = tidegate.current()
    path = job.output_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("left")
    return len(os.listdir(job.staging))


@tidegate.function
async def asynchronous() -> str:
    tidegate.current().progress(0.5)
    return "awaited"


@tidegate.function
def talk() -> None:
    print("printed", end="")
    sys.stdout.flush()
    print("\udcff complained", file=sys.stderr)


@tidegate.function
def environment() -> dict[str, str]:
    return dict(os.environ)


@tidegate.function
def take(mib: int) -> str:
    """Needs so much memory."""
    block = bytearray(mib * 2**20)
    for place in range(0, len(block), 4096):
        block[place] = 1
    time.sleep(0.3)  # long enough for whoever only looks from time to time
    return f"took {len(block)}"


@tidegate.function(memory="96MiB")
def eat() -> None:
    blocks = []
    while True:
        blocks.append(bytearray(2**20))
        time.sleep(0.003)


@tidegate.function
def unsendable() -> object:
    return {"deep": [object()]}


@tidegate.function
def forge(path: str) -> None:
    """Write a result of its own into the pipe that belongs to the sandbox."""
    os.write(
        3,
        b'{"result": {"path": "%s", "file_count": 1, "source": "x"}, "peak_memory_bytes": 1}\n'
        % path.encode(),
    )
    os._exit(0)


def hidden() -> int:
    return system("true")
