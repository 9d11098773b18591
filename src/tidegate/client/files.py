"""Downloads and uploads: names, formats and lines, shared by both faces."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tidegate.errors import InvalidInput

CHUNK_BYTES = 256 * 1024
FORMATS = ("parquet", "csv", "jsonl", "arrow", "xlsx")
_BY_SUFFIX = {f".{name}": name for name in FORMATS} | {".ndjson": "jsonl", ".feather": "arrow"}


def format_of(path: str | os.PathLike[str], given: str | None) -> str:
    """The format of a download: as given, else by the file's ending. Raises InvalidInput when neither says."""
    chosen = given or _BY_SUFFIX.get(Path(path).suffix.lower())
    if chosen is None:
        raise InvalidInput(
            f"{Path(path).name!r} does not say its format: end it in {', '.join(_BY_SUFFIX)}, or give `format`."
        )
    return chosen


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file to write that appears under its name when it is whole, and not at all when writing it fails."""
    target = Path(path)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


class LineSplitter:
    """Cuts a stream of bytes into lines at line feeds only: text may hold other characters that end lines elsewhere."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []

    def feed(self, chunk: bytes) -> list[str]:
        """The lines that this chunk completes."""
        *lines, rest = chunk.split(b"\n")
        if lines:
            lines[0] = b"".join([*self._rest, lines[0]])
            self._rest = []
        if rest:
            self._rest.append(rest)
        return [line.decode("utf-8") for line in lines if line.strip()]

    def flush(self) -> list[str]:
        """The last line, when no line feed ended it."""
        rest, self._rest = b"".join(self._rest), []
        return [rest.decode("utf-8")] if rest.strip() else []


def file_to_upload(path: str | os.PathLike[str]) -> tuple[Path, int]:
    """The file and its size in bytes. Raises InvalidInput when there is no such file."""
    file = Path(path).expanduser()
    try:
        size_bytes = file.stat().st_size
    except OSError as error:
        raise InvalidInput(f"{str(file)!r} cannot be uploaded: {error.strerror}.") from None
    if not file.is_file():
        raise InvalidInput(f"{str(file)!r} cannot be uploaded: it is not a file.")
    return file, size_bytes
