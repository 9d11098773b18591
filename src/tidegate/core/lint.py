"""What lint says about a file: a verdict, and the violations where the rules ran."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

SENSELESS_OPTIONS = frozenset({"unknown_dialect", "unknown_rule", "bad_lint_config"})
"""Codes of attempts that ended before any file was looked at, for what was asked of them."""


class Verdict(StrEnum):
    """How far a file got. Only a `linted` one was seen by every rule that was asked for."""

    LINTED = "linted"
    SKIPPED = "skipped"
    """Not looked at, or not by every rule; the reason says why."""
    TOO_LARGE = "too_large"
    TIMED_OUT = "timed_out"
    CRASHED = "crashed"
    """The linter or one of its rules failed; the violations of the other rules are there."""
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Violation:
    """A place where a rule is broken. Lines and columns count from 1; the end is 0 where the engine does not know it."""

    rule: str
    name: str
    line: int
    column: int
    end_line: int
    end_column: int
    description: str
    severity: str
    """`error`, or `warning` for rules that the configuration only warns of."""
    fixable: bool


@dataclass(frozen=True, slots=True)
class FileReport:
    """What lint says about one file. `fixed` is its mended text, when that was asked for and differs."""

    file: str
    verdict: Verdict
    reason: str = ""
    violations: tuple[Violation, ...] = ()
    fixed: str | None = None
    size_bytes: int = 0
    notes: tuple[str, ...] = ()
    """What was left out of the file's own settings, because it could run code or read other files."""
    cached: bool = False
    """Whether it was made by an earlier job, for the same content, configuration and engine."""
    errors_cut: bool = False
    """Whether errors are missing in `violations`, for want of room."""

    @property
    def clean(self) -> bool:
        """Whether every rule ran and found nothing; warnings do not count."""
        found = self.errors_cut or any(v.severity == "error" for v in self.violations)
        return self.verdict is Verdict.LINTED and not found

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": str(self.verdict), "clean": self.clean}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FileReport:
        return cls(
            file=data["file"],
            verdict=Verdict(data["verdict"]),
            reason=data["reason"],
            violations=tuple(Violation(**violation) for violation in data["violations"]),
            fixed=data["fixed"],
            size_bytes=data["size_bytes"],
            notes=tuple(data["notes"]),
            cached=data.get("cached", False),
            # Reports that were kept may be older than the field.
            errors_cut=data.get("errors_cut", not data["clean"]),
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """The reports of a job added up."""

    files: int
    clean: bool
    """Whether every file was linted by every rule, and none has an error."""
    violations: int
    warnings: int
    by_verdict: Mapping[str, int]
    by_rule: Mapping[str, int]
    cached: int = 0
    """How many of the files were answered from earlier jobs."""

    @classmethod
    def of(cls, reports: Iterable[FileReport]) -> Summary:
        files = violations = warnings = cached = 0
        clean = True
        verdicts: dict[str, int] = {str(verdict): 0 for verdict in Verdict}
        rules: dict[str, int] = {}
        for report in reports:
            files += 1
            cached += report.cached
            clean = clean and report.clean
            verdicts[report.verdict] += 1
            for violation in report.violations:
                rules[violation.rule] = rules.get(violation.rule, 0) + 1
                violations += violation.severity == "error"
                warnings += violation.severity != "error"
        return cls(files, clean, violations, warnings, verdicts, dict(sorted(rules.items())), cached)
