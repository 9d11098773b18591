"""The engine answers as the command `sqlfluff lint` does, and says what that passes over in silence."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from sqlfluff.core import Linter
from sqlfluff.core.parser.rust_parser import RustParser
from sqlfluff.core.rules.base import BaseRule

from tests.workloads.lint.corpus import DIALECTS, files
from tidegate.core.lint import FileReport, Summary, Verdict
from tidegate.workloads.errors import TaskError
from tidegate.workloads.lint.budget import TimeUp, at_most
from tidegate.workloads.lint.config import ConfigFile, on_the_way
from tidegate.workloads.lint.engine import Engine
from tidegate.workloads.lint.options import LintOptions


def lint(text: str, configs=(), **options) -> FileReport:
    return Engine(LintOptions(**{"dialect": "ansi", **options})).lint("a.sql", text.encode(), configs)


def rules(report: FileReport) -> list[str]:
    return [violation.rule for violation in report.violations]


def command(folder, *arguments: str) -> dict[str, list[dict[str, object]]]:
    """What the command says of the files below a folder, by their names in it."""
    done = subprocess.run(
        [sys.executable, "-m", "sqlfluff", "lint", "--format", "json", "--processes", "2", *arguments, "."],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode in (0, 1), done.stderr
    return {record["filepath"]: record["violations"] for record in json.loads(done.stdout)}


def as_command(report: FileReport) -> list[tuple[object, ...]]:
    return [
        (v.rule, v.name, v.line, v.column, v.description, v.severity == "warning") for v in report.violations
    ]


def as_ours(violations) -> list[tuple[object, ...]]:
    return [
        (v["code"], v["name"], v["start_line_no"], v["start_line_pos"], v["description"], v["warning"])
        for v in violations
    ]


def _raise(*args, **kwargs):
    raise ZeroDivisionError("a defect")


def compare(tmp_path, dialect: str, count: int) -> None:
    """Our reports on files of a dialect against the command's, under nested `.sqlfluff` files."""
    configs = {
        "": f"[sqlfluff]\ndialect = {dialect}\n[sqlfluff:templater:jinja:context]\ngiven = some_table\n",
        f"{dialect}/1": "[sqlfluff]\nexclude_rules = LT01\nwarnings = CP01\nmax_line_length = 40\n",
        f"{dialect}/2": "[sqlfluff]\nrules = core\n[sqlfluff:rules:capitalisation.keywords]\ncapitalisation_policy = upper\n",
    }
    texts = dict(files(dialect, count))
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for folder, config in configs.items():
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / ".sqlfluff").write_text(config)
    theirs = command(tmp_path)
    by_folder = {folder: ConfigFile(folder, text) for folder, text in configs.items()}
    engine = Engine(LintOptions())
    assert len(theirs) == count
    for name, text in texts.items():
        ours = engine.lint(name, text.encode(), on_the_way(name, by_folder))
        assert as_command(ours) == as_ours(theirs[name]), text


@pytest.mark.parametrize("dialect", DIALECTS[:2])
def test_few_files_get_the_answer_of_the_command(tmp_path, dialect):
    compare(tmp_path, dialect, 7)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_many_files_get_the_answer_of_the_command(tmp_path, dialect):
    compare(tmp_path, dialect, 90)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_fast_parser_gives_the_answer_of_the_plain_one(dialect):
    fast, plain = (Engine(LintOptions(dialect=dialect), fast=fast) for fast in (True, False))
    for name, text in files(dialect, 5, seed=1):
        assert fast.lint(name, text.encode()) == plain.lint(name, text.encode()), text


def test_the_parser_in_rust_is_the_one_in_use(monkeypatch):
    """SQLFluff takes the other one without a word when it does not find it."""
    parsed = []
    parse = RustParser.parse

    def spy(self, *args, **kwargs):
        parsed.append(args)
        return parse(self, *args, **kwargs)

    monkeypatch.setattr(RustParser, "parse", spy)
    Engine(LintOptions(dialect="ansi"), fast=False).lint("a.sql", b"SELECT 1 AS a\n")
    assert parsed == []
    lint("SELECT 1 AS a\n")
    assert len(parsed) == 1


def test_a_clean_file_is_clean():
    report = lint("SELECT a FROM b\n")
    assert (report.verdict, report.violations, report.clean) == (Verdict.LINTED, (), True)


def test_a_file_above_the_limit_is_too_large_and_not_clean():
    report = lint("SELECT a FROM b\n" * 2000)
    assert (report.verdict, report.clean) == (Verdict.TOO_LARGE, False)
    assert "32000 bytes, at most 20000" in report.reason


def test_the_limit_can_be_raised_and_lifted():
    text = "SELECT a FROM b;\n" * 3
    assert lint(text, max_file_bytes=10).verdict is Verdict.TOO_LARGE
    assert lint(text, max_file_bytes=0, rules=("CP01",)).verdict is Verdict.LINTED


def test_the_limit_in_characters_that_a_configuration_may_set_is_told_too():
    config = ConfigFile("", "[sqlfluff]\nlarge_file_skip_char_limit = 10\n")
    report = lint("SELECT a FROM b\n", [config])
    assert (report.verdict, report.clean) == (Verdict.TOO_LARGE, False)
    assert "16 characters" in report.reason


def test_no_answer_depends_on_the_name_of_the_file():
    engine = Engine(LintOptions(dialect="ansi", fix=True))
    for text in (
        "SELECT  a from b\n",
        "SELECT {{ nobody.knows.it }} FROM b\n{% if %}",
        "SELECT (1 + ;\n",
        "-- sqlfluff:rules:LT01\n-- sqlfluff:dialect:klingon\nSELECT 1\n",
        "-- sqlfluff:indentation:no_such:1\nSELECT 1\n",
    ):
        one, other = (engine.lint(name, text.encode()) for name in ("one.sql", "deep/other.txt"))
        assert replace(one, file=other.file) == other
        assert "one.sql" not in str(replace(one, file=""))


def test_what_cannot_be_parsed_at_all_is_skipped_and_says_so():
    report = lint("SELECT (1 + ;\n")
    assert (report.verdict, rules(report), report.clean) == (Verdict.SKIPPED, ["PRS"], False)


def test_a_template_that_does_not_render_is_not_clean():
    report = lint("SELECT {{ nobody.knows.it }} FROM b\n{% if %}")
    assert report.verdict is Verdict.SKIPPED
    assert "TMP" in rules(report)


def test_a_rule_that_raises_is_named_even_where_noqa_hides_it(monkeypatch):
    code = Engine(LintOptions(rules=("CP01",)))._with(()).rules.rules[0].__class__
    monkeypatch.setattr(code, "_eval", _raise)
    report = lint("select a from b -- noqa\n", rules=("CP01", "LT01"))
    assert report.verdict is Verdict.CRASHED
    assert "CP01" in report.reason


def test_a_linter_that_fails_is_told(monkeypatch):
    monkeypatch.setattr(BaseRule, "crawl", _raise)
    report = lint("select a from b\n")
    assert (report.verdict, report.clean) == (Verdict.CRASHED, False)
    assert "ZeroDivisionError" in report.reason


def test_a_file_that_takes_too_long_is_ended(monkeypatch):
    def for_ever(*args, **kwargs):
        while True:
            try:
                sum(range(1000))
            except Exception:  # noqa: BLE001 - as SQLFluff's own handlers
                continue

    monkeypatch.setattr(BaseRule, "crawl", for_ever)
    report = lint("select a from b\n", file_timeout_s=0.05)
    assert (report.verdict, report.clean) == (Verdict.TIMED_OUT, False)
    assert "0.05 s" in report.reason


class Fragile:
    """Takes so long to be forgotten that its time is up in that, where Python drops whatever is raised."""

    def __del__(self):
        until = time.process_time() + 0.1
        while time.process_time() < until:
            pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_time_that_is_up_in_a_destructor_is_up_all_the_same():
    def work():
        Fragile()  # is forgotten at once
        while True:
            sum(range(1000))

    with pytest.raises(TimeUp), at_most(0.02):
        work()


@pytest.mark.parametrize(
    ("raw", "verdict"),
    [
        (b"SELECT 'a\0b'\n", Verdict.UNREADABLE),
        ("SELECT 'ü' AS a\n".encode("utf-16"), Verdict.LINTED),
        ("\ufeffSELECT 'ü' AS a\n".encode(), Verdict.LINTED),
        (b"", Verdict.LINTED),
        (b"SELECT 1 AS a\r\nFROM b\r\n", Verdict.LINTED),
        (b"\xff\xfe\xfa", Verdict.LINTED),
    ],
)
def test_any_bytes_get_a_verdict(raw, verdict):
    assert Engine(LintOptions(dialect="ansi")).lint("a.sql", raw).verdict is verdict


def test_fixed_text_is_there_when_asked_for():
    assert lint("select  a from b\n", fix=True).fixed == "select a from b\n"
    assert lint("SELECT a FROM b\n", fix=True).fixed is None
    assert lint("select  a from b\n").fixed is None
    assert lint("select  a from b where (\n", fix=True).fixed is None


def test_noqa_hides_unless_the_job_says_otherwise():
    text = "SELECT a from b -- noqa\n"
    assert lint(text).clean
    assert "CP01" in rules(lint(text, disable_noqa=True))


@pytest.mark.parametrize("templater", ["raw", "jinja"])
def test_comments_cannot_load_code(tmp_path, templater):
    (tmp_path / "evil.py").write_text("open(__file__ + '.ran', 'w')")
    text = f"-- sqlfluff:templater:jinja:library_path:{tmp_path}\nSELECT {{{{ evil }}}} AS a\n"
    report = lint(text, templater=templater)
    assert not (tmp_path / "evil.py.ran").exists()
    assert "templater:jinja:library_path" in report.notes[0]


@pytest.mark.parametrize(
    "setting",
    [
        "[sqlfluff:templater:jinja]\nlibrary_path = {folder}",
        "[sqlfluff]\nlibrary_path = {folder}",
        "[sqlfluff:templater:jinja]\nload_macros_from_path = {folder}",
        "[sqlfluff:templater:jinja]\nloader_search_path = {folder}",
        "[sqlfluff]\ntemplater = python",
        "[sqlfluff:templater:dbt]\nproject_dir = {folder}",
    ],
)
def test_files_cannot_load_code_either(tmp_path, setting):
    (tmp_path / "evil.py").write_text("open(__file__ + '.ran', 'w')")
    config = ConfigFile("", setting.format(folder=tmp_path))
    report = lint("SELECT {{ evil }} AS a\n", [config])
    assert not (tmp_path / "evil.py.ran").exists()
    assert "was left out" in report.notes[0]


def test_what_is_left_of_a_file_with_a_forbidden_setting_holds():
    config = ConfigFile("", "[sqlfluff]\nexclude_rules = CP01\ntemplater = dbt\n")
    assert rules(lint("SELECT a from b\n", [config])) == []


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"dialect": "klingon"}, "unknown_dialect"),
        ({"rules": ("XX99",)}, "unknown_rule"),
        ({"exclude_rules": ("LT1",)}, "unknown_rule"),
        ({"config": "no section"}, "bad_lint_config"),
        ({"config": "[sqlfluff]\nrunaway_limit = many"}, "bad_lint_config"),
        ({"config": "[sqlfluff]\nlarge_file_skip_byte_limit = many"}, "bad_lint_config"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, code):
    with pytest.raises(TaskError) as caught:
        lint("SELECT 1\n", **options)
    assert caught.value.code == code


def test_a_dialect_that_is_almost_right_is_guessed():
    with pytest.raises(TaskError, match=r"no dialect 'postgress'\. Did you mean 'postgres'"):
        lint("SELECT 1\n", dialect="postgress")


@pytest.mark.parametrize(
    ("comment", "says"),
    [
        ("dialect:klingon", "Unknown dialect"),
        ("large_file_skip_char_limit:many", "must be a number, not 'many'"),
    ],
)
def test_a_comment_with_a_wrong_setting_is_the_files_own_fault(comment, says):
    report = lint(f"-- sqlfluff:{comment}\nSELECT a FROM b\n")
    assert (report.verdict, report.clean) == (Verdict.SKIPPED, False)
    assert says in report.reason


def test_memory_that_is_not_there_is_no_defect_of_the_linter(monkeypatch):
    def out_of_memory(*arguments, **more):
        raise MemoryError

    monkeypatch.setattr(Linter, "lint_rendered", out_of_memory)
    with pytest.raises(MemoryError):
        lint("SELECT 1\n")


def test_a_summary_is_clean_only_if_each_file_is():
    clean, large = lint("SELECT a FROM b\n"), lint("SELECT a FROM b\n", max_file_bytes=3)
    assert Summary.of([clean, clean]).clean
    summary = Summary.of([clean, large, lint("SELECT a from b\n")])
    assert (summary.files, summary.clean, summary.violations) == (3, False, 1)
    assert (summary.by_verdict["linted"], summary.by_verdict["too_large"], summary.by_rule) == (
        2,
        1,
        {"CP01": 1},
    )


def test_reports_and_options_travel_as_json():
    report = lint("select  a from b\n", fix=True)
    assert FileReport.from_json(json.loads(json.dumps(report.to_json()))) == report
    options = LintOptions.judged(
        {"dialect": "postgres", "rules": "LT01, CP01", "context": {"a": [1]}, "fix": True}
    )
    assert LintOptions.from_json(json.loads(json.dumps(options.to_json()))) == options
