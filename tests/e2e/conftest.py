"""A real server in a process of its own, for tests that go the whole way."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.e2e.ingesting import House
from tests.e2e.server import Running


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("data"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Running]:
    """A server for one test that kills, fills or configures it; not started yet."""
    running = Running(tmp_path / "data")
    yield running
    running.stop()


@pytest.fixture
def http(server: Running) -> Iterator[httpx2.Client]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="session")
def commanding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server on which commands are turned on."""
    running = Running(tmp_path_factory.mktemp("commands"), enable_commands=1)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server that may load the files of one folder, into its SQLite files."""
    made = House(tmp_path_factory.mktemp("ingest").resolve())
    yield made
    made.close()
