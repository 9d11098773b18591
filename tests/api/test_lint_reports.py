"""Each format says all there is to say, and survives whatever a file name or a description holds."""

from __future__ import annotations

import csv
import io
import json
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.api.lint_reports import FORMATS
from tidegate.core.lint import FileReport, Verdict, Violation

BAD = Violation("LT01", "layout.spacing", 3, 5, 3, 7, "Expected only single space.", "error", fixable=True)
MILD = Violation(
    "CP01", "capitalisation.keywords", 1, 1, 0, 0, "Keywords, here: 100%", "warning", fixable=False
)
REPORTS = [
    FileReport("a b.sql", Verdict.LINTED, violations=(MILD, BAD)),
    FileReport("clean.sql", Verdict.LINTED),
    FileReport("big.sql", Verdict.TOO_LARGE, "It has 9 bytes, at most 3 are linted."),
]


def write(name: str, reports) -> str:
    return "".join(FORMATS[name][0](reports, "4.5.0"))


def test_json_holds_the_reports():
    data = json.loads(write("json", REPORTS))
    assert data["engine"] == "4.5.0"
    assert [FileReport.from_json(file) for file in data["files"]] == REPORTS


def test_sarif_has_results_and_tells_of_files_without_a_full_verdict():
    (run,) = json.loads(write("sarif", REPORTS))["runs"]
    place = run["results"][1]["locations"][0]["physicalLocation"]
    assert [result["ruleId"] for result in run["results"]] == ["CP01", "LT01"]
    assert [result["level"] for result in run["results"]] == ["warning", "error"]
    assert place == {
        "artifactLocation": {"uri": "a%20b.sql"},
        "region": {"startLine": 3, "startColumn": 5, "endLine": 3, "endColumn": 7},
    }
    (invocation,) = run["invocations"]
    assert not invocation["executionSuccessful"]
    assert invocation["toolExecutionNotifications"][0]["descriptor"]["id"] == "too_large"


def test_github_has_a_command_a_line():
    assert write("github", REPORTS).splitlines() == [
        "::notice file=a b.sql,line=1,col=1,title=SQLFluff CP01::Keywords, here: 100%25",
        "::error file=a b.sql,line=3,col=5,endLine=3,endColumn=7,title=SQLFluff LT01::Expected only single space.",
        "::error file=big.sql,title=too_large::It has 9 bytes, at most 3 are linted.",
    ]


def test_junit_has_a_case_a_file():
    cases = ElementTree.fromstring(write("junit", REPORTS)).findall("testsuite/testcase")
    assert [(case.get("name"), [child.tag for child in case]) for case in cases] == [
        ("a b.sql", ["failure"]),
        ("clean.sql", []),
        ("big.sql", ["error"]),
    ]


def test_csv_has_a_line_a_violation_and_one_for_a_file_without():
    rows = list(csv.DictReader(io.StringIO(write("csv", REPORTS))))
    assert [(row["file"], row["verdict"], row["rule"]) for row in rows] == [
        ("a b.sql", "linted", "CP01"),
        ("a b.sql", "linted", "LT01"),
        ("clean.sql", "linted", ""),
        ("big.sql", "too_large", ""),
    ]


def test_csv_starts_no_formula():
    assert "'=cmd()" in write("csv", [FileReport("=cmd()", Verdict.LINTED)])


words = st.text(max_size=30)
violations = st.builds(
    Violation, words, words, st.integers(0, 99), st.integers(0, 99), st.integers(0, 99), st.integers(0, 99), words,
    st.sampled_from(["error", "warning"]), st.booleans(),
)  # fmt: skip
reports = st.lists(
    st.builds(
        FileReport, words, st.sampled_from(Verdict), words, st.lists(violations, max_size=2).map(tuple)
    ),
    max_size=3,
)


@given(reports)
@pytest.mark.parametrize("name", ["json", "sarif"])
def test_json_formats_are_json_whatever_they_hold(name, reports):
    json.loads(write(name, reports))


@given(reports)
def test_junit_is_xml_whatever_it_holds(reports):
    assert len(
        ElementTree.fromstring(write("junit", reports).encode("utf-8", "replace")).findall(".//testcase")
    ) == len(reports)


@given(reports)
def test_no_text_breaks_out_of_its_command(reports):
    expected = sum(len(report.violations) + (report.verdict is not Verdict.LINTED) for report in reports)
    lines = [line for line in re.split(r"\r\n|\r|\n", write("github", reports)) if line]
    assert len(lines) == expected
    assert all(line.startswith(("::error ", "::notice ")) for line in lines)


@given(reports)
def test_csv_reads_back(reports):
    rows = list(csv.reader(io.StringIO(write("csv", reports), newline="")))
    assert len(rows) == 1 + sum(max(len(report.violations), 1) for report in reports)
