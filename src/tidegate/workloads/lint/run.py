"""Lints one file inside the sandbox, or looks which there are in an archive or a folder and adds a task for each.

The files of an archive lie one behind the other in one file, `files.bin`, of the folder that the first task leaves; a task is
told where its own and the `.sqlfluff` files on the way to it stand there.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from tidegate.core.job import DIGEST, TaskOrder
from tidegate.core.lint import FileReport, Verdict
from tidegate.core.resources import KIB, MIB
from tidegate.ports import KEEP, TaskContext
from tidegate.workloads.errors import TaskError
from tidegate.workloads.lint.archive import Limits, Member, unpack
from tidegate.workloads.lint.collect import collect
from tidegate.workloads.lint.config import CONFIG_NAME, ConfigFile, on_the_way
from tidegate.workloads.lint.digest import Digests, programs
from tidegate.workloads.lint.engine import VERSION, Engine
from tidegate.workloads.lint.options import MOST_CONFIG_BYTES, LintOptions

_SUFFIXES = (".sql", ".sql.j2", ".dml", ".ddl", ".pkb")
"""SQLFluff's `sql_file_exts`."""
_FOLDER, _FILES = "unpacked", "files.bin"
_MOST_VIOLATIONS_BYTES = 256 * KIB
_MOST_FIXED_BYTES = 512 * KIB
"""An attempt may report 1 MiB."""
_MARGIN_BYTES = 64 * MIB
"""Of the disk of the first task, for what it writes beside the files."""
_SAME_AGAIN = frozenset({Verdict.LINTED, Verdict.SKIPPED, Verdict.TOO_LARGE, Verdict.UNREADABLE})
"""Verdicts that the same file gets again: they do not depend on the time and the memory that there were."""


_USUAL_TEXT = b"""\
WITH a AS (SELECT id, sum(amount) as b FROM orders WHERE id = 1 AND x > 2 GROUP BY id ORDER BY id)
SELECT a.id,
  a.b , case when a.b=1 then 2 else 3 end AS c
FROM a
LEFT JOIN t AS tt ON a.id = tt.id
"""
"""Has what statements usually have, so that the zygote has gone the usual ways through the linter once. What those remember is
1.3 ms of the 15 ms of CPU that a short statement takes after a fork (medians of 40 forks, three rounds in turns)."""


def warm() -> None:
    """Called once by the zygote, before it forks: loads the usual dialect and the rules."""
    rehearse()
    programs()


def rehearse() -> None:
    """What an attempt does, for the zygote to see which pages it writes: 2,113 of the 2,167 of another short statement."""
    _usual_engine().lint("warm.sql", _USUAL_TEXT)


def run(context: TaskContext) -> Mapping[str, Any]:
    """Raises TaskError for an archive that cannot be read, and for options that make no sense to the linter."""
    spec = context.spec
    options = LintOptions.from_json(spec["options"])
    if "unpack" in spec:
        _engine(options)  # options that make no sense are told once, not by every file
        return _unpacked(context)
    raw, configs = _input(context)
    report = _report(_engine(options), spec["file"], raw, configs)
    # Whoever named the file may have had other programs than those that have looked at it.
    again = report.verdict in _SAME_AGAIN and spec.get(DIGEST) == _digest(Digests(options), raw, configs)
    return _facts(report) | {KEEP: again}


def _input(context: TaskContext) -> tuple[bytes, tuple[ConfigFile, ...]]:
    """The file, and the `.sqlfluff` files on the way to it."""
    spec = context.spec
    if "sql_content" in spec:
        return spec["sql_content"].encode(), ()
    if context.input_folder is None:
        raise TaskError("The unpacked files are not there any more. Submit the job again.", code="files_gone")
    with Path(context.input_folder, _FILES).open("rb") as files:
        return _piece(files, spec["offset"], spec["size_bytes"]), _config_files(files, spec["configs"])


def _report(engine: Engine, name: str, raw: bytes, configs: tuple[ConfigFile, ...]) -> FileReport:
    try:
        return engine.lint(name, raw, configs)
    except TaskError as error:  # of the files on the way to it: other files are none the worse for them
        return FileReport(name, Verdict.SKIPPED, error.message, size_bytes=len(raw))


def _facts(report: FileReport) -> dict[str, Any]:
    return {"lint": _bounded(report), "engine": VERSION}


def _engine(options: LintOptions) -> Engine:
    """Making one takes about 15 ms, as long as a short statement; for the usual options it was done before the fork, for
    others it is done once for all files of a batch."""
    return _usual_engine() if options == LintOptions() else _other_engine(json.dumps(options.to_json()))


@functools.lru_cache(maxsize=1)
def _other_engine(options: str) -> Engine:
    return Engine(LintOptions.from_json(json.loads(options)))


@functools.cache
def _usual_engine() -> Engine:
    return Engine(LintOptions())


def _config_files(files: BinaryIO, places: Iterable[tuple[str, int, int]]) -> tuple[ConfigFile, ...]:
    return tuple(
        ConfigFile(folder, _piece(files, *place).decode("utf-8", "replace")) for folder, *place in places
    )


def _piece(files: BinaryIO, offset: int, size_bytes: int) -> bytes:
    files.seek(offset)
    return files.read(size_bytes)


def _digest(digests: Digests, raw: bytes, configs: Iterable[ConfigFile]) -> str:
    return digests.of(raw, ((config.folder, config.text) for config in configs))


def _bounded(report: FileReport) -> dict[str, Any]:
    """The report as JSON with as many violations as there is room for; `cut` says how many there is not."""
    room, kept = _MOST_VIOLATIONS_BYTES, 0
    for violation in report.to_json()["violations"]:
        room -= len(json.dumps(violation))
        if room < 0:
            break
        kept += 1
    cut = len(report.violations) - kept
    fixed, notes = report.fixed, report.notes[:100]
    if fixed is not None and len(fixed.encode()) > _MOST_FIXED_BYTES:
        fixed = None
        notes = (*notes, f"The mended text has more than {_MOST_FIXED_BYTES} bytes and was left out.")
    if cut:
        notes = (*notes, f"{cut} more violations were left out: a report has room for {kept} of these.")
    errors_cut = any(violation.severity == "error" for violation in report.violations[kept:])
    shown = replace(
        report, violations=report.violations[:kept], fixed=fixed, notes=notes, errors_cut=errors_cut
    )
    return {**shown.to_json(), "cut": cut}


def _unpacked(context: TaskContext) -> Mapping[str, Any]:
    path = Path(context.spec["unpack"])
    folder = Path(context.staging, _FOLDER)
    folder.mkdir()
    limits = Limits(
        total_bytes=min(Limits().total_bytes, max(context.resources.disk_bytes - _MARGIN_BYTES, MIB))
    )
    with (folder / _FILES).open("wb+") as into:
        source = (
            unpack(path, into, _wanted, limits, context.progress)
            if context.spec["submission_type"] == "ZIP_ARCHIVE"
            else collect(path, into, _wanted, limits)
        )
        members = list(source)
        into.flush()
        os.fsync(into.fileno())
    files = [member for member in members if not _is_config(member.name)]
    if not files:
        raise TaskError(
            f"{path.name!r} has no SQL file: none ends in {', '.join(_SUFFIXES)}.", code="no_sql_files"
        )
    digests = Digests(LintOptions.from_json(context.spec["options"])) if context.spec.get("cache") else None
    with (folder / _FILES).open("rb") as unpacked:
        for order in _orders(files, _configs(members), unpacked, digests):
            context.add_task(order)
    return {"folder": _FOLDER, "files": len(files), "engine": VERSION}


def _wanted(name: str) -> bool:
    """Finder of macOS puts a shadow of every file into `__MACOSX`."""
    return not name.startswith("__MACOSX/") and (_is_config(name) or name.lower().endswith(_SUFFIXES))


def _is_config(name: str) -> bool:
    return name.rpartition("/")[2] == CONFIG_NAME


def _configs(members: list[Member]) -> dict[str, Member]:
    """The `.sqlfluff` files by their folders; of two of one name the first, which is the one that could be read."""
    found: dict[str, Member] = {}
    for member in members:
        if _is_config(member.name):
            found.setdefault(member.name.rpartition("/")[0], member)
    return found


def _task_name(name: str) -> str:
    return "".join(char if char.isprintable() else "\ufffd" for char in name) or "\ufffd"


def _orders(
    files: Iterable[Member], configs: Mapping[str, Member], unpacked: BinaryIO, digests: Digests | None
) -> Iterator[TaskOrder]:
    """A task for each file; it has its result already where there is nothing to lint."""
    for member in files:
        name = _task_name(member.name)
        above = list(_above(member.name, configs))
        verdict, reason = _problem(member, above)
        if verdict is not None:
            yield TaskOrder(name, {"file": name}, result=_facts(FileReport(name, verdict, reason)))
            continue
        places = [(folder, config.offset, config.size_bytes) for folder, config in above]
        spec = {"file": name, "offset": member.offset, "size_bytes": member.size_bytes, "configs": places}
        if digests is not None:
            raw = _piece(unpacked, member.offset, member.size_bytes)
            spec[DIGEST] = _digest(digests, raw, _config_files(unpacked, places))
        yield TaskOrder(name, spec)


def _problem(member: Member, above: Iterable[tuple[str, Member]]) -> tuple[Verdict | None, str]:
    """The verdict on a file that cannot be linted, and why; None for one that can."""
    if member.problem is not None:
        return Verdict(member.problem), member.reason
    for folder, config in above:
        if why := _fault(config):
            where = folder or "the top folder"
            return Verdict.SKIPPED, f"The {CONFIG_NAME} file of {where} cannot be used. {why}"
    return None, ""


def _above(name: str, configs: Mapping[str, Member]) -> Iterator[tuple[str, Member]]:
    stubs = {folder: ConfigFile(folder, "") for folder in configs}
    return ((stub.folder, configs[stub.folder]) for stub in on_the_way(name, stubs))


def _fault(config: Member) -> str:
    if config.problem is not None:
        return config.reason
    if config.size_bytes > MOST_CONFIG_BYTES:
        return f"It has {config.size_bytes} bytes, at most {MOST_CONFIG_BYTES} are taken."
    return ""
