"""Which files a path, a glob or a folder names, and whether they may be read.

A path is relative to the data directory unless it is absolute. Allowed are files in the data directory, but
for what Tidegate itself keeps there, and in the folders of the setting `source_roots`. Links are followed
before that is judged.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tidegate.errors import InvalidInput
from tidegate.ports import IntakeContext

MAX_FILES = 10_000
"""Most files of one source; each is a rule of the sandbox and a path in the task's order."""
_MAX_SEEN = 200_000
_OWN_FILES = (
    "tidegate.db",
    "tidegate.db-wal",
    "tidegate.db-shm",
    "tidegate.db-journal",
    "server.json",
    "lock",
)
_OWN_FOLDERS = ("attempts", "logs")

SUFFIXES = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".psv": "csv",
    ".parquet": "parquet", ".pq": "parquet",
    ".json": "json", ".jsonl": "json", ".ndjson": "json",
}  # fmt: skip
"""File name endings and their format. Behind those of csv and json `.gz` or `.zst` may stand."""
FORMATS = ("csv", "parquet", "json")
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
_CONVERTED = {
    ".xlsx": "excel", ".xlsm": "excel", ".xls": "excel", ".xlsb": "excel", ".ods": "excel",
    ".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow",
}  # fmt: skip
CONVERTED = ("excel", "arrow")
"""Formats of files that become Parquet when they are registered."""


class DataFile(NamedTuple):
    """A file to read: its real path and its size."""

    path: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Roots:
    """Where sources may lie, as real paths. `data_dir` comes first and has folders that are nobody's to
    read.
    """

    data_dir: str
    others: tuple[str, ...] = ()

    @classmethod
    def of(cls, context: IntakeContext, more: Sequence[str] = ()) -> Roots:
        """Those of the settings, and `more` real paths."""
        others = (*(os.path.realpath(root) for root in context.source_roots), *more)
        return cls(os.path.realpath(context.data_dir), others)

    def allow(self, real_path: str) -> bool:
        """Whether a real path (links followed) may be read."""
        if _is_below(real_path, self.data_dir):
            first = os.path.relpath(real_path, self.data_dir).split(os.sep)[0]
            return first not in _OWN_FOLDERS and first not in _OWN_FILES
        return any(_is_below(real_path, root) for root in self.others)


def expand(
    path: object,
    context: IntakeContext,
    *,
    what: str = "path",
    kind: str | None = None,
    roots: Sequence[str] = (),
    suffixes: Mapping[str, str] = SUFFIXES,
) -> list[DataFile]:
    """The files that `path` names, in order of name, each looked up and allowed.

    A folder stands for all files below it with an ending of the format `kind`, or any of `suffixes`. Raises
    InvalidInput when nothing is there, when a file may not be read, or when there are more than 10,000.
    `what` begins the message: `path`, or `The file of source 'x'`. `roots` are real paths of folders that may
    be read besides those of the settings.
    """
    context.before_look()
    pattern = _absolute(path, context, what)
    allowed = Roots.of(context, roots)
    _check_beginning(pattern, path, allowed, what)
    found: list[DataFile] = []
    for name in _matches(pattern, kind, suffixes, context.before_look):
        context.before_look()
        real = os.path.realpath(name)
        if not allowed.allow(real):
            raise _outside(path, what)
        if len(found) >= MAX_FILES:
            raise InvalidInput(
                f"{what} {_show(path)} names more than {MAX_FILES} files. Name fewer, or make larger files first.",
                numbers={"limit": MAX_FILES},
            )
        _refuse_no_text(real, path, what)
        found.append(DataFile(real, os.stat(real).st_size))
    if not found:
        raise InvalidInput(
            f"{what} {_show(path)} names no file. Check its spelling; relative paths start in the data directory.",
            code="missing_file",
        )
    return found


def folder_of(path: object, context: IntakeContext, *, what: str = "path") -> str:
    """The real path of the folder that `path` names, when all below it may be read. Raises InvalidInput."""
    context.before_look()
    wanted = _absolute(path, context, what)
    roots = Roots.of(context)
    real = os.path.realpath(wanted)
    if not roots.allow(real) and real not in roots.others:
        raise _outside(path, what)
    if not os.path.isdir(real):
        raise InvalidInput(f"{what} {_show(path)} names no folder.", code="missing_file")
    _refuse_no_text(real, path, what)
    return real


def roots_of(files: Iterable[DataFile], context: IntakeContext) -> list[str]:
    """The folders of `source_roots`, as real paths, in which files lie that are not in the data directory."""
    roots = Roots.of(context)
    outside = [file.path for file in files if not _is_below(file.path, roots.data_dir)]
    return sorted(root for root in {*roots.others} if any(_is_below(path, root) for path in outside))


def own_path(name: object, context: IntakeContext) -> object:
    """Relative paths of those who see only their own start in their own folder, unless they name it themselves."""
    if not context.own_folder or not isinstance(name, str) or os.path.isabs(name):
        return name
    inside = os.path.relpath(context.own_folder, context.data_dir)
    return name if name.startswith(f"{inside}/") else f"{inside}/{name}"


def refuse_foreign(path: object, context: IntakeContext, *, what: str = "path") -> None:
    """Of the data directory an owner who sees only what is its own may use only its own uploads.

    By the text of the path, and before anything is looked up, so that the answer does not tell what is there.
    """
    if not context.own_folder or not isinstance(path, str):
        return
    data_dir = os.path.realpath(context.data_dir)
    asked = os.path.normpath(os.path.join(data_dir, path))
    inside = os.path.commonpath([data_dir, asked]) == data_dir
    own = os.path.realpath(context.own_folder)
    if inside and os.path.commonpath([own, asked]) != own:
        raise InvalidInput(
            f"{what} {path!r:.200} is outside the folder of your uploads and those of the setting `source_roots`. "
            "Upload the file.",
            code="path_outside",
        )


def format_of(paths: Sequence[str], given: object = None) -> str:
    """The format of files: `given` when it is a known one, else by the first ending. Raises InvalidInput."""
    if given is not None:
        aliases = {"tsv": "csv", "jsonl": "json", "ndjson": "json", "xlsx": "excel", "feather": "arrow"}
        chosen = aliases.get(str(given).lower(), str(given).lower())
        if chosen not in FORMATS + CONVERTED:
            raise InvalidInput(
                f"format must be one of csv, tsv, parquet, json, jsonl, ndjson, excel, arrow, not {_show(given)}."
            )
        return chosen
    endings = sorted({_endings(path)[0] for path in paths})
    ending = endings[0]
    known = SUFFIXES | _CONVERTED
    if ending not in known:
        raise InvalidInput(
            f"The format of {os.path.basename(paths[0])!r} is not known by its ending. "
            "Tidegate reads CSV, Parquet, JSON, Excel and Arrow; say which with `format`."
        )
    formats = {known.get(other) for other in endings}
    if len(formats) > 1:
        raise InvalidInput(
            f"The files have endings of several formats ({', '.join(endings)}). Say which to read with `format`."
        )
    return known[ending]


def compression_of(path: str) -> str | None:
    """`gzip` or `zstd` by the last ending, else None."""
    return _endings(path)[1]


def _endings(path: str) -> tuple[str, str | None]:
    base, last = os.path.splitext(os.path.basename(path).lower())
    if last in _COMPRESSIONS:
        return os.path.splitext(base)[1], _COMPRESSIONS[last]
    return last, None


def _absolute(path: object, context: IntakeContext, what: str) -> str:
    if not isinstance(path, str) or not path.strip() or len(path) > 4096:
        raise InvalidInput(f"{what} must be a path of 1 to 4096 characters, not {_show(path)}.")
    if "\0" in path:
        raise InvalidInput(f"{what} must not hold a NUL character.")
    if ".." in Path(path).parts:
        raise InvalidInput(f"{what} must not hold '..': {_show(path)}. Name the folder itself.")
    if "://" in path:
        raise InvalidInput(
            f"{what} must be a file of this machine, not {_show(path)}. Upload the data instead."
        )
    return os.path.join(os.path.realpath(context.data_dir), path)


def _check_beginning(pattern: str, path: object, roots: Roots, what: str) -> None:
    """Refuse before looking, so that the answer does not tell what exists outside."""
    fixed = pattern
    while glob.has_magic(fixed) and not os.path.lexists(fixed):
        fixed = os.path.dirname(fixed)
    real = os.path.realpath(fixed)
    inside = (roots.data_dir, *roots.others)
    if not roots.allow(real) and real not in inside:
        raise _outside(path, what)


def _matches(
    pattern: str, kind: str | None, suffixes: Mapping[str, str], before_look: Callable[[], None]
) -> Iterator[str]:
    if os.path.isdir(pattern):
        names: Iterable[str] = _below(pattern, kind, suffixes)
    elif os.path.lexists(pattern) or not glob.has_magic(pattern):
        names = [pattern]
    else:
        names = glob.iglob(pattern, recursive=True)
    seen: list[str] = []
    for name in names:
        before_look()
        if len(seen) >= _MAX_SEEN:
            break
        if os.path.isfile(name):
            seen.append(name)
    yield from sorted(seen)


def _below(folder: str, kind: str | None, suffixes: Mapping[str, str]) -> Iterator[str]:
    for at, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        yield from (os.path.join(at, name) for name in sorted(names) if _is_data(name, kind, suffixes))


def _is_data(name: str, kind: str | None, suffixes: Mapping[str, str]) -> bool:
    found = suffixes.get(_endings(name)[0])
    return not name.startswith((".", "_")) and found is not None and kind in (None, found)


def _refuse_no_text(real: str, path: object, what: str) -> None:
    """Neither JSON nor DuckDB can hold a name that is no text."""
    try:
        real.encode()
    except UnicodeEncodeError:
        raise InvalidInput(
            f"{what} {_show(path)} names the file {os.fsencode(os.path.basename(real))!r}, whose name or folder is not "
            "UTF-8. Rename it, or name the other files without it.",
            code="bad_file_name",
        ) from None


def _outside(path: object, what: str) -> InvalidInput:
    return InvalidInput(
        f"{what} {_show(path)} is outside the folders that may be read: the data directory (its `files` and `results`) "
        "and those of the setting `source_roots`. Upload the file, or add its folder to `source_roots`.",
        code="path_outside",
    )


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip(os.sep) + os.sep)


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "..."
