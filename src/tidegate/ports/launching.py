"""Ways from the server to its workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tidegate.core.job import AttemptKey
from tidegate.core.plan import Start


class Launcher(Protocol):
    """Brings committed starts to their workers."""

    def launch(self, starts: Sequence[Start]) -> None:
        """Hand over; returns at once. What gets lost on the way is found by lease and sent again."""
        ...

    def cancel(self, keys: Sequence[AttemptKey]) -> None:
        """End these attempts wherever they are in their life; returns at once."""
        ...


class WorkerControl(Protocol):
    """Speaks to workers: to that in this process, or to those on other machines."""

    def stop(self, worker_id: str) -> None:
        """Tell a worker to drain and end; returns at once. Raises Unavailable when nobody can be told."""
        ...

    def restart_pool(self, worker_id: str) -> None:
        """Tell a worker to start its processes anew and to register again, once nothing runs there. Raises Unavailable."""
        ...

    def reset_stats(self, worker_id: str) -> None:
        """Tell a worker to count from 0 again. Raises Unavailable."""
        ...

    def stats(self, worker_id: str) -> Mapping[str, Any] | None:
        """How a worker does right now; None when that is only known from its beats."""
        ...

    def fault(self) -> str | None:
        """Why workers cannot be told anything at the moment; None when they can."""
        ...
