"""Files into PostgreSQL and MariaDB by named targets, the whole way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pymysql
import pytest

from tests.e2e.ingesting import House
from tidegate.testing.servers import MariaDB, PostgreSQL


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_named_target_takes_files(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    database: PostgreSQL | MariaDB = request.getfixturevalue(kind)
    with database.database() as url:
        plain = url.replace("+psycopg", "").replace("+pymysql", "")
        house = House(tmp_path.resolve(), targets=json.dumps({"warehouse": plain}), ingest_urls="nobody")
        try:
            file = house.file("orders.csv", "id,city\n1,Kiel\n2,Łódź\n")
            job = house.ingest(file, into="warehouse", table="orders", keys=["id"])
            assert job["job_status"] == "SUCCEEDED", job["exit"]
            assert (
                house.ingest(file, into="warehouse", table="orders", keys=["id"])["result"]["unchanged"]
                is True
            )
            update = house.file("update.csv", "id,city\n2,Ulm\n3,Bonn\n")
            done = house.ingest(update, into="warehouse", table="orders", keys=["id"], mode="upsert")[
                "result"
            ]
            assert (done["inserted"], done["updated"]) == (1, 1)
            refused = house.http.post(
                "/api/v1/jobs", json={"kind": "ingest", "files": [file], "into": plain, "table": "t"}
            )
            assert refused.json()["code"] == "urls_off"
        finally:
            house.close()
        assert _orders(url) == [(1, "Kiel"), (2, "Ulm"), (3, "Bonn")]


def _orders(url: str) -> list[tuple[Any, ...]]:
    if url.startswith("postgresql"):
        with psycopg.connect(url.replace("+psycopg", "")) as db:
            return db.execute("select id, city from orders order by id").fetchall()
    parts = httpx2.URL(url.replace("+pymysql", ""))
    with (
        pymysql.connect(
            host=parts.host,
            port=parts.port or 3306,
            user=parts.username,
            password=parts.password,
            database=parts.path[1:],
        ) as mysql,
        mysql.cursor() as cursor,
    ):
        cursor.execute("select id, city from orders order by id")
        return list(cursor.fetchall())
