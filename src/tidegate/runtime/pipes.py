"""The keeper's ends of the two pipes from an attempt: its report, and what it prints."""

from __future__ import annotations

import json
import os
from collections import deque
from typing import Any, NamedTuple

from tidegate.runtime.reporter import LOG_MARK, MAX_RESULT_BYTES

_CHUNK_BYTES = 65536
_MAX_UNREAD_BYTES = MAX_RESULT_BYTES + _CHUNK_BYTES
MAX_LOG_BYTES = 10 * 1024 * 1024
"""What is kept of the beginning of an attempt's output."""
LOG_END_BYTES = 64 * 1024
"""And of its end, when it is longer; what lies between is read and thrown away."""
_LOG_CUT = "\n[tidegate: {} bytes left out here; of output beyond {} MiB only the end is kept]\n"
_LOG_BROKEN = "\n[tidegate: {} bytes left out here, since the log could not be written: {}]\n"


class _Pipe:
    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)

    def close_writer(self) -> None:
        os.close(self.writer)
        self.writer = -1

    def close(self) -> None:
        os.close(self.reader)
        if self.writer >= 0:
            os.close(self.writer)

    def read(self) -> bool:
        """Take in what is there now; false at the end of the stream."""
        try:
            data = os.read(self.reader, _CHUNK_BYTES)
        except BlockingIOError:
            return True
        self._take(data)
        return bool(data)

    def drain(self) -> None:
        """Take in all that is left when nobody writes any more, at most a pipe full of it (64 KiB unless raised to 1 MiB)."""
        if self.writer >= 0:
            self.close_writer()
        for _ in range(2 * MAX_RESULT_BYTES // _CHUNK_BYTES):
            try:
                data = os.read(self.reader, _CHUNK_BYTES)
            except BlockingIOError:
                return
            if not data:
                return
            self._take(data)

    def _take(self, data: bytes) -> None:
        raise NotImplementedError


class Passed(NamedTuple):
    """How one of a batch ended, and what it used, when the next one follows in the same process."""

    result: dict[str, Any] | None
    error: dict[str, Any] | None
    peak_memory_bytes: int
    cpu_s: float


class ReportPipe(_Pipe):
    """JSON lines from the child. What is no such line, or too long, ends the report as an error: the job wrote into it."""

    def __init__(self) -> None:
        super().__init__()
        self._unread = bytearray()
        self._progress_changed = False
        self.progress: float | None = None
        self.result: dict[str, Any] | None = None
        self.error: dict[str, Any] | None = None
        self.peak_memory_bytes = 0
        """What the child saw of its own highest memory, at its end."""
        self.passed: deque[Passed] = deque()
        """Reports after which the process goes on with the next one of its batch, until somebody takes them."""

    @property
    def finished(self) -> bool:
        return self.result is not None or self.error is not None

    def progress_changed(self) -> bool:
        """Whether there is a new progress since this was last asked."""
        changed, self._progress_changed = self._progress_changed, False
        return changed

    def _take(self, data: bytes) -> None:
        self._unread += data
        while b"\n" in self._unread and not self.finished:
            line, _, rest = self._unread.partition(b"\n")
            self._unread = bytearray(rest)
            self._understand(bytes(line))
        if len(self._unread) > _MAX_UNREAD_BYTES or self.finished:
            self._unread.clear()

    def _understand(self, line: bytes) -> None:
        try:
            self._accept(json.loads(line))
        except (ValueError, KeyError, TypeError):
            self.error = {
                "code": "broken_report",
                "message": "The job disturbed its own report to the sandbox.",
            }

    def _accept(self, message: dict[str, Any]) -> None:
        if "progress" in message:
            self.progress = float(message["progress"])
            self._progress_changed = True
            return
        self.peak_memory_bytes = int(message["peak_memory_bytes"])
        result = dict(message["result"]) if "result" in message else None
        error = None if result is not None else dict(message["error"])
        if "cpu_s" in message:
            self.passed.append(Passed(result, error, self.peak_memory_bytes, float(message["cpu_s"])))
            self.progress = None
        else:
            self.result, self.error = result, error


class _Log:
    """A file that is made with the first byte, with the beginning and the end of what comes."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._fault: OSError | None = None
        self._end = bytearray()
        self._left_out_bytes = 0
        self.written_bytes = 0

    def take(self, data: bytes) -> None:
        room = MAX_LOG_BYTES - self.written_bytes if self._fault is None else 0
        written = self._write(data[:room]) if room > 0 else 0
        self._end += data[written:]
        surplus = len(self._end) - LOG_END_BYTES
        if surplus > 0:
            del self._end[:surplus]
            self._left_out_bytes += surplus

    def _write(self, data: bytes) -> int:
        """How much of it is written; what stood in the way is kept as the fault."""
        written = 0
        try:
            if self._fd < 0 and data:
                os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
                self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError as fault:  # a full disk, or something in the way: no reason to end the job
            self._fault = fault
        self.written_bytes += written
        return written

    def close(self) -> None:
        """Write the end, behind the note where something is missing. Where that fails too, the log ends as it is."""
        if self._fault is not None:
            self._write(_LOG_BROKEN.format(self._left_out_bytes, self._fault.strerror).encode())
        elif self._left_out_bytes:
            self._write(_LOG_CUT.format(self._left_out_bytes, MAX_LOG_BYTES >> 20).encode())
        self._write(bytes(self._end))
        if self._fd >= 0:
            os.close(self._fd)


class LogPipe(_Pipe):
    """Standard output and error, into a file that is made with the first byte.

    The file only ever grows, so that it can be followed while it is written. What comes after `MAX_LOG_BYTES` is thrown away
    but for its end, which is written at the close behind a note of how much is missing. The same goes for what comes after a
    write has failed, as on a full disk: the attempt goes on, and the note says why the log is cut.
    """

    def __init__(self) -> None:
        super().__init__()
        self._logs: deque[_Log] = deque()
        self._alone = True
        self._unsure = b""
        """What may be the beginning of a mark."""
        self._ended: deque[int] = deque()

    def write_to(self, *paths: str) -> None:
        """Before anything is read. Of a batch each has a file; `LOG_MARK` says that what follows belongs into the next one."""
        self._logs.extend(map(_Log, paths))
        self._alone = len(paths) == 1

    @property
    def written_bytes(self) -> int:
        return self._logs[0].written_bytes

    def _take(self, data: bytes) -> None:
        if self._alone:
            self._logs[0].take(data)
            return
        data = self._unsure + data
        while LOG_MARK in data and len(self._logs) > 1:
            own, _, data = data.partition(LOG_MARK)
            self._end_log(own)
        sure = len(data) - _begun_mark(data)
        self._logs[0].take(data[:sure])
        self._unsure = data[sure:]

    def _end_log(self, rest: bytes) -> None:
        log = self._logs.popleft()
        log.take(rest)
        log.close()
        self._ended.append(log.written_bytes)

    def ended(self) -> int:
        """How many bytes the file of the next one has that has ended, whose mark has been written."""
        self.drain()
        return self._ended.popleft() if self._ended else 0

    def close(self) -> None:
        super().close()
        if self._logs:
            self._logs[0].take(self._unsure)
            self._logs[0].close()


def _begun_mark(data: bytes) -> int:
    """How many bytes at the end may be the beginning of a mark."""
    longest = min(len(data), len(LOG_MARK) - 1)
    return next((length for length in range(longest, 0, -1) if data.endswith(LOG_MARK[:length])), 0)
