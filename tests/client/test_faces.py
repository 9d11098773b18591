"""Both faces against a real server."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from datetime import date
from decimal import Decimal

import pytest

import tidegate
from tests.client.live import SLOW_SQL
from tidegate.errors import InvalidInput

EXACT = "select i, date '2024-01-31' + i::int as d, (i / 4)::decimal(9,2) as x, 'ü\u2028' as t from range(3) r(i) order by i"


def test_a_query_becomes_typed_rows(client):
    job = client.sql(EXACT, result_name="typed_rows", priority="high")
    assert job.status == "ACCEPTED"
    result = job.wait(30).result()
    assert result.rows()[1] == {"i": 1, "d": date(2024, 2, 1), "x": Decimal("0.25"), "t": "ü\u2028"}
    assert result.tuples()[2] == (2, date(2024, 2, 2), Decimal("0.50"), "ü\u2028")
    assert result.preview(1).dicts() == result.rows()[:1]
    assert [column.name for column in result.columns] == ["i", "d", "x", "t"]
    assert (result.row_count, result.source) == (3, "typed_rows")
    assert result.path is not None
    assert result.path.read_bytes()[:4] == b"PAR1"
    assert job.usage["peak_memory_bytes"] > 0
    assert job.priority == "high"


def test_a_result_is_a_source_at_once(client):
    client.sql("select 5 as n", result_name="fives").wait(30)
    assert client.query("select n + 1 as m from fives")[0] == (6,)
    source = client.sources.get("fives")
    assert (source.format, source.row_count) == ("parquet", 1)
    client.sources.delete("fives")
    with pytest.raises(tidegate.NotFound, match="fives"):
        client.sources.get("fives")


def test_queries_say_when_a_limit_cut_them(client):
    rows = client.query("select * from range(100) r(i)", limit=3)
    assert (rows.dicts(), rows.truncated, rows.reached) == ([{"i": 0}, {"i": 1}, {"i": 2}], True, "rows")


def test_a_failed_job_raises_with_its_exit(client):
    job = client.sql("select nope from cities")
    with pytest.raises(tidegate.JobFailed, match="nope") as caught:
        job.wait(30)
    assert caught.value.exit["code"] == "unknown_column"
    assert job.wait(30, raise_on_failure=False).status == "FAILED"
    with pytest.raises(tidegate.JobFailed):
        job.result()
    assert "nope" in str(job.explain())


def test_errors_of_the_server_come_as_their_kind(client):
    with pytest.raises(tidegate.NotFound):
        client.job("999999")
    with pytest.raises(tidegate.NeverFits) as caught:
        client.sql("select 1", memory="900TiB")
    assert caught.value.numbers["asked"] == 900 * 2**40
    with pytest.raises(tidegate.InvalidInput, match="priority"):
        client.sql("select 1", priority="urgent")


def test_the_same_key_makes_one_job(client):
    first, again = (client.sql("select 1", idempotency_key="once") for _ in range(2))
    assert first.id == again.id
    with pytest.raises(tidegate.Conflict):
        client.sql("select 2", idempotency_key="once")


def test_many_jobs_are_accepted_or_refused_by_themselves(client):
    good, bad = client.submit_many([{"kind": "sql", "sql": "select 1"}, {"kind": "nonsense"}])
    assert good.wait(30).status == "SUCCEEDED"
    assert isinstance(bad, InvalidInput)


def test_a_running_job_is_waited_for_followed_and_cancelled(client):
    job = client.sql(SLOW_SQL)
    with pytest.raises(TimeoutError, match="has not ended"):
        job.wait(0)
    seen = []
    for event in job.events():
        seen.append(event.type)
        if event.type == "started":
            job.cancel()
    assert seen[0] == "accepted"
    assert seen[-1] == "cancelled"
    assert job.status == "CANCELLED"
    assert [event.type for event in job.events(after=event.id)] == []


def test_a_job_that_waits_says_why(client):
    client.queues.pause("default")
    try:
        job = client.sql("select 1")
        job.refresh(0.2)
        why = job.explain()
        assert why.code == "queue_paused"
        assert why.position == 1
    finally:
        client.queues.resume("default")
    assert job.wait(30).status == "SUCCEEDED"


def test_jobs_are_listed_over_pages(client):
    made = [client.sql(f"select {n}").id for n in range(5)]
    listed = [job.id for job in client.jobs(page_size=2)]
    assert listed[:5] == made[::-1]


def test_a_file_is_uploaded_looked_into_and_downloaded(client, tmp_path):
    file = tmp_path / "letters.csv"
    file.write_text("letter,number\n" + "".join(f"{chr(97 + n)},{n}\n" for n in range(26)))
    source = client.sources.upload(file, "letters")
    assert [column.name for column in source.columns] == ["letter", "number"]
    assert client.sources.preview("letters", 1, offset=2).dicts() == [{"letter": "c", "number": 2}]
    copy = client.sources.download("letters", tmp_path / "copy.parquet")
    assert copy.read_bytes()[:4] == b"PAR1"
    assert "letters" in [known.name for known in client.sources.list()]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.parquet", "letters.csv"]


def test_a_file_that_is_not_there_cannot_be_uploaded(client, tmp_path):
    with pytest.raises(InvalidInput, match="No such file"):
        client.sources.upload(tmp_path / "none.csv")
    with pytest.raises(InvalidInput, match="format"):
        client.sources.download("cities", tmp_path / "none")


def test_queues_are_set(client):
    assert client.queues.set("default", max_concurrent=2).max_concurrent == 2
    assert client.queues.get("default").max_concurrent == 2
    assert client.queues.set("default", max_concurrent=3).max_concurrent == 3
    assert "default" in [queue.name for queue in client.queues.list()]


def test_arrow_names_the_extra_that_brings_it(client, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = client.sql("select 1 as one").result()
    with pytest.raises(ImportError, match=r"tidegate\[arrow\]"):
        result.arrow()
    with pytest.raises(ImportError, match=r"tidegate\[arrow\]"):
        result.df()


def test_a_second_client_finds_the_server_of_the_data_directory(client, monkeypatch):
    monkeypatch.delenv("TIDEGATE_URL", raising=False)
    data_dir = client.sources.get("cities").path.rpartition("/")[0]
    with tidegate.connect(data_dir=data_dir) as second:
        assert (second.url, second.started_server) == (client.url, False)
    with pytest.raises(InvalidInput, match="memory"):
        tidegate.connect(data_dir=data_dir, memory="1GiB")


def test_an_address_where_nobody_answers_is_unreachable():
    with (
        tidegate.connect("http://127.0.0.1:9") as nobody,
        pytest.raises(tidegate.ServerUnreachable, match=r"127\.0\.0\.1:9"),
    ):
        nobody.job("1")


def test_a_server_that_cannot_start_says_why(tmp_path):
    with pytest.raises(tidegate.ServerUnreachable, match="did not start"):
        tidegate.connect(data_dir=tmp_path, max_concurrent=-1)


def test_a_started_server_ends_with_its_parent(tmp_path):
    code = (
        "import os, tidegate; c = tidegate.connect(data_dir=os.environ['PLACE']); "
        "print(c._server.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PLACE": str(tmp_path)}, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        pid = int(child.stdout.readline())
        descriptor = os.pidfd_open(pid)
    try:
        ended = subprocess.run(["tail", f"--pid={pid}", "-f", "/dev/null"], timeout=30, check=False)
        assert ended.returncode == 0
    finally:
        os.close(descriptor)
    assert not (tmp_path / "server.json").exists()


def test_the_async_face_does_the_same(client, tmp_path):
    async def use() -> None:
        async with tidegate.connect_async(client.url) as server:
            job = await server.sql(EXACT)
            result = await (await job.wait(30)).result()
            rows = await result.rows()
            assert rows[1]["d"] == date(2024, 2, 1)
            assert await result.tuples() == [tuple(row.values()) for row in rows]
            assert (await result.preview(1)).dicts() == rows[:1]
            assert (await result.download(tmp_path / "rows.csv")).read_text().startswith("i,d,x,t")
            assert [event.type async for event in job.events()][-1] == "succeeded"
            assert (await server.query("select 7 as n"))[0] == (7,)
            assert job.id in [known.id async for known in server.jobs(page_size=5)]
            assert str(await job.explain()) == f"Job {job.id} succeeded."

            file = tmp_path / "few.csv"
            file.write_text("a,b\n1,2\n")
            assert (await server.sources.upload(file)).row_count in (None, 1)
            assert "few" in [source.name async for source in server.sources.list()]
            assert (await server.sources.preview("few")).dicts() == [{"a": 1, "b": 2}]
            await server.sources.delete("few")

            slow = await server.sql(SLOW_SQL)
            with pytest.raises(TimeoutError):
                await slow.wait(0)
            await slow.cancel()
            with pytest.raises(tidegate.JobFailed):
                await slow.wait(30)
            good, bad = await server.submit_many([{"kind": "sql", "sql": "select 1"}, {"kind": "nonsense"}])
            assert isinstance(good, tidegate.AsyncJob)
            assert isinstance(bad, InvalidInput)
            assert [queue.name async for queue in server.queues.list()]
            with pytest.raises(tidegate.NotFound):
                await server.job("999999")

    asyncio.run(use())


def test_an_async_client_that_was_not_entered_says_so():
    with pytest.raises(RuntimeError, match="async with"):
        asyncio.run(tidegate.connect_async("http://127.0.0.1:9").query("select 1"))
