"""The ledger's cache inside one process."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from tidegate.core.job import AttemptKey
from tidegate.core.plan import Start
from tidegate.core.resources import Resources
from tidegate.ports import Held, Mark, Rooms, WorkerRoom

MOST_CHANGES = 5_000
"""Changes that are remembered, for a rebuild under way and for starts that are heard of after their end."""

_NOTHING = Resources()


class LocalLedgerCache:
    """Plain dictionaries behind a lock. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: dict[AttemptKey, Held] = {}
        self._sums: dict[str, Resources] = {}
        self._offered: dict[str, Resources] = {}
        self._changes: deque[tuple[int, AttemptKey, Held | None]] = deque()
        """Number, attempt, and what it holds since; None: released."""
        self._released: set[AttemptKey] = set()
        self._number = 0
        self._version = 0
        self._sure = False

    def started(self, starts: Sequence[Start]) -> None:
        with self._lock:
            for start in starts:
                if start.key not in self._live and start.key not in self._released:
                    held = Held(start.key, start.worker_id, start.resources)
                    self._add(held)
                    self._note(start.key, held)

    def released(self, keys: Sequence[AttemptKey]) -> None:
        with self._lock:
            for key in keys:
                if key not in self._released:
                    self._drop(key)
                    self._note(key, None)

    def doubt(self) -> None:
        with self._lock:
            self._sure = False

    def mark(self) -> Mark:
        with self._lock:
            return Mark("", self._number)

    def rebuild(self, held: Iterable[Held], offered: Mapping[str, Resources], mark: Mark) -> bool:
        with self._lock:
            if self._number - mark.number > MOST_CHANGES:
                return False
            self._live, self._sums = {}, {}
            for one in held:
                self._add(one)
            for number, key, change in self._changes:
                if number > mark.number:
                    self._drop(key) if change is None else self._add(change)
            self._offered = dict(offered)
            self._version += 1
            self._sure = True
            return True

    def rooms(self) -> Rooms | None:
        with self._lock:
            if not self._sure:
                return None
            rooms = {
                name: WorkerRoom(offered, self._sums.get(name, _NOTHING))
                for name, offered in self._offered.items()
            }
            return Rooms(self._version, rooms)

    def _add(self, held: Held) -> None:
        if held.key not in self._live:
            self._live[held.key] = held
            self._sums[held.worker_id] = self._sums.get(held.worker_id, _NOTHING) + held.resources

    def _drop(self, key: AttemptKey) -> None:
        held = self._live.pop(key, None)
        if held is not None:
            self._sums[held.worker_id] -= held.resources

    def _note(self, key: AttemptKey, held: Held | None) -> None:
        self._number += 1
        self._changes.append((self._number, key, held))
        if held is None:
            self._released.add(key)
        if len(self._changes) > MOST_CHANGES:
            _, oldest, change = self._changes.popleft()
            if change is None:
                self._released.discard(oldest)
