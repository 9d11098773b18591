from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workloads.tables.bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    one = Bench(tmp_path)
    yield one
    one.con.close()
