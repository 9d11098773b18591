"""Reports of a lint job in the formats that other tools read, written file by file: no job's reports are held in memory.

SARIF 2.1.0: https://docs.oasis-open.org/sarif/sarif/v2.1.0/; GitHub's workflow commands: "Setting an error message" in its
documentation of workflow commands; JUnit XML: the schema that Jenkins and GitLab read; CSV: RFC 4180.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from tidegate.api.csv_lines import MEDIA_TYPE as CSV
from tidegate.api.csv_lines import csv_line
from tidegate.core.lint import FileReport, Verdict, Violation

SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
TOOL_ADDRESS = "https://docs.sqlfluff.com/"
_CSV_COLUMNS = (
    "file",
    "verdict",
    "reason",
    "rule",
    "name",
    "line",
    "column",
    "end_line",
    "end_column",
    "severity",
    "fixable",
    "description",
)

_ESCAPED = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}
)


def as_json(reports: Iterable[FileReport], engine: str) -> Iterator[str]:
    """One object: `engine`, and `files` with each file's report."""
    yield f'{{"engine": {json.dumps(engine)}, "files": ['
    for at, report in enumerate(reports):
        yield ("," if at else "") + "\n" + json.dumps(report.to_json(), ensure_ascii=False)
    yield "\n]}\n"


def as_sarif(reports: Iterable[FileReport], engine: str) -> Iterator[str]:
    """A run of one tool. A file without a full verdict is a notification, and the run then did not succeed."""
    driver = {"name": "sqlfluff", "version": engine, "informationUri": TOOL_ADDRESS}
    yield f'{{"$schema": "{SARIF_SCHEMA}", "version": "2.1.0", "runs": [{{"tool": {{"driver": {json.dumps(driver)}}},\n'
    yield '"columnKind": "unicodeCodePoints", "results": ['
    notes: list[dict[str, Any]] = []
    first = True
    for report in reports:
        if report.verdict is not Verdict.LINTED:
            notes.append(_sarif_note(report))
        for violation in report.violations:
            yield (
                ("" if first else ",")
                + "\n"
                + json.dumps(_sarif_result(report.file, violation), ensure_ascii=False)
            )
            first = False
    told = json.dumps(notes, ensure_ascii=False)
    done = json.dumps(not notes)
    yield f'],\n"invocations": [{{"executionSuccessful": {done}, "toolExecutionNotifications": {told}}}]}}]}}\n'


def _sarif_result(file: str, violation: Violation) -> dict[str, Any]:
    region = {"startLine": max(violation.line, 1), "startColumn": max(violation.column, 1)}
    if violation.end_line:
        region |= {"endLine": violation.end_line, "endColumn": max(violation.end_column, 1)}
    return {
        "ruleId": violation.rule,
        "level": violation.severity,
        "message": {"text": violation.description},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": _address(file)}, "region": region}}],
    }


def _sarif_note(report: FileReport) -> dict[str, Any]:
    return {
        "level": "error",
        "descriptor": {"id": str(report.verdict)},
        "message": {"text": report.reason},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": _address(report.file)}}}],
    }


def _address(file: str) -> str:
    """The file as a relative URI reference (RFC 3986)."""
    return quote(file, safe="/")


def as_github(reports: Iterable[FileReport], engine: str) -> Iterator[str]:
    """A workflow command for each violation, and one for each file without a full verdict."""
    for report in reports:
        if report.verdict is not Verdict.LINTED:
            yield _command("error", {"file": report.file, "title": str(report.verdict)}, report.reason)
        for violation in report.violations:
            where = {"file": report.file, "line": violation.line, "col": violation.column}
            if violation.end_line:
                where |= {"endLine": violation.end_line, "endColumn": violation.end_column}
            level = "error" if violation.severity == "error" else "notice"
            yield _command(level, {**where, "title": f"SQLFluff {violation.rule}"}, violation.description)


def _command(level: str, where: Mapping[str, object], message: str) -> str:
    properties = ",".join(f"{key}={_escaped(str(value), of_property=True)}" for key, value in where.items())
    return f"::{level} {properties}::{_escaped(message)}\n"


def _escaped(text: str, *, of_property: bool = False) -> str:
    """As the runner's own tool kit escapes: a line break would end the command and start another one."""
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if of_property else text


def _quoted(text: str) -> str:
    """As an attribute of XML. The library's own loads all of SAX and a client of HTTP, which a server has no use for."""
    return f'"{text.translate(_ESCAPED)}"'


def as_junit(reports: Iterable[FileReport], engine: str) -> Iterator[str]:
    """A test case for each file: failed with its errors, in error without a full verdict."""
    yield '<?xml version="1.0" encoding="UTF-8"?>\n<testsuites><testsuite name="sqlfluff">\n'
    for report in reports:
        yield f'<testcase classname="sqlfluff" name={_attribute(report.file)}>{_junit_outcome(report)}</testcase>\n'
    yield "</testsuite></testsuites>\n"


def _junit_outcome(report: FileReport) -> str:
    if report.verdict is not Verdict.LINTED:
        return f"<error type={_attribute(report.verdict)} message={_attribute(report.reason)}/>"
    errors = [violation for violation in report.violations if violation.severity == "error"]
    return "".join(
        f"<failure type={_attribute(one.rule)} message={_attribute(f'{one.line}:{one.column} {one.description}')}/>"
        for one in errors
    )


def _attribute(text: str) -> str:
    """Quoted for XML 1.0, without the characters that it has no way to write."""
    allowed = "".join(
        c for c in text if c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff"
    )
    return _quoted(allowed)


def as_csv(reports: Iterable[FileReport], engine: str) -> Iterator[str]:
    """A line for each violation; a file without any has one line with its verdict alone."""
    yield csv_line(_CSV_COLUMNS)
    for report in reports:
        start = (report.file, str(report.verdict), report.reason)
        for one in report.violations:
            place = (one.line, one.column, one.end_line or "", one.end_column or "")
            yield csv_line((*start, one.rule, one.name, *place, one.severity, one.fixable, one.description))
        if not report.violations:
            yield csv_line((*start, *[""] * (len(_CSV_COLUMNS) - len(start))))


Format = Callable[[Iterable[FileReport], str], Iterator[str]]

FORMATS: Mapping[str, tuple[Format, str]] = {
    "json": (as_json, "application/json"),
    "sarif": (as_sarif, "application/sarif+json"),
    "github": (as_github, "text/plain; charset=utf-8"),
    "junit": (as_junit, "application/xml"),
    "csv": (as_csv, CSV),
}
"""By name: what writes it, piece by piece, from the reports and the engine's version; and its media type."""
