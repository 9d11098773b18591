"""A lab for each database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workloads.targets.support import Lab

KINDS = ["sqlite", "postgresql", "mysql"]
_SERVERS = {"postgresql": "postgresql", "mysql": "mariadb"}


@pytest.fixture(
    params=[pytest.param(kind, marks=[pytest.mark.servers] if kind in _SERVERS else []) for kind in KINDS]
)
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    if request.param == "sqlite":
        yield Lab(f"sqlite:///{tmp_path / 'target.db'}", tmp_path)
        return
    with request.getfixturevalue(_SERVERS[request.param]).database() as url:
        yield Lab(url, tmp_path)
