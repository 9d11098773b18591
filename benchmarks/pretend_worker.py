"""A worker of a cluster with everything but the work: `python -m benchmarks.pretend_worker --name NAME --begun FILE`.

Celery, claims, reports and beats are real; its sandboxes run nothing and say at once that it went well. It offers room for
everything, and adds a line `JOB TASK ATTEMPT` to the file for each attempt that a sandbox would have begun.
"""

from __future__ import annotations

import argparse
import functools
import selectors
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidegate.app import worker
from tidegate.core.attempt import Usage
from tidegate.core.job import AttemptKey
from tidegate.core.resources import GIB, Resources
from tidegate.ports import Reading
from tidegate.runtime.sandbox import Rungs, SandboxEnd, SandboxEvent, SandboxOrder
from tidegate.settings import load_settings

ROOM = Resources(cpu_milli=1_000_000, memory_bytes=100_000 * GIB, disk_bytes=100_000 * GIB)


class PretendedSandboxes:
    """What a worker asks of its sandboxes, without processes."""

    def __init__(self, begun: Path, **_: object) -> None:
        self._begun = begun.open("ab", buffering=0)
        self.selector = selectors.DefaultSelector()
        self.rungs = Rungs("pretended", (), "none")
        self.warnings: list[str] = []
        self._ended: list[SandboxEvent] = []

    def sweep_leftovers(self) -> None: ...

    def open(self) -> None: ...

    def close(self, grace_s: float) -> None:
        self._begun.close()

    def processes(self) -> list[int]:
        return []

    def cancel(self, key: AttemptKey, *_: Any) -> None: ...

    def start(self, order: SandboxOrder) -> None:
        self._begun.write(b"%d %d %d\n" % order.key)
        self._ended.append(SandboxEnd(order.key, True, None, Usage(), {}, True, "pretended", 0))

    def poll(self, timeout_s: float | None) -> list[SandboxEvent]:
        self.selector.select(0.0 if self._ended else timeout_s)
        ended, self._ended = self._ended, []
        return ended


class RoomyProbe:
    """A machine with room for everything."""

    def __init__(self, *_: object) -> None: ...

    def capacity(self) -> Resources:
        return ROOM

    def origins(self) -> Mapping[str, Reading]:
        return {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--begun", required=True, type=Path)
    given = parser.parse_args()
    worker.Sandboxes = functools.partial(PretendedSandboxes, given.begun)  # type: ignore[assignment,misc]
    worker.MachineProbe = RoomyProbe  # type: ignore[assignment,misc]
    raise SystemExit(worker.work(load_settings(), given.name, announce=lambda name: print(name, flush=True)))


if __name__ == "__main__":
    main()
