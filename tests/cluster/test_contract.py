"""The contract, held by a cluster of two servers and two workers; asked of one of the servers."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest

from tests.e2e.contract import Contract
from tidegate.testing.cluster import Cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.xdist_group("cluster")]


class TestContract(Contract):
    has_shared_path = True

    @pytest.fixture
    def http(self, servers: list[httpx2.Client]) -> httpx2.Client:
        return servers[0]

    @pytest.fixture
    def shared(self, cluster: Cluster) -> Path:
        return cluster.shared
