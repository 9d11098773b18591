"""One warm process for all tests of runners."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workloads.lab import Forker, Lab


@pytest.fixture(scope="session")
def forker() -> Iterator[Forker]:
    forker = Forker()
    yield forker
    forker.close()


@pytest.fixture
def lab(forker: Forker, tmp_path: Path) -> Lab:
    return Lab(forker, tmp_path)
