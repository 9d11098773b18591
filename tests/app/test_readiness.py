"""What keeps a server from being ready: a database that does not answer, parts that are broken, a disk that is full."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tidegate.app.readiness import check_readiness
from tidegate.core.resources import GIB
from tidegate.errors import Unavailable
from tidegate.ports import Store
from tidegate.server.kept import PartHealth
from tidegate.server.supervisor import Supervisor
from tidegate.testing.fakes import FakeClock, RecordingBell
from tidegate.testing.memory_store import MemoryStore

WELL = {"store": None, "parts": None, "worker": None, "disk": None}


class AwayStore(MemoryStore):
    """Its database does not answer."""

    def queues(self):
        raise Unavailable("The database does not answer.")


class Site:
    """A server without a worker, of which the parts can be broken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store: Store = MemoryStore()
        self.supervisor = Supervisor(MemoryStore(), RecordingBell(), FakeClock(), "here")

    def look(self) -> Mapping[str, str | None]:
        return check_readiness(self.store, self.supervisor, None, self.folder)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how many bytes are free on every disk, of a GiB."""

    def set_free(free: int) -> None:
        usage = shutil.disk_usage("/")
        told = type(usage)(total=GIB, used=GIB - free, free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: told)

    return set_free


def test_a_server_in_which_nothing_is_wrong_is_ready(site, disk):
    disk(GIB // 50 + 1)
    assert site.look() == WELL


def test_a_disk_with_less_than_a_fiftieth_free_is_told_with_its_folder(site, disk):
    disk(GIB // 50 - 1)
    assert site.look() == WELL | {"disk": f"Only {GIB // 50 - 1} bytes are free in {site.folder}."}


def test_a_database_that_does_not_answer_is_told_and_the_others_are_looked_at(site, disk):
    disk(0)
    site.store = AwayStore()
    told = site.look()
    assert told["store"] == "Unavailable: The database does not answer."
    assert told["disk"] is not None


def test_a_part_that_is_broken_is_told(site, disk):
    disk(GIB)
    site.supervisor.watch("worker", lambda: PartHealth("worker", False))
    assert site.look() == WELL | {"parts": site.supervisor.fault()}
    assert "worker" in str(site.supervisor.fault())
