"""Pressure stall information: for how long work waited for memory, CPU or disk, as the kernel counts it."""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.runtime.ancestry import Groups, number_of, text_of
from tidegate.runtime.limits.paths import UNIFIED


class StallSensor:
    """The stalls of the group that bounds the memory of this container, else those of the machine.

    Nothing where the kernel has no PSI, or was started with it off.
    """

    def __init__(self, groups: Groups) -> None:
        self._groups = groups

    def read(self) -> Mapping[str, float]:
        memory, cpu, io = (self._stalls(name) for name in ("memory", "cpu", "io"))
        found = {
            "memory_stall_some_percent": memory.get(("some", "avg10")),
            "memory_stall_full_percent": memory.get(("full", "avg10")),
            "memory_stall_full_minute_percent": memory.get(("full", "avg60")),
            "cpu_stall_all_percent": cpu.get(("some", "avg10")),
            "io_stall_percent": io.get(("full", "avg10")),
        }
        return {name: value for name, value in found.items() if value is not None}

    def _stalls(self, resource: str) -> Mapping[tuple[str, str], float]:
        for level in self._groups.of(UNIFIED):
            if number_of(f"{level.folder}/memory.max") is None:
                continue
            found = parse_stalls(text_of(f"{level.folder}/{resource}.pressure"))
            if found:
                return found
        return parse_stalls(text_of(f"{self._groups.base}/proc/pressure/{resource}"))


def parse_stalls(text: str | None) -> dict[tuple[str, str], float]:
    """`some` or `full` and `avg10`, `avg60` or `avg300`, to a percentage; empty for what is no such file."""
    found: dict[tuple[str, str], float] = {}
    for line in (text or "").splitlines():
        kind, *pairs = line.split()
        for name, _, value in (pair.partition("=") for pair in pairs):
            if name.startswith("avg"):
                try:
                    found[kind, name] = float(value)
                except ValueError:
                    return {}
    return found
