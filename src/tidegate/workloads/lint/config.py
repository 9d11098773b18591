"""Configuration of the linter from files that nobody vouches for.

SQLFluff's settings can name a Python package to load (`library_path`), files to read (`load_macros_from_path`,
`loader_search_path`) and templaters that run code (`python`, `dbt`), also in a comment of the SQL itself
(`-- sqlfluff:templater:jinja:library_path:...`). Whatever can is taken out here and told of; the rest is kept as it is.
"""

from __future__ import annotations

import configparser
import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from sqlfluff.core import FluffConfig
from sqlfluff.core.config.ini import load_ini_string
from sqlfluff.core.dialects import dialect_readout
from sqlfluff.core.errors import SQLFluffUserError
from sqlfluff.core.helpers.dict import nested_combine

from tidegate.workloads.errors import TaskError
from tidegate.workloads.lint.options import TEMPLATERS, LintOptions

CONFIG_NAME = ".sqlfluff"
_UNSAFE_WORDS = ("path", "_dir", "library", "dbt", "plugin")
"""Parts of keys that name files or code: SQLFluff's end in `path` or `dir` (its RESOLVE_PATH_SUFFIXES), or load plugins."""
_OURS = frozenset({"processes", "verbose", "color", "nocolor", "encoding", "recursion_limit", "library_path"})
"""Settings of the command line, and those that this program decides."""
_RUST_PARSER: dict[str, Any] = {"use_rust_parser": "auto", "use_rust_rules": False}
"""The parser in Rust gives the same answer as the one in Python in half the time. The rules in Rust do not: CP01 describes its
violations in other words (SQLFluff 4.5)."""
_PYTHON_PARSER: dict[str, Any] = {"use_rust_parser": False, "use_rust_rules": False}


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A `.sqlfluff` file: the folder of the archive it stands in, empty for the top, and its text."""

    folder: str
    text: str


@dataclass(frozen=True, slots=True)
class Configured:
    """A configuration to lint with, and what was left out of the files it came from."""

    config: FluffConfig
    notes: tuple[str, ...]


def build(options: LintOptions, files: Sequence[ConfigFile] = (), *, fast: bool = True) -> Configured:
    """The configuration of a directory: the job's own `.sqlfluff`, then those on the way to it, then the job's options.

    Raises TaskError `bad_lint_config`, `unknown_dialect`, `unknown_rule`.
    """
    notes: list[str] = []
    combined: dict[str, Any] = {}
    for file in (ConfigFile("", options.config), *files):
        combined = nested_combine(combined, _safe(_parsed(file.text), file.folder, notes))
    context = {
        "templater": {"jinja": {"context": dict(options.context)}, "placeholder": dict(options.context)}
    }
    if options.context:
        combined = nested_combine(combined, context)
    core = combined.setdefault("core", {})
    core.setdefault("dialect", "ansi")
    try:
        config = FluffConfig(
            configs=combined, overrides={**_overrides(options), **(_RUST_PARSER if fast else _PYTHON_PARSER)}
        )
    except (SQLFluffUserError, KeyError, ValueError, AssertionError) as error:
        if "unknown dialect" in str(error).lower():
            asked = str(options.dialect or core["dialect"])
            near = difflib.get_close_matches(asked, [known.label for known in dialect_readout()], n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise TaskError(
                f"SQLFluff has no dialect {asked!r:.80}.{hint}", code="unknown_dialect"
            ) from error
        code = "unknown_dialect" if "dialect" in str(error).lower() else "bad_lint_config"
        raise TaskError(
            f"The configuration of the linter is wrong: {_first_line(error)}.", code=code
        ) from error
    return Configured(config, tuple(notes))


def on_the_way(name: str, configs: Mapping[str, ConfigFile]) -> tuple[ConfigFile, ...]:
    """Those of the `.sqlfluff` files, by their folders, that hold for a file of an archive, the outermost first."""
    folders = ["" if str(folder) == "." else str(folder) for folder in reversed(PurePosixPath(name).parents)]
    return tuple(configs[folder] for folder in folders if folder in configs)


def inline(text: str, notes: list[str]) -> str:
    """The text with the comments that would set something unsafe put out of force, each line as long as before."""
    if "sqlfluff:" not in text:
        return text
    return "".join(_harmless(line, notes) for line in text.splitlines(keepends=True))


def _harmless(line: str, notes: list[str]) -> str:
    """SQLFluff looks for comments at the very start of a line, in any text that Python calls a line."""
    if not line.startswith(("-- sqlfluff", "--sqlfluff")):
        return line
    keys = [key.strip() for key in line.lstrip("- ").lower().split(":")[1:-1]]
    if not keys or not _is_unsafe(tuple(keys)):
        return line
    notes.append(f"The comment that sets {':'.join(keys)} was not followed: it could read files or run code.")
    return line.replace("sqlfluff", "SQLFLUFF", 1)


def _is_unsafe(keys: tuple[str, ...]) -> bool:
    if keys[0] == "core":
        keys = keys[1:]
    if keys[:3] == ("templater", "jinja", "context") or (
        keys[0] == "templater" and keys[-1] == "param_style"
    ):
        return False
    return (
        keys == ("templater",)
        or keys[-1] in _OURS
        or any(word in key for key in keys for word in _UNSAFE_WORDS)
    )


def _parsed(text: str) -> dict[str, Any]:
    try:
        return dict(load_ini_string(text))
    except (configparser.Error, ValueError) as error:
        raise TaskError(
            f"The {CONFIG_NAME} file cannot be read: {_first_line(error)}.", code="bad_lint_config"
        ) from error


def _safe(config: Mapping[str, Any], folder: str, notes: list[str]) -> dict[str, Any]:
    """What is kept of a file's settings. The templater is one for all: SQLFluff too takes it from the top alone."""
    kept: dict[str, Any] = {}
    for keys, value in _leaves(config):
        if keys == ("core", "templater") and value in TEMPLATERS and not folder:
            pass
        elif _is_unsafe(tuple(key.lower() for key in keys)):
            notes.append(
                f"The setting {'.'.join(keys)} of a {CONFIG_NAME} file was left out: it is not taken from files."
            )
            continue
        inner = kept
        for key in keys[:-1]:
            inner = inner.setdefault(key, {})
        inner[keys[-1]] = value
    return kept


def _leaves(config: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value


def _overrides(options: LintOptions) -> dict[str, Any]:
    chosen: dict[str, Any] = {"disable_noqa": True} if options.disable_noqa else {}
    for name in ("dialect", "templater", "max_file_bytes"):
        value = getattr(options, name)
        if value is not None:
            chosen["large_file_skip_byte_limit" if name == "max_file_bytes" else name] = value
    for name in ("rules", "exclude_rules"):
        if getattr(options, name):
            chosen[name] = ",".join(getattr(options, name))
    return chosen


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
