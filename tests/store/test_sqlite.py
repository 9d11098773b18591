from __future__ import annotations

import pytest

from tidegate.errors import Unavailable
from tidegate.store import open_store
from tidegate.testing.conformance.store import StoreConformance
from tidegate.testing.conformance.world import World


class TestSqlite(StoreConformance):
    @pytest.fixture
    def store(self, tmp_path):
        store = open_store(f"sqlite:///{tmp_path}/tidegate.db")
        yield store
        store.close()

    def test_a_full_disk_is_told_and_leaves_nothing_half_done(self, store):
        world = World(store)
        world.submit()

        def limit(tx, pages: str):
            return tx.connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}").scalar()

        store._db.read(limit, "1")
        store._db.write(limit, "1")  # SQLite raises it to what is in use
        with pytest.raises(Unavailable, match="full"):
            world.submit(spec={"sql": "x" * 100_000})
        store._db.write(limit, "1000000")
        assert world.submit() == 2
        store.check()
