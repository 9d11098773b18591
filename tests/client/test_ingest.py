"""Loading files by both faces."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import tidegate
from tidegate.errors import InvalidInput

ROWS = "n,city\n1,Kiel\n2,Ulm\n"


@pytest.fixture
def file(client: tidegate.Client, request: pytest.FixtureRequest) -> Path:
    """A file that the server may read, of another name for each test."""
    known = client.sources.get("cities").path
    assert known is not None
    made = Path(known).with_name(f"{request.node.name[:40]}.csv")
    made.write_text(ROWS)
    return made


def test_a_file_is_shown_and_loaded(client: tidegate.Client, file: Path) -> None:
    shown = client.preview_file(file, rows=1)
    assert [column["name"] for column in shown["columns"]] == ["n", "city"]
    assert shown["rows"] == [[1, "Kiel"]]
    job = client.ingest(file, table="loaded").wait()
    assert [task["result"]["inserted"] for task in job.tasks()] == [2]
    assert client.query("select count(*) as n from loaded").dicts() == [{"n": 2}]
    assert client.ingest([file], table="loaded", again=True, types={"n": "text"}).wait().status == "SUCCEEDED"


async def _loaded_by_the_other_face(url: str, file: Path) -> None:
    async with tidegate.connect_async(url) as client:
        assert (await client.preview_file(file))["input"] == file.name
        job = await client.ingest(file, table="loaded_async")
        await job.wait()
        assert (await client.query("select count(*) as n from loaded_async")).dicts() == [{"n": 2}]


def test_a_file_is_loaded_by_the_other_face(client: tidegate.Client, file: Path) -> None:
    asyncio.run(_loaded_by_the_other_face(client.url, file))


def test_what_cannot_be_loaded_is_an_error_with_its_reason(client: tidegate.Client, file: Path) -> None:
    with pytest.raises(InvalidInput, match="names no file"):
        client.ingest(file.with_name("nothing.csv"), table="t")
    with pytest.raises(InvalidInput, match="for databases"):
        client.ingest(file, table="t", mode="upsert", keys=["n"])
