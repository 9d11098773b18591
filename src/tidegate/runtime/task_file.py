"""Tasks that an attempt adds to its job, as a file: written in the sandbox, read by the worker, never whole in memory.

One JSON object a line: `name`, and if need be `spec`, `amounts` (milli-CPUs, bytes of memory, bytes of disk), `timeout_s`, and
`result` of what is known already.
Code of users may have written it, so nothing in it is believed before it is looked at.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from tidegate.core.job import DIGEST, TaskOrder
from tidegate.core.resources import Resources
from tidegate.errors import TidegateError

FILE_NAME = "tasks.jsonl"
"""In the attempt's staging folder."""
INPUT_FOLDER = "input_folder"
"""In a task's spec: what the task that added it has left behind, relative to the data directory."""
MOST_LINE_BYTES = 64 * 1024
MOST_BYTES = 64 * 1024 * 1024
LONGEST_NAME = 1000
LONGEST_TIMEOUT_S = 30 * 86400.0
_OWNED = frozenset(
    {"connect_ports", "readable_paths", "runnable_paths", "writable_paths", "target", INPUT_FOLDER}
)
"""What a task may not give to the next: what its sandbox may see is for the server to say."""
_FIELDS = frozenset({"name", "spec", "amounts", "timeout_s", "result"})
_DIGEST = re.compile(r"[0-9a-f]{64}")
_CHUNK_BYTES = 256 * 1024


class BadTasks(TidegateError):
    """What an attempt left as tasks to add is none."""

    code = "bad_tasks"


class TaskWriter:
    """The sandbox's side. The file is made with the first task."""

    def __init__(self, staging: str) -> None:
        self._path = f"{staging}/{FILE_NAME}"
        self._lines = bytearray()
        self._fd = -1

    def add(self, task: TaskOrder) -> None:
        """Raises ValueError or TypeError for what cannot be a task, OSError when it cannot be written."""
        line = _encode(task)
        if len(line) > MOST_LINE_BYTES:
            raise ValueError(
                f"Task {task.name[:60]!r} takes {len(line)} bytes, at most {MOST_LINE_BYTES} are taken."
            )
        self._lines += line
        if len(self._lines) >= _CHUNK_BYTES:
            self._flush()

    def close(self) -> None:
        """All that was added is in the file."""
        if self._lines:
            self._flush()
        if self._fd >= 0:
            os.close(self._fd)

    def _flush(self) -> None:
        if self._fd < 0:
            self._fd = os.open(
                self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
        rest = memoryview(self._lines)
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        rest.release()
        self._lines = bytearray()


class TaskFile(Collection[TaskOrder]):
    """The worker's side: the tasks of a file that may be gone from its folder meanwhile, read again each time.

    Any thread may read it, also several at once.
    """

    def __init__(self, path: str, input_folder: str | None = None) -> None:
        """Takes the file at `path` when all of it can be believed. `input_folder` is put into each spec.

        Raises BadTasks with what is wrong and where, FileNotFoundError when there is no file.
        """
        self._count = 0
        self._fd = -1
        self._input = {} if input_folder is None else {INPUT_FOLDER: input_folder}
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise BadTasks(f"The file of added tasks cannot be opened: {error.strerror}.") from None
        found = os.fstat(self._fd)
        if not stat.S_ISREG(found.st_mode):
            raise BadTasks("What was left as the file of added tasks is no plain file.")
        if found.st_size > MOST_BYTES:
            raise BadTasks(
                f"The added tasks take {found.st_size:,} bytes, at most {MOST_BYTES:,} are taken. Give them shorter specs."
            )
        self._count = sum(1 for _ in self)

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, task: object) -> bool:
        return any(task == each for each in self)

    def __iter__(self) -> Iterator[TaskOrder]:
        for number, line in enumerate(self._lines(), 1):
            yield _decode(line, number, self._input)

    def _lines(self) -> Iterator[bytes]:
        offset, unread = 0, b""
        while data := os.pread(self._fd, _CHUNK_BYTES, offset):
            offset += len(data)
            *lines, unread = (unread + data).split(b"\n")
            yield from lines
            if len(unread) > MOST_LINE_BYTES:
                break
        if unread:
            yield unread


def _encode(task: TaskOrder) -> bytes:
    if not 1 <= len(task.name) <= LONGEST_NAME:
        raise ValueError(f"A task's name is text of 1 to {LONGEST_NAME} characters, not {task.name!r:.60}.")
    if owned := _OWNED & task.spec.keys():
        raise ValueError(
            f"A task that is added cannot have {', '.join(sorted(owned))}: it has what its job has."
        )
    fields: dict[str, Any] = {"name": task.name}
    if task.spec:
        fields["spec"] = dict(task.spec)
    if task.resources is not None:
        asked = task.resources
        fields["amounts"] = [asked.cpu_milli, asked.memory_bytes, asked.disk_bytes]
    if task.timeout_s is not None:
        fields["timeout_s"] = task.timeout_s
    if task.result is not None:
        fields["result"] = dict(task.result)
    return json.dumps(fields, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _decode(line: bytes, number: int, own: Mapping[str, Any]) -> TaskOrder:
    try:
        if len(line) > MOST_LINE_BYTES:
            raise ValueError(f"longer than {MOST_LINE_BYTES} bytes")
        fields = json.loads(line)
        if not isinstance(fields, dict) or not fields.keys() <= _FIELDS:
            raise ValueError(f"not an object of {', '.join(sorted(_FIELDS))}")
        spec = {**_spec(fields), **own}
        return TaskOrder(_name(fields), spec, _amounts(fields), _timeout_s(fields), _result(fields))
    except (ValueError, RecursionError) as error:
        raise BadTasks(f"Line {number} of the added tasks cannot be taken: {error}.") from None


def _name(fields: Mapping[str, Any]) -> str:
    name = fields.get("name")
    if not isinstance(name, str) or not 1 <= len(name) <= LONGEST_NAME:
        raise ValueError(f"`name` must be text of 1 to {LONGEST_NAME} characters")
    name.encode()  # a half of a surrogate pair can be in no database
    return name


def _spec(fields: Mapping[str, Any]) -> dict[str, Any]:
    spec = fields.get("spec", {})
    if not isinstance(spec, dict):
        raise ValueError("`spec` must be an object")
    if owned := _OWNED & spec.keys():
        raise ValueError(f"its spec has {', '.join(sorted(owned))}, which only the server may give")
    digest = spec.get(DIGEST)
    if digest is not None and not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
        raise ValueError(f"`{DIGEST}` must be 64 hexadecimal digits")
    return spec


def _result(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    result = fields.get("result")
    if result is not None and not isinstance(result, dict):
        raise ValueError("`result` must be an object")
    return result


def _amounts(fields: Mapping[str, Any]) -> Resources | None:
    amounts = fields.get("amounts")
    if amounts is None:
        return None
    if not isinstance(amounts, list) or len(amounts) != 3:
        raise ValueError("`amounts` must be three numbers")
    if not all(type(amount) is int and 0 <= amount < 1 << 53 for amount in amounts):
        raise ValueError("`amounts` must be whole numbers from 0 on")
    return Resources(*amounts)


def _timeout_s(fields: Mapping[str, Any]) -> float | None:
    timeout_s = fields.get("timeout_s")
    if timeout_s is None:
        return None
    if type(timeout_s) not in (int, float) or not 0 < timeout_s <= LONGEST_TIMEOUT_S:
        raise ValueError(f"`timeout_s` must be above 0 and at most {LONGEST_TIMEOUT_S:g}")
    return float(timeout_s)
