from __future__ import annotations

import pytest

from tidegate.testing.conformance.store import StoreConformance
from tidegate.testing.memory_store import MemoryStore


class TestMemory(StoreConformance):
    @pytest.fixture
    def store(self):
        return MemoryStore()
