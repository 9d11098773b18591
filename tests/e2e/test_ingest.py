"""Files into data sources and databases, the whole way: HTTP in, sandbox, rows in tables."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess

from tests.e2e.ingesting import House
from tests.ui.test_commands import run


def test_a_file_becomes_a_source_and_the_same_file_comes_once(house: House) -> None:
    file = house.file("cities.csv", "city,people\nKiel,247\nBonn,330\n")
    job = house.ingest(file, table="cities")
    assert (job["job_status"], job["result"]["inserted"], job["result"]["unchanged"]) == (
        "SUCCEEDED",
        2,
        False,
    )
    assert house.rows("from cities order by people") == [["Kiel", 247], ["Bonn", 330]]

    again = house.ingest(file, table="cities")["result"]
    assert (again["inserted"], again["unchanged"]) == (0, True)
    assert house.rows("select count(*) from cities") == [[2]]

    assert house.ingest(file, table="cities", again=True)["result"]["inserted"] == 2
    assert house.rows("select count(*) from cities") == [[4]]
    assert house.ingest(file, table="cities", mode="replace")["result"]["inserted"] == 2
    source = house.http.get("/api/v1/sources/cities").json()
    assert (source["row_count"], source["file_count"], source["managed"]) == (2, 1, True)


def test_files_with_other_columns_and_types_meet_in_one_source(house: House) -> None:
    house.file("meet_1.csv", "a,b\n1,2026-01-31\n")
    house.file("meet_2.csv", "b,A,c\nlater,2.5,x\n")
    job = house.ingest(str(house.folder / "meet_*.csv"), table="meet")
    assert job["result"] == {**job["result"], "loads": 2, "inserted": 2, "tables": ["meet"]}
    assert house.rows("select a, b, c from meet order by a") == [
        [1.0, "2026-01-31", None],
        [2.5, "later", "x"],
    ]
    for kind in ("parquet", "csv"):
        assert house.http.get("/api/v1/sources/meet/download", params={"format": kind}).status_code == 200
    assert house.http.delete("/api/v1/sources/meet").status_code == 204
    parts = house.folder / "data" / "results" / "parts"
    assert not [part for part in parts.iterdir() if part.name.startswith(f"rows-{job['job_id']}.")]


def test_a_file_becomes_a_table_of_sqlite_and_can_be_updated_by_its_key(house: House) -> None:
    into = f"sqlite:///{house.folder}/shop.db"
    house.ingest(house.file("stock.csv", "sku,left\na,1\nb,2\n"), into=into, table="stock", keys=["sku"])
    job = house.ingest(
        house.file("more.csv", "sku,left\nb,5\nc,7\n"), into=into, table="stock", keys=["sku"], mode="upsert"
    )
    assert (job["result"]["inserted"], job["result"]["updated"]) == (1, 1), job
    with sqlite3.connect(house.folder / "shop.db") as db:
        assert db.execute("select * from stock order by sku").fetchall() == [("a", 1), ("b", 5), ("c", 7)]


def test_twenty_files_at_once_each_get_their_table(house: House) -> None:
    for number in range(20):
        house.file(f"many_{number:02}.csv", "n,m\n" + "".join(f"{i},{i * number}\n" for i in range(500)))
    job = house.ingest(
        str(house.folder / "many_*.csv"), into=f"sqlite:///{house.folder}/many.db", table="{file}"
    )
    assert (job["job_status"], job["result"]["loads"], job["result"]["inserted"]) == ("SUCCEEDED", 20, 10_000)
    with sqlite3.connect(house.folder / "many.db") as db:
        assert db.execute("select sum(m) from many_19").fetchone() == (19 * 499 * 250,)


def test_a_file_is_shown_before_it_is_loaded(house: House) -> None:
    file = house.file("look.csv", "When,How much\n2026-01-31,5\n2026-02-01,7\n")
    shown = house.http.post("/api/v1/ingest/preview", json={"file": file, "rows": 1}).json()
    assert [(column["name"], column["type"]) for column in shown["columns"]] == [
        ("When", "DATE"),
        ("How much", "BIGINT"),
    ]
    assert shown["rows"] == [["2026-01-31", 5]]
    assert shown["estimate"]["memory_bytes"] > 0
    assert house.http.get("/api/v1/sources/look").status_code == 404
    bad = house.http.post("/api/v1/ingest/preview", json={"file": house.file("none.csv", "")})
    assert (bad.status_code, bad.json()["code"]) == (422, "empty_file")


def test_what_excel_cannot_hold_is_refused_with_the_limit(house: House) -> None:
    house.ingest(house.file("long.csv", "t\n" + "x" * 32_768 + "\n"), table="long_text")
    answer = house.http.get("/api/v1/sources/long_text/download", params={"format": "xlsx"})
    assert (answer.status_code, answer.json()["code"], answer.json()["numbers"]["limit"]) == (
        422,
        "xlsx_limit",
        32_767,
    )


def test_urls_and_their_secrets_are_not_shown(house: House) -> None:
    file = house.file("secret.csv", "a\n1\n")
    job = house.ingest(file, into="postgresql://ann:hunter2@127.0.0.1:9/db", table="t")
    assert job["job_status"] == "FAILED"
    for path in ("", "/tasks", "/logs", "/result"):
        assert "hunter2" not in house.http.get(f"/api/v1/jobs/{job['job_id']}{path}").text
    events = house.http.get(f"/api/v1/jobs/{job['job_id']}/events", headers={"Accept": "application/json"})
    assert "hunter2" not in events.text
    assert job["into"] == "postgresql://127.0.0.1:9/db"


def test_columns_that_the_table_does_not_have_are_added_when_told(house: House) -> None:
    target = f"sqlite:///{house.folder / 'grows.db'}"
    first, second = house.file("a.csv", "a\n1\n"), house.file("b.csv", "a,b\n2,x\n")

    def load(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run("ingest", *arguments, "--into", target, "--table", "t", url=house.server.url)

    assert load(first).returncode == 0
    refused = load(second)
    assert refused.returncode == 1
    assert "add_columns" in refused.stderr
    assert load(second, "--add-columns").returncode == 0
    with contextlib.closing(sqlite3.connect(house.folder / "grows.db")) as database:
        assert database.execute("SELECT a, b FROM t ORDER BY a").fetchall() == [(1, None), (2, "x")]
