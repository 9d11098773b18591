"""The examples of docs/ingest.md, typed as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.pages import console, page, shell

ORDERS = "id,city,ordered\n1,Kiel,2026-01-31\n2,Bonn,2026-02-01\n3,Ulm,2026-02-01\n"


def test_the_commands_show_what_the_page_shows(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text(ORDERS)
    examples = console(page("ingest.md"))
    assert len(examples) == 3
    for command, shown in examples:
        done = shell(f"TIDEGATE_DATA_DIR={tmp_path}/data {command}", tmp_path)
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
