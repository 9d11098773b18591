"""The store on a real PostgreSQL."""

import pytest

from tidegate.store import open_store
from tidegate.testing.conformance.store import StoreConformance


class TestPostgresql(StoreConformance):
    @pytest.fixture
    def store(self, empty_postgresql):
        store = open_store(empty_postgresql())
        yield store
        store.close()
