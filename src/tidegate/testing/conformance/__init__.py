"""Suites that every implementation of a port passes. They need pytest.

For a store, subclass `StoreConformance` in a test file and give it a fixture `store`::

    class TestMyStore(StoreConformance):
        @pytest.fixture
        def store(self):
            store = MyStore()
            yield store
            store.close()
"""
