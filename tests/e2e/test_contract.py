"""The contract, held by a server with the worker inside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.e2e.contract import Contract
from tests.e2e.server import Running


class TestContract(Contract):
    @pytest.fixture(scope="class")
    @classmethod
    def running(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
        running = Running(
            tmp_path_factory.mktemp("contract"),
            enable_commands=1,
            function_modules='["tide_words"]',
            function_path=json.dumps([str(Path(__file__).with_name("modules"))]),
        )
        running.start()
        yield running
        running.stop()

    @pytest.fixture
    def http(self, running: Running) -> Iterator[httpx2.Client]:
        with running.client() as client:
            yield client

    @pytest.fixture
    def shared(self, running: Running) -> Path:
        return running.data_dir
