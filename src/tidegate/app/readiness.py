"""Whether a server can work: what its check of readiness looks at."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from tidegate.ports import Store
from tidegate.runtime.worker import Worker
from tidegate.server.supervisor import Supervisor

LEAST_FREE_DISK_SHARE = 0.02


def check_readiness(
    store: Store, supervisor: Supervisor, worker: Worker | None, root: Path
) -> Mapping[str, str | None]:
    """Every check with None or what is wrong; `root` is the data directory. Blocks as long as the database does."""
    dead = worker is not None and not worker.alive
    return {
        "store": _fault(store.queues),
        "parts": supervisor.fault(),
        "worker": "The worker has ended; restart the server." if dead else None,
        "disk": _disk_fault(root),
    }


def _disk_fault(folder: Path) -> str | None:
    disk = shutil.disk_usage(folder)
    full = disk.free < LEAST_FREE_DISK_SHARE * disk.total
    return f"Only {disk.free} bytes are free in {folder}." if full else None


def _fault(look: Callable[[], object]) -> str | None:
    try:
        look()
    except Exception as error:  # noqa: BLE001 - whatever is wrong is the answer
        return f"{type(error).__name__}: {error}"
    return None
