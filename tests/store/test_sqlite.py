from __future__ import annotations

import pytest

from tidegate.store import open_store
from tidegate.testing.conformance.store import StoreConformance


class TestSqlite(StoreConformance):
    @pytest.fixture
    def store(self, tmp_path):
        store = open_store(f"sqlite:///{tmp_path}/tidegate.db")
        yield store
        store.close()
