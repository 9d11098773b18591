"""What a submission of kind `lint` may ask for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tidegate.core.resources import GIB, MIB, Resources
from tidegate.errors import InvalidInput
from tidegate.ports import IntakeContext, KindRules, WorkOrder
from tidegate.workloads.lint.digest import Digests
from tidegate.workloads.lint.judge import MOST_CONTENT_BYTES, LintWorkload
from tidegate.workloads.lint.options import LintOptions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path.resolve()
    for name in ("data/files/ann", "data/files/ben", "outside", "root"):
        (place / name).mkdir(parents=True)
    for name in ("data/files/ann/x.zip", "data/files/ben/y.zip", "outside/z.zip", "root/r.zip"):
        (place / name).write_bytes(b"PK")
    return place


def order(folder: Path, *, own: str = "", kinds: KindRules = KindRules(), **fields: Any) -> WorkOrder:
    context = IntakeContext(
        owner="ann",
        data_dir=str(folder / "data"),
        sources_named=lambda names: [],
        largest=Resources(4000, 8 * GIB, 50 * GIB),
        source_roots=(str(folder / "root"),),
        own_folder=str(folder / "data" / own) if own else "",
        kinds=kinds,
    )
    return LintWorkload().order(fields, context)


def test_a_statement_is_one_task(folder: Path) -> None:
    made = order(folder, sql_content="SELECT 1\n", dialect="duckdb", file_name="q.sql")
    digest = Digests(LintOptions(dialect="duckdb")).of(b"SELECT 1\n")
    assert [(task.name, task.spec) for task in made.tasks] == [("q.sql", {"file": "q.sql", "digest": digest})]
    assert made.spec["submission_type"] == "SINGLE_FILE"
    assert made.spec["options"]["dialect"] == "duckdb"
    assert "readable_paths" not in made.spec


def test_answers_are_taken_from_earlier_jobs_unless_the_job_or_the_settings_say_otherwise(
    folder: Path,
) -> None:
    archive: dict[str, Any] = {"zip_file_path": "files/ann/x.zip"}
    statement: dict[str, Any] = {"sql_content": "SELECT 1\n"}
    none = KindRules(keeps_results=False)
    for kinds, asked, caches in (
        (KindRules(), None, True),
        (KindRules(), True, True),
        (KindRules(), False, False),
        (none, True, False),
    ):
        assert order(folder, kinds=kinds, cache=asked, **archive).spec["cache"] is caches
        (task,) = order(folder, kinds=kinds, cache=asked, **statement).tasks
        assert (task.digest is not None) is caches
    with pytest.raises(InvalidInput, match="`cache` must be true or false"):
        order(folder, cache="no", **statement)


def test_an_archive_and_a_folder_are_looked_into_by_a_task_of_their_own(folder: Path) -> None:
    for fields, kind, path in (
        ({"zip_file_path": "files/ann/x.zip"}, "ZIP_ARCHIVE", folder / "data/files/ann/x.zip"),
        ({"folder_path": str(folder / "root")}, "FOLDER", folder / "root"),
        ({"folder_path": "files/ann"}, "FOLDER", folder / "data/files/ann"),
    ):
        made = order(folder, **fields)  # type: ignore[arg-type]
        (task,) = made.tasks
        assert (made.spec["submission_type"], made.spec["readable_paths"]) == (kind, [str(path)])
        assert task.spec == {"unpack": str(path)}


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "exactly one"),
        ({"sql_content": "x", "zip_file_path": "files/ann/x.zip"}, "exactly one"),
        ({"sql_content": ""}, "text of an SQL file"),
        ({"sql_content": 5}, "text of an SQL file"),
        ({"sql_content": "\ud800"}, "surrogate"),
        ({"sql_content": "x" * (MOST_CONTENT_BYTES + 1)}, "at most 1 MiB"),
        ({"sql_content": "x", "file_name": "a\nb"}, "printable"),
        ({"zip_file_path": "files/ann/x.zip", "file_name": "a"}, "alone"),
        ({"zip_file_path": "files/none.zip"}, "names no file"),
        ({"zip_file_path": "../outside/z.zip"}, r"must not hold '\.\.'"),
        ({"zip_file_path": "files/*/*.zip"}, "name one archive"),
        ({"folder_path": "files/ann/x.zip"}, "names no folder"),
        ({"folder_path": "files/none"}, "names no folder"),
        ({"folder_path": "attempts"}, "outside"),
        ({"folder_path": "/etc"}, "outside"),
        ({"folder_path": ""}, "must be a path"),
        ({"sql_content": "x", "rules": [5]}, "rules"),
    ],
)
def test_what_makes_no_sense_is_refused(folder: Path, fields: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        order(folder, **fields)


def test_what_is_somebody_else_s_is_refused_also_through_a_link(folder: Path) -> None:
    (folder / "data/files/ann/link").symlink_to(folder / "data/files/ben")
    (folder / "root/out").symlink_to(folder / "outside")
    for fields in (
        {"zip_file_path": "files/ben/y.zip"},
        {"zip_file_path": "files/ann/link/y.zip"},
        {"folder_path": "files/ben"},
        {"folder_path": "files/ann/link"},
        {"zip_file_path": str(folder / "root/out/z.zip")},
        {"folder_path": str(folder / "root/out")},
    ):
        with pytest.raises(InvalidInput, match=r"outside|names no"):
            order(folder, own="files/ann", **fields)  # type: ignore[arg-type]
    assert order(folder, own="files/ann", zip_file_path="files/ann/x.zip").tasks
    assert order(folder, own="files/ann", zip_file_path="x.zip").tasks


def test_larger_files_ask_for_more_memory(folder: Path) -> None:
    usual = order(folder, sql_content="x").request.memory_bytes
    assert 256 * MIB <= usual <= 512 * MIB
    assert order(folder, sql_content="x", max_file_bytes=200_000).request.memory_bytes > 2 * GIB
    assert order(folder, sql_content="x", max_file_bytes=0).request.memory_bytes <= 8 * GIB


def test_without_a_linter_the_message_says_how_to_get_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sqlfluff", None)
    with pytest.raises(InvalidInput, match=r"pip install 'tidegate\[lint\]'"):
        order(folder, sql_content="SELECT 1")


def test_the_judge_loads_no_linter() -> None:
    code = "import sys, tidegate.workloads.lint.judge; sys.exit('sqlfluff' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
