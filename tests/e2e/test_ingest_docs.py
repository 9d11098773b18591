"""The examples of docs/ingest.md, typed as they stand there."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import psycopg
import pytest
import xlsxwriter

from tests.e2e.ingesting import House
from tests.pages import console, page, shell
from tidegate.testing.servers import PostgreSQL

ORDERS = "id,city,ordered\n1,Kiel,2026-01-31\n2,Bonn,2026-02-01\n3,Ulm,2026-02-01\n"


def test_the_commands_show_what_the_page_shows(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text(ORDERS)
    examples = console(page("ingest.md"))
    assert len(examples) == 3
    for command, shown in examples:
        done = shell(f"export TIDEGATE_DATA_DIR={tmp_path}/data; {command}", tmp_path)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        assert done.stdout == shown, command


def test_the_program_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "orders.csv").write_text(ORDERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIDEGATE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("TIDEGATE_YIELD_CPU", "off")
    (program,) = re.findall(r"```python\n(.*?)```", page("ingest.md"), re.DOTALL)
    exec(program, {})
    assert capsys.readouterr().out.split("\n")[0] == "3"


def test_the_body_of_a_request_loads_what_it_names(tmp_path: Path, postgresql: PostgreSQL) -> None:
    (text,) = re.findall(r"```json\n(.*?)```", page("ingest.md"), re.DOTALL)
    folder = tmp_path.resolve() / "in"
    folder.mkdir()
    with postgresql.database() as url:
        plain = url.replace("+psycopg", "")
        house = House(tmp_path.resolve(), targets=json.dumps({"warehouse": plain}))
        try:
            house.http.put("/api/v1/files/orders.xlsx", content=_workbook()).raise_for_status()
            (folder / "2026-01.csv").write_text(ORDERS)
            body = json.loads(text.replace("/srv/in", str(folder)))
            job = house.ingest(*body.pop("files"), **{k: v for k, v in body.items() if k != "kind"})
            assert job["job_status"] == "SUCCEEDED", job["exit"]
        finally:
            house.close()
        with psycopg.connect(plain) as database:
            for table in ("orders", '"2026-01"'):
                assert database.execute(f"select count(*) from {table}").fetchone() == (3,)


def _workbook() -> bytes:
    """The orders as Excel has them."""
    kept = io.BytesIO()
    with xlsxwriter.Workbook(kept) as book:
        sheet = book.add_worksheet()
        for number, line in enumerate(ORDERS.splitlines()):
            sheet.write_row(number, 0, line.split(","))
    return kept.getvalue()
