"""Servers that tests of several rooms share: started when first asked for, once for each test process."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tidegate.testing.servers import MariaDB, PostgreSQL, RabbitMQ, Redis

settings.register_profile("busy", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
"""How long making an input takes says how busy the machine is, not whether the test is good."""

os.environ.setdefault("TIDEGATE_PRESSURE", "watch")
"""Tests share a machine with each other and fill it: what one of them starts must not wait for the others. Those about
pressure turn it on, and say themselves what is felt."""

_SERVERS = {"postgresql", "mariadb", "redis", "rabbitmq"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _SERVERS.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.servers)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    with PostgreSQL() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    with MariaDB() as server:
        yield server


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQ]:
    with RabbitMQ() as server:
        yield server
