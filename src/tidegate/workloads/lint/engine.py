"""SQLFluff, held to an honest answer. It and `config` are its only home.

The answer is that of the command `sqlfluff lint` on the same files with the same configuration; what that passes over in
silence (a file above its size limit, a template that does not render, a rule that raises) becomes a verdict.
"""

from __future__ import annotations

import codecs
import difflib
import fnmatch
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import chardet
import sqlfluff
import tqdm  # type: ignore[import-untyped]
from sqlfluff.core import FluffConfig, Linter
from sqlfluff.core.errors import SQLBaseError, SQLFluffUserError, SQLLintError
from sqlfluff.core.linter.linted_file import LintedFile
from sqlfluff.core.rules.base import RulePack

from tidegate.core.lint import FileReport, Verdict, Violation
from tidegate.workloads.errors import TaskError
from tidegate.workloads.lint.budget import TimeUp, at_most
from tidegate.workloads.lint.config import ConfigFile, build, inline
from tidegate.workloads.lint.options import LintOptions

VERSION = sqlfluff.__version__
tqdm.tqdm.monitor_interval = (
    0  # SQLFluff's progress bars would start a thread, and a process with threads must not fork
)
_BOMS = (
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
_RULE_RAISED = "Unexpected exception: "
"""How the description of a violation starts that stands for a rule which raised (SQLFluff's `BaseRule.crawl`)."""
_NAME = "the file"
"""What SQLFluff hears that every file is called: an answer that does not depend on the name is that of every copy."""
_MOST_CONFIGURATIONS = 64
_NOT_RULES = frozenset({"all", "PRS", "TMP", "LXR", "NOQA"})


@dataclass(frozen=True, slots=True)
class _Ready:
    """All that linting with one configuration needs."""

    config: FluffConfig
    linter: Linter
    rules: RulePack
    notes: tuple[str, ...]
    most_bytes: int
    """Larger files are not linted; 0: no limit."""


class Engine:
    """Lints texts with the options of one job. Made once, used for many files; not for many threads.

    `fast=False` takes the parser in Python, against which the one in Rust is checked. Raises TaskError for options that
    make no sense to the installed SQLFluff: `unknown_dialect`, `unknown_rule`, `bad_lint_config`.
    """

    def __init__(self, options: LintOptions, *, fast: bool = True) -> None:
        logging.disable(
            logging.CRITICAL
        )  # SQLFluff speaks of each file and rule; what matters is in the reports
        self._options = options
        self._fast = fast
        self._ready: dict[tuple[ConfigFile, ...], _Ready] = {}
        self._check_rules(self._with(()).rules)

    def lint(self, name: str, raw: bytes, configs: Sequence[ConfigFile] = ()) -> FileReport:
        """The report on a file with that content, under the `.sqlfluff` files on the way to it. Raises TaskError for those."""
        ready = self._with(tuple(configs))
        refused = _refused(name, raw, ready)
        if refused is not None:
            return refused
        try:
            with at_most(self._options.file_timeout_s):
                return self._linted(name, raw, ready)
        except TimeUp:
            reason = (
                f"It took more than the {self._options.file_timeout_s:g} s of CPU time that a file may take."
            )
            return FileReport(name, Verdict.TIMED_OUT, reason, size_bytes=len(raw), notes=ready.notes)

    def _linted(self, name: str, raw: bytes, ready: _Ready) -> FileReport:
        notes = list(ready.notes)
        text = inline(_decoded(raw), notes)

        def report(verdict: Verdict, reason: str, **more: Any) -> FileReport:
            return FileReport(name, verdict, reason, size_bytes=len(raw), notes=tuple(notes), **more)

        try:
            ready = _own(text, ready)
            most = _limit(ready.config, "large_file_skip_char_limit")
        except (SQLFluffUserError, TaskError, KeyError, ValueError, AssertionError) as error:
            return report(Verdict.SKIPPED, f"Its own settings are wrong: {_one_line(error)}.")
        if most and len(text) > most:
            reason = f"It has {len(text)} characters, `large_file_skip_char_limit` lets {most} be linted."
            return report(Verdict.TOO_LARGE, reason)
        try:
            linted = _run(text, ready, self._options.fix)
        except MemoryError:
            raise  # where no kernel counts memory: the sandbox tells it, and the file gets another try with more
        except Exception as error:  # noqa: BLE001 - a defect of the linter is a verdict on the file, not on the job
            return report(Verdict.CRASHED, f"The linter failed: {type(error).__name__}: {_one_line(error)}.")
        violations = _violations(linted)
        if linted.tree is None and text.strip():
            return report(Verdict.SKIPPED, "It could not be parsed, so no rule ran.", violations=violations)
        if raised := _raised(linted.violations):
            reason = f"Of the rules, {', '.join(raised)} failed; the others ran."
            return report(Verdict.CRASHED, reason, violations=violations)
        return report(
            Verdict.LINTED, "", violations=violations, fixed=_fixed(linted) if self._options.fix else None
        )

    def _with(self, configs: tuple[ConfigFile, ...]) -> _Ready:
        if configs not in self._ready:
            if len(self._ready) >= _MOST_CONFIGURATIONS:
                self._ready.pop(next(iter(self._ready)))
            built = build(self._options, configs, fast=self._fast)
            linter = Linter(config=built.config)
            rules = _rules(linter, built.config)
            most_bytes = _limit(built.config, "large_file_skip_byte_limit")
            self._ready[configs] = _Ready(built.config, linter, rules, built.notes, most_bytes)
        return self._ready[configs]

    def _check_rules(self, rules: RulePack) -> None:
        """A name that no rule has selects nothing, in silence: a file would look clean that nobody looked at."""
        known = set(rules.reference_map) | _NOT_RULES
        for rule in (*self._options.rules, *self._options.exclude_rules):
            if not fnmatch.filter(known, rule):
                near = difflib.get_close_matches(rule, known, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise TaskError(f"SQLFluff {VERSION} has no rule {rule!r}.{hint}", code="unknown_rule")


def _rules(linter: Linter, config: FluffConfig) -> RulePack:
    try:
        return linter.get_rulepack(config=config)
    except (SQLFluffUserError, ValueError) as error:
        raise TaskError(
            f"The configuration of the rules is wrong: {_one_line(error)}.", code="bad_lint_config"
        ) from error


def _limit(config: FluffConfig, name: str) -> int:
    """A limit of file sizes, which SQLFluff itself looks at only when it opens a file."""
    told = config.get(name)
    try:
        return int(told or 0)
    except (TypeError, ValueError):
        raise TaskError(f"`{name}` must be a number, not {told!r:.80}.", code="bad_lint_config") from None


def _refused(name: str, raw: bytes, ready: _Ready) -> FileReport | None:
    limit = ready.most_bytes
    if limit and len(raw) > limit:
        reason = f"It has {len(raw)} bytes, at most {limit} are linted. Raise `max_file_bytes`."
        return FileReport(name, Verdict.TOO_LARGE, reason, size_bytes=len(raw))
    if b"\0" in raw and not raw.startswith(tuple(bom for bom, _ in _BOMS)):
        return FileReport(name, Verdict.UNREADABLE, "It is no text: it has NUL bytes.", size_bytes=len(raw))
    return None


def _own(text: str, ready: _Ready) -> _Ready:
    """With the settings that the file's own comments make."""
    if "sqlfluff:" not in text:
        return ready
    config = ready.config.copy()
    config.process_raw_file_for_config(text, _NAME)
    return replace(ready, config=config, rules=ready.linter.get_rulepack(config=config))


def _run(text: str, ready: _Ready, fix: bool) -> LintedFile:
    rendered = ready.linter.render_string(text, _NAME, ready.config, "utf-8")
    return Linter.lint_rendered(rendered, ready.rules, fix=fix)


def _decoded(raw: bytes) -> str:
    """As SQLFluff reads a file, except that what is UTF-8 is never taken for another encoding."""
    for bom, encoding in _BOMS:
        if raw.startswith(bom):
            return raw.decode(encoding, "backslashreplace")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode(chardet.detect(raw).get("encoding") or "utf-8", "backslashreplace")


def _violations(linted: LintedFile) -> tuple[Violation, ...]:
    found = [(error.to_dict(), error) for error in linted.get_violations(filter_warning=False)]
    found.sort(key=lambda pair: (pair[0]["start_line_no"], pair[0]["start_line_pos"], str(pair[0]["code"])))
    return tuple(_violation(data, error) for data, error in found)


def _violation(data: Mapping[str, Any], error: SQLBaseError) -> Violation:
    return Violation(
        rule=data["code"],
        name=data["name"],
        line=data["start_line_no"],
        column=data["start_line_pos"],
        end_line=data.get("end_line_no", 0),
        end_column=data.get("end_line_pos", 0),
        description=data["description"],
        severity="warning" if data["warning"] else "error",
        fixable=error.fixable,
    )


def _raised(violations: Iterable[SQLBaseError]) -> list[str]:
    """The rules that raised, also where a `noqa` hides it."""
    return sorted(
        {
            error.rule_code()
            for error in violations
            if isinstance(error, SQLLintError) and error.desc().startswith(_RULE_RAISED)
        }
    )


def _fixed(linted: LintedFile) -> str | None:
    """The mended text; None when nothing changes, or when nothing is mended because part of it cannot be parsed."""
    if linted.tree is None or linted.templated_file is None:
        return None
    if any(error.rule_code() in ("PRS", "TMP") for error in linted.violations):
        return None
    text, changed = linted.fix_string()
    return text if changed else None


def _one_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
