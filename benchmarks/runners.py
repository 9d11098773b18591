"""Runners for sandboxes, loaded by the zygote: two that take too much memory, and one that does honest work."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from tidegate.ports import TaskContext

_MIB = 1024 * 1024
_STEP = 16 * _MIB


def bomb(context: TaskContext) -> Mapping[str, Any]:
    """Take the memory of the spec's `take_bytes`, page by page, and keep it."""
    _take(int(context.spec["take_bytes"]))
    return {"took": context.spec["take_bytes"]}


def bomb_in_children(context: TaskContext) -> Mapping[str, Any]:
    """The same in four children at once, one of them in a session of its own; none alone would be so far above the limit."""
    children = [_child(int(context.spec["take_bytes"]) // 4, detached=number == 0) for number in range(4)]
    for pid in children:
        os.waitpid(pid, 0)
    return {"took": context.spec["take_bytes"]}


def work(context: TaskContext) -> Mapping[str, Any]:
    """Compute for the spec's `seconds` in 32 MiB."""
    kept = bytearray(os.urandom(4096)) * (32 * _MIB // 4096)
    until = time.monotonic() + float(context.spec["seconds"])
    rounds = 0
    while time.monotonic() < until:
        rounds += sum(kept[:4096]) > 0
    return {"rounds": rounds}


def _child(take_bytes: int, *, detached: bool) -> int:
    pid = os.fork()
    if pid == 0:
        if detached:
            os.setsid()
        _take(take_bytes)
        time.sleep(60)
        os._exit(0)
    return pid


def _take(take_bytes: int) -> None:
    kept: list[bytearray] = []
    while len(kept) * _STEP < take_bytes:
        kept.append(bytearray(os.urandom(4096)) * (_STEP // 4096))
