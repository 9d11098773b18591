"""What the watch of the pressure writes down, and in which order."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from tidegate.app.pressure import GIVES_BACK_EVERY_S, MOST_KEPT, PressureWatch
from tidegate.core.identity import AuditEntry
from tidegate.core.pressure import Change, Level
from tidegate.runtime import heap
from tidegate.settings import Settings
from tidegate.testing.fakes import FakeClock
from tidegate.testing.memory_store import MemoryStore


class BusyStore(MemoryStore):
    """While it writes its first entry, so many more changes come that the oldest have to go."""

    watch: PressureWatch
    written: list[str]

    def add_audit(self, entries: Iterable[AuditEntry]) -> None:
        first = not self.written
        self.written += [entry.object for entry in entries]
        if first:
            for number in range(MOST_KEPT):
                self.watch._add("level", f"later {number}", "warn", {})


def test_nothing_is_left_out_but_what_there_was_no_room_for(tmp_path: Path) -> None:
    store = BusyStore()
    store.written = []
    watch = PressureWatch(
        Settings(data_dir=tmp_path), tmp_path, store, FakeClock(), "server:here", sensors=[]
    )
    store.watch = watch
    watch._note(Change(Level.NORMAL, Level.WARN, 0.0, {}))
    watch._write()
    assert store.written == ["server:here", *(f"later {number}" for number in range(MOST_KEPT))]


def test_memory_is_given_back_once_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, given_s = FakeClock(), list[float]()
    monkeypatch.setattr(heap, "give_back", lambda: given_s.append(clock.monotonic()))
    watch = PressureWatch(
        Settings(data_dir=tmp_path), tmp_path, MemoryStore(), clock, "server:here", sensors=[]
    )
    began_s = clock.monotonic()
    for _ in range(300):
        clock.advance(0.5)
        watch._write()
    assert [at_s - began_s for at_s in given_s] == [GIVES_BACK_EVERY_S, 2 * GIVES_BACK_EVERY_S]
