"""What an attempt has used and why it ended, as the keeper reports it."""

from __future__ import annotations

import resource
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tidegate.core.attempt import Exit
from tidegate.core.job import AttemptKey
from tidegate.runtime.limits.files import KeptFile
from tidegate.runtime.limits.group import GroupUsage
from tidegate.runtime.verdict import Facts, judge


class Spent(NamedTuple):
    """CPU seconds, and bytes from and to the disk."""

    cpu_s: float
    read_bytes: int
    written_bytes: int


class Meter:
    """CPU and input/output of all children that a keeper has reaped, from one attempt to the next.

    The kernel adds a child's counters to its parent's when it is reaped, so the keeper's own `io` file holds those of the
    whole tree, plus little of its own. Not added are children whose parent ignores SIGCHLD.
    """

    def __init__(self) -> None:
        self._io = KeptFile("/proc/self/io")
        self._before = self._now()

    def take(self) -> Spent:
        """What was spent since this was last asked."""
        now, before = self._now(), self._before
        self._before = now
        return Spent(
            now.cpu_s - before.cpu_s,
            now.read_bytes - before.read_bytes,
            now.written_bytes - before.written_bytes,
        )

    def _now(self) -> Spent:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = usage.ru_utime + usage.ru_stime
        try:
            words = self._io.read().split()
        except OSError:  # kernels without task accounting
            return Spent(cpu_s, 0, 0)
        return Spent(
            cpu_s, int(words[words.index("read_bytes:") + 1]), int(words[words.index("write_bytes:") + 1])
        )


def peak_memory(limit_bytes: int, sampled_bytes: int, own_bytes: int, usage: GroupUsage | None) -> int:
    """The highest of the samples and of what the child saw itself at its end, never above what the kernel charged.

    The child's own figure makes a short attempt's peak sensible; samples alone would miss it.
    """
    if usage is not None and usage.oom_kills and usage.limit_hit:
        return limit_bytes
    ceiling = usage.peak_with_cache_bytes if usage is not None else None
    own_bytes = max(own_bytes, 0)
    return max(sampled_bytes, own_bytes if ceiling is None else min(own_bytes, ceiling))


class Ended(NamedTuple):
    """What the keeper knows of an attempt whose tree it has ended."""

    key: AttemptKey
    facts: Facts
    usage: GroupUsage | None
    spent: Spent
    wall_s: float
    tree_gone: bool
    result: Mapping[str, Any] | None
    log_bytes: int
    over: bool = True
    unbegun: Sequence[AttemptKey] = ()
    told_cpu_s: float = 0.0
    """CPU seconds of the process that were told with the ends of those before it in its batch."""


def exit_fields(exit_: Exit) -> dict[str, Any]:
    """As it travels."""
    return {
        "reason": exit_.reason,
        "message": exit_.message,
        "limit": exit_.limit,
        "observed": exit_.observed,
        "enforced_by": exit_.enforced_by,
        "code": exit_.code,
    }


def end_message(ended: Ended) -> dict[str, Any]:
    """The report to the server."""
    usage, spent = ended.usage, ended.spent
    verdict = judge(ended.facts)
    own_cpu_s = usage.cpu_seconds if usage is not None else None
    cpu_s = max((spent.cpu_s if own_cpu_s is None else own_cpu_s) - ended.told_cpu_s, 0.0)
    return {
        "is": "end",
        "key": ended.key,
        "succeeded": verdict is None,
        "exit": None if verdict is None else exit_fields(verdict),
        "usage": {
            "peak_memory_bytes": ended.facts.peak_memory_bytes,
            "peak_memory_with_cache_bytes": usage.peak_with_cache_bytes if usage else None,
            "cpu_seconds": round(cpu_s, 6),
            "wall_seconds": round(ended.wall_s, 6),
            "read_bytes": spent.read_bytes,
            "written_bytes": spent.written_bytes,
        },
        "result": ended.result if verdict is None else None,
        "tree_gone": ended.tree_gone,
        "enforced_by": ended.facts.enforced_by,
        "log_bytes": ended.log_bytes,
        "over": ended.over,
        "unbegun": ended.unbegun,
    }
