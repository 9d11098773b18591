"""What one attempt of a lint job answers, and which tasks it adds."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tidegate.core.job import AttemptKey, TaskOrder
from tidegate.core.lint import FileReport, Summary
from tidegate.core.resources import GIB, MIB, Resources
from tidegate.ports import TaskContext
from tidegate.workloads.errors import TaskError
from tidegate.workloads.lint import run as lint_run
from tidegate.workloads.lint.archive import Limits
from tidegate.workloads.lint.collect import collect
from tidegate.workloads.lint.digest import Digests
from tidegate.workloads.lint.options import LintOptions

USUAL = LintOptions()


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.added: list[TaskOrder] = []

    def run(self, spec: dict[str, Any], options: LintOptions = USUAL, **more: Any) -> Any:
        staging = self.folder / "staging"
        staging.mkdir(exist_ok=True)
        context = TaskContext(
            key=AttemptKey(1, 1, 1),
            spec={"options": options.to_json(), **spec},
            resources=Resources(1000, 512 * MIB, GIB),
            timeout_s=60.0,
            staging=str(staging),
            progress=lambda share: None,
            log=lambda line: None,
            add_task=self.added.append,
            **more,
        )
        return lint_run.run(context)

    def reports(self, path: Path, kind: str, options: LintOptions = USUAL) -> dict[str, Any]:
        """Of all files, by their names, as the tasks of the job would tell."""
        left = self.run({"unpack": str(path), "submission_type": kind}, options)["folder"]
        folder = str(self.folder / "staging" / left)
        return {
            task.name: (task.result or self.run(dict(task.spec), options, input_folder=folder))["lint"]
            for task in self.added
        }


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def tree(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_a_statement_is_linted(bench: Bench) -> None:
    ran = bench.run({"file": "q.sql", "sql_content": "SELECT  1\n"})
    assert ran["lint"]["verdict"] == "linted"
    assert [one["rule"] for one in ran["lint"]["violations"]] == ["LT01"]
    assert ran["engine"].startswith("4.")


FILES = {
    ".sqlfluff": "[sqlfluff]\ndialect = postgres\nexclude_rules = LT01\n",
    "a.sql": "SELECT  1::int\n",
    "deep/.sqlfluff": "[sqlfluff]\ndialect = duckdb\n",
    "deep/b.SQL": "SELECT  1\n",
    "bad/.sqlfluff": "[sqlfluff]\ndialect = klingon\n",
    "bad/c.ddl": "SELECT 1\n",
    "long/.sqlfluff": "# " + "x" * 70_000,
    "long/d.pkb": "SELECT 1\n",
    "readme.txt": "not SQL",
    "__MACOSX/._a.sql": "\0",
}


@pytest.mark.parametrize("kind", ["FOLDER", "ZIP_ARCHIVE"])
def test_the_settings_on_the_way_to_a_file_hold_and_bad_ones_hurt_their_own_folder_alone(
    bench: Bench, tmp_path: Path, kind: str
) -> None:
    path = tree(tmp_path / "in", FILES)
    if kind == "ZIP_ARCHIVE":
        with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
            for name in sorted(FILES, reverse=True):
                archive.write(path / name, name)
        path = tmp_path / "in.zip"
    reports = bench.reports(path, kind)
    assert {name: (one["verdict"], len(one["violations"])) for name, one in reports.items()} == {
        "a.sql": ("linted", 0),
        "deep/b.SQL": ("linted", 0),
        "bad/c.ddl": ("skipped", 0),
        "long/d.pkb": ("skipped", 0),
    }
    assert "klingon" in reports["bad/c.ddl"]["reason"]
    assert "70002 bytes" in reports["long/d.pkb"]["reason"]


def test_an_answer_may_be_kept_if_it_is_the_same_next_time_and_its_digest_is_our_own(bench: Bench) -> None:
    def keep(text: str, digest: str | None = None, options: LintOptions = USUAL) -> bool:
        given = Digests(options).of(text.encode()) if digest is None else digest
        spec = {"file": "q.sql", "sql_content": text, "digest": given}
        kept = bench.run(spec, options)["keep"]
        assert isinstance(kept, bool)
        return kept

    assert keep("SELECT  1\n")
    assert keep("SELECT (1 + ;\n")  # cannot be parsed
    assert keep("SELECT '\0'\n")
    assert keep("SELECT 1\n" * 3000)
    many = "SELECT a FROM b;\n" * 500
    assert not keep(many, options=LintOptions(file_timeout_s=0.001))
    assert not keep("SELECT 1\n", Digests(USUAL).of(b"SELECT 2\n"))  # as one of other versions would be
    assert bench.run({"file": "q.sql", "sql_content": "SELECT 1\n"})["keep"] is False


def test_files_of_an_archive_are_named_by_the_digest_that_linting_them_comes_to(
    bench: Bench, tmp_path: Path
) -> None:
    path = tree(tmp_path / "in", {**FILES, "copy.sql": FILES["a.sql"]})
    spec = {"unpack": str(path), "submission_type": "FOLDER", "cache": True}
    folder = str(bench.folder / "staging" / bench.run(spec)["folder"])
    orders = {order.name: order for order in bench.added}
    assert {name for name, order in orders.items() if order.result is not None} == {"long/d.pkb"}
    assert orders["a.sql"].digest == orders["copy.sql"].digest != orders["deep/b.SQL"].digest
    for order in bench.added:
        if order.result is None:
            assert bench.run(dict(order.spec), input_folder=folder)["keep"]


def test_options_that_make_no_sense_are_told_once(bench: Bench, tmp_path: Path) -> None:
    path = tree(tmp_path / "in", {"a.sql": "SELECT 1\n"})
    with pytest.raises(TaskError, match="no rule 'LT99'"):
        bench.reports(path, "FOLDER", LintOptions(rules=("LT99",)))
    assert bench.added == []


def test_nothing_to_lint_is_no_clean_job(bench: Bench, tmp_path: Path) -> None:
    path = tree(tmp_path / "in", {"readme.txt": "x", ".sqlfluff": ""})
    with pytest.raises(TaskError, match="no SQL file"):
        bench.reports(path, "FOLDER")


def test_links_and_pipes_of_a_folder_are_not_followed(bench: Bench, tmp_path: Path) -> None:
    path = tree(tmp_path / "in", {"a.sql": "SELECT 1\n", "inner/b.sql": "SELECT 1\n"})
    secret = tree(tmp_path / "secret", {"s.sql": "SELECT 'secret'\n"})
    (path / "link.sql").symlink_to(secret / "s.sql")
    (path / "folder").symlink_to(secret)
    os.mkfifo(path / "pipe.sql")
    (path / "locked.sql").symlink_to(path / "gone")
    verdicts = {name: one["verdict"] for name, one in bench.reports(path, "FOLDER").items()}
    assert verdicts == {
        "a.sql": "linted",
        "inner/b.sql": "linted",
        "link.sql": "unreadable",
        "locked.sql": "unreadable",
        "pipe.sql": "unreadable",
    }


def test_a_folder_is_read_within_its_limits(tmp_path: Path) -> None:
    path = tree(tmp_path / "in", {f"{n}.sql": "x" * 100 * n for n in range(1, 6)})

    def read(**limits: int) -> list[Any]:
        with (tmp_path / "out").open("wb+") as into:
            return list(collect(path, into, lambda name: True, Limits(**limits)))

    assert [(one.size_bytes, one.problem) for one in read(member_bytes=250)] == [
        (100, None), (200, None), (0, "too_large"), (0, "too_large"), (0, "too_large"),
    ]  # fmt: skip
    assert (tmp_path / "out").stat().st_size == 300
    for limits, code in (
        ({"entries": 4}, "folder_too_many_entries"),
        ({"total_bytes": 500}, "folder_too_large"),
    ):
        with pytest.raises(TaskError) as refused:
            read(**limits)
        assert refused.value.code == code


def test_a_report_is_cut_where_there_is_no_room_and_says_so(bench: Bench) -> None:
    ran = bench.run({"file": "q.sql", "sql_content": "SELECT  1;\n" * 1700}, LintOptions(rules=("LT01",)))[
        "lint"
    ]
    assert ran["cut"] == 1700 - len(ran["violations"]) > 0
    assert any(f"{ran['cut']} more violations were left out" in note for note in ran["notes"])
    assert ran["clean"] is False


@pytest.mark.parametrize(("last", "clean"), [("from t", False), ("FROM t", True)])
def test_an_error_that_warnings_left_no_room_for_is_not_clean(bench: Bench, last: str, clean: bool) -> None:
    columns = ",\n".join(f"  a{number}" for number in range(2500))
    options = LintOptions(rules=("LT02", "CP01"), config="[sqlfluff]\nwarnings = LT02\n", max_file_bytes=0)
    ran = bench.run({"file": "q.sql", "sql_content": f"SELECT\n{columns}\n{last}\n"}, options)["lint"]
    assert ran["cut"] > 0
    assert {one["severity"] for one in ran["violations"]} == {"warning"}
    report = FileReport.from_json(ran)
    assert (ran["clean"], report.clean, Summary.of([report]).clean) == (clean, clean, clean)
    del ran["errors_cut"]  # as in reports of before
    assert FileReport.from_json(ran).clean is clean
