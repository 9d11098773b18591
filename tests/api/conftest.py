from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.support import World, world_in


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A server of the test's own."""
    with world_in(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server for tests that change nothing which another one looks at."""
    with world_in(tmp_path_factory.mktemp("shared")) as made:
        yield made
