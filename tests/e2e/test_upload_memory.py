"""However large uploads are, and however many come at once, the server holds none of them in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.server import Running
from tidegate.core.resources import MIB
from tidegate.runtime.processes import MemoryOf, parse_memory

UPLOAD_BYTES = 96 * MIB
AT_ONCE = 4
MAY_GROW_BYTES = 40 * MIB
"""Each upload has a piece of 1 MiB, and what waits in the buffers of its connection."""
_PIECE = os.urandom(MIB)


def memory_of(server: Running) -> MemoryOf:
    assert server.process is not None
    return parse_memory(Path(f"/proc/{server.process.pid}/status").read_text())


def content() -> Iterator[bytes]:
    for _ in range(UPLOAD_BYTES // MIB):
        yield _PIECE


def put(server: Running, name: str) -> int:
    with server.client() as http:
        answer = http.put(f"/api/v1/files/{name}", params={"source": "false"}, content=content())
    assert answer.status_code == 201, answer.text
    return int(answer.json()["size_bytes"])


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_uploads_take_no_memory_however_large_they_are_and_however_many_come(own_server: Running):
    own_server.start()
    with own_server.client() as http:
        warm = http.put("/api/v1/files/warm.bin", params={"source": "false"}, content=_PIECE)
        assert warm.status_code == 201
    before = memory_of(own_server)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        sizes = list(threads.map(lambda n: put(own_server, f"{n}.bin"), range(AT_ONCE)))
    assert sizes == [UPLOAD_BYTES] * AT_ONCE
    assert memory_of(own_server).highest_bytes - before.highest_bytes < MAY_GROW_BYTES
