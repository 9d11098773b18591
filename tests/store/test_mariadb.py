"""The store on a real MariaDB."""

import pytest

from tidegate.store import open_store
from tidegate.testing.conformance.store import StoreConformance


class TestMariadb(StoreConformance):
    @pytest.fixture
    def store(self, empty_mariadb):
        store = open_store(empty_mariadb())
        yield store
        store.close()
