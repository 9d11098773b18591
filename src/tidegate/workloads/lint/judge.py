"""The kind `lint`: is SQL written as it should be? One statement, an archive, or a folder.

This half lives in the server: it judges the options and finds the archive or folder. The linter is loaded in the
sandbox alone, by `run`. An archive or a folder has a first task that looks what is in it, and adds one for each file.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from typing import Any

from tidegate.core.job import DIGEST, TaskOrder
from tidegate.core.resources import GIB, KIB, MIB, Resources, format_bytes
from tidegate.errors import InvalidInput
from tidegate.ports import IntakeContext, WorkOrder
from tidegate.workloads.files import expand, folder_of, own_path, refuse_foreign
from tidegate.workloads.lint.digest import Digests
from tidegate.workloads.lint.options import DEFAULT_MAX_FILE_BYTES, FIELDS, MOST_FILE_BYTES, LintOptions
from tidegate.workloads.sql import within

MOST_CONTENT_BYTES = 1 * MIB
"""Of a statement that is sent as text."""
STATEMENT_NAME = "statement.sql"
"""What a statement is called that came without a file."""
_ARCHIVES = {".zip": "zip"}
_WHAT = ("sql_content", "zip_file_path", "folder_path")
_LEAST_MEMORY_BYTES = 256 * MIB
_MEMORY_PER_BYTE = 12 * KIB
"""A file of 20,000 bytes needs about 125 MiB beside the linter itself (SQLFluff 4.5, dialect ansi)."""
_MOST_MEMORY_BYTES = 8 * GIB
_UNPACKING = Resources(1000, 256 * MIB, GIB)
_UNPACKING_TIMEOUT_S = 3600.0
_BATCH = 64
"""Files that share a process: of 20 ms each they take about as long as a batch may, and a fork with its cold caches is paid
for once."""
_LEAST_TIMEOUT_S = 60.0
_WALL_FOR_CPU = 4
"""A file's limit counts CPU time. This many times as much may pass: on a full machine a file waits."""


class LintWorkload:
    """Judges submissions of kind `lint`."""

    kind = "lint"
    expands = True
    preload = "on_demand"
    """A server that never lints never loads the linter."""
    implied_by = frozenset({"sql_content", "zip_file_path"})
    fields = frozenset({*_WHAT, "file_name", "cache"}) | FIELDS
    runner = "tidegate.workloads.lint.run:run"

    def order(self, fields: Mapping[str, Any], context: IntakeContext) -> WorkOrder:
        """Raises InvalidInput for a bad field, for an archive or folder that may not be read, and when there is no linter."""
        _refuse_without_linter()
        given = [name for name in _WHAT if fields.get(name) is not None]
        if len(given) != 1:
            raise InvalidInput(
                f"A lint job takes exactly one of {', '.join(_WHAT)}; {len(given) or 'none'} of them "
                f"{'are' if given else 'is'} there.",
                code="lint_what",
            )
        options = LintOptions.judged(fields)
        digests = Digests(options) if _caches(fields, context) else None
        name, spec, tasks = _what(given[0], fields, context, digests)
        return WorkOrder(
            name=_printable(f"lint {name}"),
            spec={"options": options.to_json(), **spec},
            request=_request(options, context),
            timeout_s=max(_LEAST_TIMEOUT_S, _WALL_FOR_CPU * options.file_timeout_s),
            tasks=tasks,
            batch=_BATCH,
        )


def _refuse_without_linter() -> None:
    if importlib.util.find_spec("sqlfluff") is None:
        raise InvalidInput(
            "This server has no SQL linter. Install it with: pip install 'tidegate[lint]'",
            code="lint_missing",
        )


def _what(
    given: str, fields: Mapping[str, Any], context: IntakeContext, digests: Digests | None
) -> tuple[str, dict[str, Any], tuple[TaskOrder, ...]]:
    """The job's name, its spec, and its first task; without `digests` answers are neither kept nor taken from earlier jobs."""
    if given != "sql_content" and fields.get("file_name") is not None:
        raise InvalidInput("`file_name` is for `sql_content` alone: an archive has names of its own.")
    if given == "sql_content":
        file = _file_name(fields.get("file_name"))
        content = _content(fields["sql_content"])
        own = {"file": file} | ({DIGEST: digests.of(content.encode())} if digests else {})
        spec = {"submission_type": "SINGLE_FILE", "sql_content": content}
        return file, spec, (TaskOrder(file, own),)
    asked = own_path(fields[given], context)
    refuse_foreign(asked, context, what=f"`{given}`")
    if given == "zip_file_path":
        path, kind = _archive(asked, context), "ZIP_ARCHIVE"
    else:
        path, kind = folder_of(asked, context, what="`folder_path`"), "FOLDER"
    refuse_foreign(path, context, what=f"`{given}`")  # links have been followed now
    name = os.path.basename(path)
    looking = TaskOrder(
        f"unpack {name}"[:1000],
        {"unpack": path},
        within(_UNPACKING, context.largest),
        timeout_s=_UNPACKING_TIMEOUT_S,
    )
    archive = {"submission_type": kind, "readable_paths": [path], "cache": digests is not None}
    return name, archive, (looking,)


def _caches(fields: Mapping[str, Any], context: IntakeContext) -> bool:
    asked = fields.get("cache")
    if asked is not None and not isinstance(asked, bool):
        raise InvalidInput(f"`cache` must be true or false, not {asked!r:.80}.")
    return context.kinds.keeps_results and asked is not False


def _content(content: object) -> str:
    if not isinstance(content, str) or not content:
        raise InvalidInput(f"`sql_content` must be the text of an SQL file, not {content!r:.80}.")
    try:
        size_bytes = len(content.encode())
    except UnicodeEncodeError:
        raise InvalidInput("`sql_content` is no text: it has half of a surrogate pair.") from None
    if size_bytes > MOST_CONTENT_BYTES:
        raise InvalidInput(
            f"`sql_content` has {format_bytes(size_bytes)}, at most {format_bytes(MOST_CONTENT_BYTES)} are taken. Send it as "
            "a ZIP archive.",
            numbers={"asked": size_bytes, "limit": MOST_CONTENT_BYTES},
        )
    return content


def _file_name(name: object) -> str:
    if name is None:
        return STATEMENT_NAME
    if not isinstance(name, str) or not 0 < len(name) <= 1000 or not name.isprintable():
        raise InvalidInput("`file_name` must be 1 to 1000 printable characters.")
    return name


def _archive(path: object, context: IntakeContext) -> str:
    files = expand(path, context, what="`zip_file_path`", suffixes=_ARCHIVES)
    if len(files) != 1:
        raise InvalidInput(f"`zip_file_path` names {len(files)} files; name one archive.")
    return files[0].path


def _request(options: LintOptions, context: IntakeContext) -> Resources:
    """What linting one file asks for: by the largest that the options let through."""
    most = (
        DEFAULT_MAX_FILE_BYTES
        if options.max_file_bytes is None
        else options.max_file_bytes or MOST_FILE_BYTES
    )
    memory_bytes = min(max(_LEAST_MEMORY_BYTES, 64 * MIB + most * _MEMORY_PER_BYTE), _MOST_MEMORY_BYTES)
    return within(Resources(1000, memory_bytes, 16 * MIB), context.largest)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)[:200]
