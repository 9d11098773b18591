"""`tidegate lint` as a user has it, with a server of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.ingesting import House
from tests.e2e.test_lint import archive
from tests.environment import others_environment

BAD, GOOD, MENDED = "SELECT  a from t\n", "SELECT 1\n", "SELECT a FROM t\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "sql"
    (made / "deep").mkdir(parents=True)
    (made / ".sqlfluff").write_text("[sqlfluff]\ndialect = duckdb\n")
    (made / "bad.sql").write_text(BAD)
    (made / "deep" / "good.sql").write_text(GOOD)
    return made


def lint(
    folder: Path, house: House, *arguments: str, stdin: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    kept = others_environment()
    return subprocess.run(
        [sys.executable, "-m", "tidegate", "lint", *arguments],
        cwd=folder,
        env={**kept, "TIDEGATE_URL": house.server.url, **environment},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_exit_codes_and_the_report_for_people(folder: Path, house: House) -> None:
    done = lint(folder, house, ".")
    assert (done.returncode, done.stdout) == (
        1,
        "bad.sql:1:7: LT01 Expected only single space before naked identifier. Found '  '. (layout.spacing)\n"
        "bad.sql:1:11: CP01 Keywords must be consistently upper case. (capitalisation.keywords)\n",
    )
    assert "2 files: 2 linted; 2 violations" in done.stderr
    assert (lint(folder, house, "deep").returncode, lint(folder, house, "deep").stdout) == (0, "")
    assert lint(folder, house, "bad.sql", "--exclude-rules", "LT01,CP01").returncode == 0
    assert lint(folder, house, "bad.sql", "--rules", "LT02").returncode == 0


def test_what_cannot_be_done_is_exit_code_2(folder: Path, house: House) -> None:
    for arguments, why in (
        (("nowhere",), "neither a file nor a folder"),
        ((".", "--dialect", "klingon"), "klingon"),
        (("bad.sql", "--rules", "LT99"), "no rule 'LT99'"),
        (("bad.sql", "--format", "pdf"), "pdf"),
        ((".", "--templater", "python"), "templater"),
    ):
        done = lint(folder, house, *arguments)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert why in done.stderr
    (folder / "deep" / "empty").mkdir()
    assert lint(folder, house, "deep/empty").returncode == 2
    assert lint(folder, house, ".", TIDEGATE_URL="http://127.0.0.1:9").returncode == 2


def test_mended_is_not_clean_where_not_all_that_was_found_is_known(folder: Path, house: House) -> None:
    path = folder / "deep" / "good.sql"
    path.write_text("SELECT  1;\n" * 1700 + "SELECT * FROM t\n")  # of the last one no rule knows how
    done = lint(folder, house, "deep", "--fix", "--rules", "LT01,AM04", "--max-file-bytes", "0")
    assert "more violations were left out" in done.stdout
    assert done.returncode == 1, done.stderr
    assert path.read_text().startswith("SELECT 1;\n")


def test_a_file_without_a_full_verdict_is_not_clean(folder: Path, house: House) -> None:
    (folder / "deep" / "big.sql").write_text(GOOD * 3000)
    done = lint(folder, house, "deep")
    assert done.returncode == 1
    assert "deep/big.sql: too_large: It has 27000 bytes" in done.stdout


def test_each_format_is_written_to_standard_output(folder: Path, house: House) -> None:
    assert json.loads(lint(folder, house, ".", "--format", "sarif").stdout)["version"] == "2.1.0"
    files = json.loads(lint(folder, house, ".", "--format", "json").stdout)["files"]
    assert {file["file"] for file in files} == {"bad.sql", "deep/good.sql"}
    github = lint(folder, house, "bad.sql", "--format", "github")
    assert github.returncode == 1
    assert github.stdout.startswith("::error file=bad.sql,line=1,col=7,")
    assert lint(folder, house, "bad.sql", "--format", "junit").stdout.startswith("<?xml")
    assert lint(folder, house, "bad.sql", "--format", "csv").stdout.count("\n") == 3


def test_files_are_mended_in_place_and_keep_their_mode(folder: Path, house: House) -> None:
    (folder / "bad.sql").chmod(0o640)
    latin = folder / "latin.sql"
    latin.write_bytes("SELECT  'é'\n".encode("latin-1"))
    done = lint(folder, house, ".", "--fix")
    assert (folder / "bad.sql").read_text() == MENDED
    assert (folder / "bad.sql").stat().st_mode & 0o777 == 0o640
    assert latin.read_bytes() == "SELECT  'é'\n".encode("latin-1")  # another encoding: told, not mended
    assert done.returncode == 1
    latin.unlink()
    assert "bad.sql: mended" in done.stderr
    assert lint(folder, house, ".").returncode == 0


def test_without_a_server_one_is_started_and_nothing_of_the_archive_stays(
    folder: Path, house: House, tmp_path: Path
) -> None:
    own = {"TIDEGATE_URL": "", "TIDEGATE_DATA_DIR": str(tmp_path / "data"), "TIDEGATE_YIELD_CPU": "off"}
    done = lint(folder, house, ".", **own)
    assert done.returncode == 1, done.stderr
    assert "bad.sql:1:7: LT01" in done.stdout
    assert not [path for path in (tmp_path / "data" / "files").rglob("*") if path.is_file()]


def test_the_names_of_an_archive_cannot_command_a_terminal(house: House) -> None:
    content = archive({"a\x1b[31m.sql": GOOD})
    house.http.put("/api/v1/files/escape.zip", params={"source": "false"}, content=content)
    answer = house.http.post("/api/v1/jobs", json={"zip_file_path": "files/escape.zip"})
    job = house.http.get(f"/api/v1/jobs/{answer.json()['job_id']}?wait_s=30").json()
    assert "a\ufffd[31m.sql" in house.tasks(job)


def test_json_can_be_asked_for_as_of_other_commands(folder: Path, house: House) -> None:
    done = lint(folder, house, "deep", "--json")
    assert (done.returncode, [file["file"] for file in json.loads(done.stdout)["files"]]) == (
        0,
        ["deep/good.sql"],
    )


def test_standard_input_is_linted_as_the_file_that_it_is_said_to_be(folder: Path, house: House) -> None:
    done = lint(folder, house, "-", stdin=BAD)
    assert (done.returncode, done.stdout.count("\n")) == (1, 2)
    assert done.stdout.startswith("stdin.sql:1:7: LT01 ")
    only_in_duckdb = "SELECT * EXCLUDE (a) FROM t\n"
    here = lint(folder, house, "-", "--rules", "LT01", stdin=only_in_duckdb)
    assert (here.returncode, here.stdout) == (0, "")  # the .sqlfluff file of this folder says duckdb
    (folder / "deep" / ".sqlfluff").write_text("[sqlfluff]\ndialect = ansi\n")
    done = lint(
        folder, house, "-", "--rules", "LT01", "--stdin-filename", "deep/new.sql", stdin=only_in_duckdb
    )
    assert (done.returncode, done.stdout[:14]) == (1, "deep/new.sql:1")
    files = json.loads(lint(folder, house, "-", "--format", "json", stdin=BAD).stdout)["files"]
    assert [file["file"] for file in files] == ["stdin.sql"]
    assert lint(folder, house, "-", stdin="").returncode == 0


def test_standard_input_is_mended_onto_standard_output(folder: Path, house: House) -> None:
    done = lint(folder, house, "-", "--fix", stdin=BAD)
    assert (done.returncode, done.stdout) == (0, MENDED)
    assert "stdin.sql:1:7: LT01" in done.stderr
    assert lint(folder, house, "-", "--fix", stdin=GOOD).stdout == GOOD
    done = lint(folder, house, "-", "--fix", "--rules", "AM04", stdin="SELECT * FROM t\n")
    assert (done.returncode, done.stdout) == (1, "SELECT * FROM t\n")


def test_an_archive_is_linted_with_what_is_in_it(folder: Path, house: House) -> None:
    (folder / "some.zip").write_bytes(
        archive({"in/bad.sql": BAD, "in/.sqlfluff": "[sqlfluff]\nrules = LT01\n"})
    )
    done = lint(folder, house, "some.zip")
    assert (done.returncode, done.stdout.count("\n"), done.stdout[:20]) == (1, 1, "in/bad.sql:1:7: LT01")
    for arguments, why in (
        (("some.zip", "bad.sql"), "by itself"),
        (("some.zip", "--fix"), "unpack it first"),
    ):
        done = lint(folder, house, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert why in done.stderr


def test_standard_input_stands_alone(folder: Path, house: House) -> None:
    for arguments, why in (
        (("-", "bad.sql"), "stands alone"),
        (("bad.sql", "--stdin-filename", "x.sql"), "standard input"),
        (("-", "--fix", "--json"), "mended text"),
    ):
        done = lint(folder, house, *arguments, stdin=BAD)
        assert (done.returncode, done.stdout) == (2, "")
        assert why in done.stderr


def test_a_file_that_cannot_be_written_is_told_and_the_others_are_mended(folder: Path, house: House) -> None:
    locked = folder / "locked"
    locked.mkdir()
    (locked / f"{'x' * 250}.sql").write_text(BAD)  # the name of its new text would be too long
    done = lint(folder, house, ".", "--fix")
    assert done.returncode == 1
    assert "not mended: File name too long" in done.stderr
    assert "bad.sql: mended" in done.stderr
    assert (folder / "bad.sql").read_text() == MENDED


def test_a_reader_that_goes_is_told_by_the_exit_code_alone(folder: Path, house: House) -> None:
    command = f"{sys.executable} -m tidegate lint . | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "TIDEGATE_URL": house.server.url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 141
    assert "Error" not in done.stderr
