from __future__ import annotations

from collections.abc import Iterator

import pytest

import tidegate
from tests.client.live import live_client


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tidegate.Client]:
    with live_client(tmp_path_factory.mktemp("data")) as made:
        yield made
