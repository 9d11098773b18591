from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.api.support import Played, World, assert_problem, fails_with, logged, service_in, world_in
from tidegate.api.files import INCOMING, Placement, Received, file_name, receive
from tidegate.api.problems import Refusal
from tidegate.api.sources import _place, _SourceOf
from tidegate.core.attempt import Assignment, Exit
from tidegate.core.identity import Caller, Role
from tidegate.core.names import source_name_of
from tidegate.core.source import Source
from tidegate.core.states import ExitReason
from tidegate.errors import Conflict, InvalidInput
from tidegate.server.service import Service

BROKEN = Exit(ExitReason.ERROR, "This is no CSV.", code="corrupt_file")


def left_over(world: World) -> list[Path]:
    folder = world.data_dir / "files" / INCOMING
    return list(folder.iterdir()) if folder.exists() else []


def files(world: World) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (world.data_dir / "files").iterdir() if p.is_file()}


def test_an_upload_is_on_disk_with_its_digest_and_a_source(world: World):
    content = os.urandom(3_500_000)
    answer = world.http.put("/api/v1/files/2026 trips.csv", content=content)
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert Path(body["path"]).read_bytes() == content
    assert (body["name"], body["size_bytes"]) == ("2026 trips.csv", len(content))
    assert body["sha256"] == hashlib.sha256(content).hexdigest()
    assert (body["source"]["name"], body["source"]["managed"]) == ("_2026_trips", True)
    assert world.http.get("/api/v1/sources/_2026_trips").json() == body["source"]
    assert left_over(world) == []


def test_an_upload_may_come_in_chunks_of_any_size_and_without_a_source(world: World):
    def chunks() -> Iterator[bytes]:
        yield from (b"x" * size for size in (1, 70_000, 2_000_000, 1))

    answer = world.http.put("/api/v1/files/x.bin", params={"source": "false"}, content=chunks())
    assert answer.status_code == 201, answer.text
    assert (answer.json()["size_bytes"], answer.json()["source"]) == (2_070_002, None)
    assert world.http.get("/api/v1/sources").json()["items"] == []


def test_a_source_name_can_be_given_and_an_empty_file_is_a_file(world: World):
    named = world.http.put("/api/v1/files/a.csv", params={"source_name": "mine"}, content=b"a\n1\n")
    assert named.json()["source"]["name"] == "mine"
    empty = world.http.put("/api/v1/files/empty", params={"source": "false"}, content=b"")
    assert empty.json()["size_bytes"] == 0


def test_an_existing_file_stays_unless_overwriting_is_asked_for(world: World):
    assert world.http.put("/api/v1/files/a.csv", content=b"old").status_code == 201
    assert_problem(world.http.put("/api/v1/files/a.csv", content=b"new"), 409, "file_exists")
    assert files(world) == {"a.csv": b"old"}
    again = world.http.put("/api/v1/files/a.csv", params={"overwrite": "true"}, content=b"new")
    assert again.status_code == 201, again.text
    assert files(world) == {"a.csv": b"new"}
    assert left_over(world) == []


def test_a_taken_source_name_is_refused_before_the_body(world: World):
    world.http.put("/api/v1/files/a.csv", content=b"old")
    assert_problem(
        world.http.put("/api/v1/files/b.csv", params={"source_name": "A"}, content=b"b"), 409, "source_exists"
    )
    assert set(files(world)) == {"a.csv"}


def test_a_source_name_that_sql_cannot_use_is_refused_before_the_body(world: World):
    for query in ("source_name=", "source_name=select", "source_name=a b"):
        answer = world.http.put(f"/api/v1/files/b.csv?{query}", content=b"b")
        assert_problem(answer, 422, "invalid_input")
    assert not (world.data_dir / "files" / "b.csv").exists()


def test_a_file_that_is_no_data_is_taken_back(world: World):
    world.play(fails_with(BROKEN))
    assert_problem(world.http.put("/api/v1/files/a.csv", content=b"\0\0"), 422, "corrupt_file")
    assert files(world) == {}
    assert left_over(world) == []


def test_a_failed_overwrite_brings_back_the_old_file_and_its_source(world: World):
    before = world.http.put("/api/v1/files/a.csv", content=b"old").json()["source"]
    world.play(fails_with(BROKEN))
    answer = world.http.put("/api/v1/files/a.csv", params={"overwrite": "true"}, content=b"\0")
    assert_problem(answer, 422, "corrupt_file")
    assert files(world) == {"a.csv": b"old"}
    assert world.http.get("/api/v1/sources/a").json() == before
    assert left_over(world) == []


def test_an_overwrite_cancelled_midway_keeps_the_old_file_and_its_source(tmp_path: Path):
    looking, go_on = threading.Event(), threading.Event()
    with service_in(tmp_path) as (service, plays):
        first = asyncio.run(_put(service, tmp_path, b"old", None))
        as_before = plays[-1]

        def slowly(assignment: Assignment) -> Played:
            looking.set()
            assert go_on.wait(10)
            return as_before(assignment)

        plays[:] = [slowly]

        async def cancelled_while_it_looks() -> None:
            upload = asyncio.ensure_future(_put(service, tmp_path, b"new", first))
            assert await asyncio.to_thread(looking.wait, 10)
            upload.cancel()
            go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await upload

        asyncio.run(cancelled_while_it_looks())
        assert service.store.source("a", "ann") == first
    assert (tmp_path / "files" / ".owners" / "ann" / "a.csv").read_bytes() == b"old"
    assert list((tmp_path / "files" / INCOMING).iterdir()) == []


async def _put(service: Service, data_dir: Path, content: bytes, old: Source | None) -> Source:
    async def stream() -> AsyncIterator[bytes]:
        yield content

    folder = data_dir / "files"
    ann = Caller("ann", Role.ADMIN, service.clock.now())
    wanted = _SourceOf(ann, "a", False, old)
    received = await receive(service, stream(), folder, declared_bytes=None, limit_bytes=0)
    made = await _place(
        service, wanted, received, folder / ".owners" / "ann" / "a.csv", overwrite=old is not None
    )
    assert made is not None
    return made


def test_a_source_that_changed_while_its_file_was_sent_is_not_overwritten(tmp_path: Path):
    with service_in(tmp_path) as (service, _):
        first = asyncio.run(_put(service, tmp_path, b"old", None))
        asyncio.run(_put(service, tmp_path, b"newer", first))
        with pytest.raises(Conflict, match="changed or deleted"):
            asyncio.run(_put(service, tmp_path, b"late", first))
    assert (tmp_path / "files" / ".owners" / "ann" / "a.csv").read_bytes() == b"newer"


def test_a_file_that_is_put_after_it_was_withdrawn_is_not_there(tmp_path: Path):
    part, target = tmp_path / "part", tmp_path / "a.csv"
    part.write_bytes(b"new")
    placement = Placement(Received(part, 3, ""), target)
    placement.take_back()
    placement.put(overwrite=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    ["..", ".", ".hidden", "a/b", "../a", "a\\b", "a\0b", "a\nb", "a ", " a", "a.", "nul", "COM1.csv", "x" * 201,
     "ä" * 101, "a\u202eb", "\ufffd", ""],
)  # fmt: skip
def test_a_name_that_is_not_safe_is_refused(name: str):
    with pytest.raises(InvalidInput) as refused:
        file_name(name)
    assert refused.value.numbers["field"] == "name"


@pytest.mark.parametrize("path", ["..%2Fa.csv", "a%2Fb.csv", "%00.csv", "%2e%2e%2f%2e%2e%2fetc", "sub/a.csv"])
def test_an_unsafe_path_is_refused_and_writes_nothing(world: World, path: str):
    assert_problem(world.http.put(f"/api/v1/files/{path}", content=b"x"), 422, "invalid_input")
    assert not (world.data_dir / "files").exists() or files(world) == {}


def test_names_may_be_in_any_script_and_are_composed():
    assert file_name("re\u0301sume\u0301 東京.csv") == "résumé 東京.csv"


@pytest.mark.parametrize(
    ("file", "name"),
    [("a.csv.gz", "a"), ("2026-01.csv", "_2026_01"), ("東京.csv", "__"), ("x" * 80, "x" * 62)],
)
def test_a_source_is_called_like_its_file(file: str, name: str):
    assert source_name_of(file) == name


def test_an_upload_beyond_the_limit_is_too_large_whether_declared_or_streamed(tmp_path: Path):
    with world_in(tmp_path, max_upload="1MiB") as small:
        big = b"x" * ((1 << 20) + 1)
        problem = assert_problem(small.http.put("/api/v1/files/a.csv", content=big), 413, "too_large")
        assert (problem["asked"], problem["limit"]) == (len(big), 1 << 20)
        streamed = small.http.put("/api/v1/files/a.csv", content=iter([big]))
        assert_problem(streamed, 413, "too_large")
        assert left_over(small) == []


def test_an_upload_larger_than_the_disk_is_refused_before_its_body(world: World):
    with socket.create_connection(world.url.removeprefix("http://").split(":")) as client:  # type: ignore[arg-type]
        client.sendall(
            b"PUT /api/v1/files/a.csv HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999999999\r\n\r\n"
        )
        assert client.recv(4096).startswith(b"HTTP/1.1 507 ")
    assert left_over(world) == []


def test_a_disk_that_fills_up_is_a_problem_with_numbers_and_leaves_nothing(tmp_path: Path):
    async def fills_up() -> AsyncIterator[bytes]:
        yield b"x" * 2_000_000
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with service_in(tmp_path) as (service, _), pytest.raises(Refusal) as refused:
        asyncio.run(receive(service, fills_up(), tmp_path / "files", declared_bytes=None, limit_bytes=0))
    assert (refused.value.code, refused.value.status) == ("disk_full", 507)
    assert float(refused.value.numbers["limit"]) > 0
    assert list((tmp_path / "files" / INCOMING).iterdir()) == []


def test_a_client_that_leaves_in_the_middle_leaves_nothing(world: World, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.DEBUG, "tidegate.access"):
        with socket.create_connection(world.url.removeprefix("http://").split(":")) as client:  # type: ignore[arg-type]
            client.sendall(
                b"PUT /api/v1/files/a.csv HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\n"
            )
            client.sendall(b"x" * 3_000_000)
        logged(world, caplog, '"path": "/api/v1/files/a.csv"')
    assert left_over(world) == []
    assert files(world) == {}
