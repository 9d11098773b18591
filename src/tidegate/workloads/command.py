"""The kind `command`: a program with its arguments, run in a private folder and confined to it.

This half lives in the server: it judges a submission. The program is started by `command_run`, inside the sandbox.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from tidegate.core.resources import GIB, MIB, Resources
from tidegate.errors import InvalidInput
from tidegate.ports import IntakeContext, WorkOrder
from tidegate.workloads.sql import within

DEFAULT_REQUEST = Resources(cpu_milli=1000, memory_bytes=512 * MIB, disk_bytes=GIB)
MOST_ARGUMENTS = 10_000
MAX_ARGUMENT_BYTES = 128 * 1024 - 1
"""Linux takes no longer one (MAX_ARG_STRLEN, with its NUL)."""
MAX_ARGV_BYTES = MIB
MOST_VARIABLES = 1000
MAX_ENV_BYTES = 256 * 1024
MAX_STDIN_BYTES = MIB
MOST_FILES = 100
MAX_FILES_BYTES = MIB
MOST_PATHS = 1000

SYSTEM_FILES = (
    "/etc/alternatives", "/etc/group", "/etc/magic", "/etc/mime.types", "/etc/nsswitch.conf", "/etc/passwd",
    "/etc/ssl/certs", "/etc/terminfo", "/proc/cpuinfo", "/proc/filesystems", "/proc/loadavg", "/proc/meminfo",
    "/proc/stat", "/proc/uptime", "/proc/version", "/sys/devices/system/cpu", "/sys/devices/system/node",
)  # fmt: skip
"""What common programs read beside themselves and their libraries. None of it tells of other jobs or of the service."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_OWN_PREFIX = "TIDEGATE_"


class CommandWorkload:
    """Judges submissions of kind `command`."""

    kind = "command"
    fields = frozenset({"argv", "env", "cwd", "stdin", "files", "readable_paths", "writable_paths"})
    runner = "tidegate.workloads.command_run:run"

    def order(self, fields: Mapping[str, Any], context: IntakeContext) -> WorkOrder:
        """Raises InvalidInput for a bad field, and for every command where commands are off."""
        if not context.kinds.commands:
            raise InvalidInput(
                "Commands are off on this server. Whoever runs it can turn them on: TIDEGATE_ENABLE_COMMANDS=1, or "
                "`enable_commands` in its settings.",
                code="commands_off",
            )
        argv = _checked_argv(fields.get("argv"))
        cwd = _checked_cwd(fields.get("cwd"), context)
        runnable = _checked_paths(fields, "readable_paths", context)
        if cwd is not None and os.path.isabs(cwd):
            runnable.append(cwd)
        return WorkOrder(
            name=_name(argv),
            spec={
                "argv": argv,
                "env": _checked_env(fields.get("env")),
                "cwd": cwd,
                "stdin": _checked_stdin(fields.get("stdin")),
                "files": _checked_files(fields.get("files")),
                "readable_paths": list(SYSTEM_FILES),
                "runnable_paths": sorted(set(runnable)),
                "writable_paths": _checked_paths(fields, "writable_paths", context),
            },
            request=within(DEFAULT_REQUEST, context.largest),
            timeout_s=0.0,
        )


def _name(argv: list[str]) -> str:
    """The command as it would be typed, on one line."""
    text = shlex.join(argv[:20])
    text = "".join(char if char.isprintable() else " " for char in text).strip()
    return text if len(text) <= 80 else text[:79] + "…"


def _checked_argv(argv: object) -> list[str]:
    if not isinstance(argv, list) or not argv:
        raise InvalidInput(
            '`argv` must be a list of texts, the program first, such as ["./simulate.sh", "--n", "4"].',
            code="argv_missing",
        )
    if len(argv) > MOST_ARGUMENTS:
        raise _too_much("`argv` has {asked} arguments, at most {limit} are taken.", len(argv), MOST_ARGUMENTS)
    sizes = [len(_encoded(argument, f"argv[{place}]")) for place, argument in enumerate(argv)]
    if max(sizes) > MAX_ARGUMENT_BYTES:
        raise _too_much(
            "An argument of `argv` has {asked} bytes, at most {limit} are taken. Send it by `stdin` or `files`.",
            max(sizes),
            MAX_ARGUMENT_BYTES,
        )
    if sum(sizes) > MAX_ARGV_BYTES:
        raise _too_much(
            "`argv` has {asked} bytes, at most {limit} are taken. Send data by `stdin` or `files`.",
            sum(sizes),
            MAX_ARGV_BYTES,
        )
    if not argv[0].strip():
        raise InvalidInput(
            "`argv` must begin with the program; its first text is empty.", code="argv_missing"
        )
    return [str(argument) for argument in argv]


def _too_much(message: str, asked: int, limit: int) -> InvalidInput:
    return InvalidInput(
        message.format(asked=asked, limit=limit), code="too_long", numbers={"asked": asked, "limit": limit}
    )


def _encoded(text: object, name: str) -> bytes:
    """The bytes of a text that a program can be given."""
    if not isinstance(text, str):
        raise InvalidInput(f"`{name}` must be a text, not {text!r:.80}.")
    if "\0" in text:
        raise InvalidInput(f"`{name}` must not hold a NUL character.")
    return text.encode("utf-8", "surrogatepass")


def _checked_env(env: object) -> dict[str, str]:
    if env is None:
        return {}
    if not isinstance(env, Mapping) or len(env) > MOST_VARIABLES:
        raise InvalidInput(
            f'`env` must be an object of at most {MOST_VARIABLES} names and texts, such as {{"SEED": "7"}}.'
        )
    size = 0
    for name, value in env.items():
        if not _VARIABLE.fullmatch(str(name)):
            raise InvalidInput(
                f"`env`: {name!r:.80} is no name of a variable: letters, digits and underscores, no digit first."
            )
        if name.startswith(_OWN_PREFIX):
            raise InvalidInput(
                f"`env`: names that begin with {_OWN_PREFIX} are the service's own, as {name!r:.80}."
            )
        size += len(name) + len(_encoded(value, f"env.{name}")) + 2
    if size > MAX_ENV_BYTES:
        raise _too_much("`env` has {asked} bytes, at most {limit} are taken.", size, MAX_ENV_BYTES)
    return dict(env)


def _checked_stdin(stdin: object) -> str | None:
    if stdin is None:
        return None
    if not isinstance(stdin, str):
        raise InvalidInput(f"`stdin` must be a text, not {stdin!r:.80}.")
    size = len(stdin.encode("utf-8", "surrogatepass"))
    if size > MAX_STDIN_BYTES:
        raise _too_much("`stdin` has {asked} bytes, at most {limit} are taken.", size, MAX_STDIN_BYTES)
    return stdin


def _checked_files(files: object) -> dict[str, str]:
    """Contents as base64 by name."""
    if files is None:
        return {}
    if not isinstance(files, Mapping) or len(files) > MOST_FILES:
        raise InvalidInput(
            f'`files` must be an object of at most {MOST_FILES} names and contents: a text, or {{"base64": "..."}}.'
        )
    contents = {_checked_name(name): _content(name, value) for name, value in files.items()}
    size = sum(map(len, contents.values()))
    if size > MAX_FILES_BYTES:
        raise _too_much(
            "`files` have {asked} bytes together, at most {limit} are taken. Put large ones where the server can read "
            "them, and name them in `readable_paths`.",
            size,
            MAX_FILES_BYTES,
        )
    return {name: base64.b64encode(content).decode() for name, content in contents.items()}


def _content(name: object, value: object) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, Mapping) and set(value) == {"base64"} and isinstance(value["base64"], str):
        try:
            return base64.b64decode(value["base64"], validate=True)
        except (binascii.Error, ValueError):
            raise InvalidInput(f"`files`: the content of {name!r:.80} is no base64.") from None
    raise InvalidInput(f'`files`: the content of {name!r:.80} must be a text or {{"base64": "..."}}.')


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not _stays_inside(name) or len(name) > 500:
        raise InvalidInput(
            f"`files`: {name!r:.80} must be a path below the job's own folder, of at most 500 characters, without '..'."
        )
    return str(PurePosixPath(name))


def _stays_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts and path.isprintable()


def _checked_cwd(cwd: object, context: IntakeContext) -> str | None:
    """None: the job's own folder; relative: a folder in it; absolute: where the settings allow it."""
    if cwd is None:
        return None
    if isinstance(cwd, str) and cwd and not os.path.isabs(cwd):
        if cwd == "." or _stays_inside(cwd):
            return cwd
        raise InvalidInput(
            f"`cwd` {cwd!r:.80} must stay inside the job's own folder, or be an absolute path."
        )
    roots = (*context.kinds.readable_roots, *context.kinds.writable_roots)
    return _allowed(cwd, "cwd", "command_readable_roots", roots, context)


def _checked_paths(fields: Mapping[str, Any], name: str, context: IntakeContext) -> list[str]:
    paths = fields.get(name)
    if paths is None:
        return []
    if not isinstance(paths, list) or len(paths) > MOST_PATHS:
        raise InvalidInput(f"`{name}` must be a list of at most {MOST_PATHS} absolute paths.")
    rules = context.kinds
    roots = rules.writable_roots
    if name == "readable_paths":
        roots = (*rules.readable_roots, *roots)
    return [
        _allowed(path, name, f"command_{name.removesuffix('_paths')}_roots", roots, context) for path in paths
    ]


def _allowed(path: object, name: str, setting: str, roots: tuple[str, ...], context: IntakeContext) -> str:
    """The real path, if it lies below one of the roots and has nothing to do with the data directory."""
    if not isinstance(path, str) or not os.path.isabs(path) or "\0" in path or len(path) > 4096:
        raise InvalidInput(f"`{name}` must be an absolute path of at most 4096 characters, not {path!r:.80}.")
    context.before_look()
    real = os.path.realpath(path)
    if not any(_is_in(real, root) for root in roots):
        raise InvalidInput(
            f"`{name}`: {path!r:.200} is outside the folders of the setting `{setting}`. Add its folder there, or send "
            "small files along by `files`.",
            code="path_outside",
        )
    data_dir = os.path.realpath(context.data_dir)
    if _is_in(real, data_dir) or _is_in(data_dir, real):
        raise InvalidInput(
            f"`{name}`: {path!r:.200} has the service's own data in it, or lies among them.",
            code="path_outside",
        )
    return real


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
