"""From an attempt's private staging to a place where others may read it.

A result becomes visible by the store's commit of the row that names it, never by its file. So the file is put under a name
that only this attempt uses, before that commit; when the commit does not come, nothing refers to the file and the janitor
removes it.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import IO

from tidegate.core.job import AttemptKey
from tidegate.errors import TidegateError

_PARQUET_MAGIC = b"PAR1"
_SMALLEST_PARQUET_BYTES = 12
KEPT_LOG_BYTES = 1024 * 1024


class PublishError(TidegateError):
    """What the attempt left in staging is not the result it claimed."""

    code = "bad_result"


class DataFolders:
    """The places below the data directory. `open()` makes them, private to this user."""

    def __init__(self, data_dir: Path) -> None:
        self.root = data_dir
        self.files = data_dir / "files"
        self.results = data_dir / "results"
        self.attempts = data_dir / "attempts"
        self.logs = data_dir / "logs"

    def open(self) -> None:
        for folder in (self.root, self.files, self.results, self.attempts, self.logs):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def attempt(self, key: AttemptKey) -> Path:
        return self.attempts / str(key)

    def log(self, key: AttemptKey) -> Path:
        return self.logs / str(key.job_id) / f"{key.number}.{key.attempt}.log"

    def result(self, key: AttemptKey, file: str) -> Path:
        stem, dot, suffix = file.rpartition(".")
        return self.results / (f"{stem}-{key}{dot}{suffix}" if dot else f"{file}-{key}")


def publish_file(folders: DataFolders, key: AttemptKey, file: str) -> Path:
    """Move one file from the attempt's staging to its final, attempt-specific name; the path there.

    The sandbox has already written it through to the disk. Call `sync_folder(folders.results)` before the commit. Raises
    PublishError when the name leads out of staging, the file is missing, is not a plain file, or is a cut-off Parquet file.
    """
    if os.sep in file or file in ("", ".", ".."):
        raise PublishError(f"Attempt {key} named {file!r} as its result, which is not a plain file name.")
    staged = folders.attempt(key) / "staging" / file
    if not _is_plain_file(staged):
        raise PublishError(f"Attempt {key} ended well but left no file {file!r} in its staging folder.")
    if file.endswith(".parquet"):
        _check_parquet(staged)
    final = folders.result(key, file)
    staged.rename(final)
    return final


def sync_folder(folder: Path) -> None:
    """Write a folder's entries through to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def keep_log(folders: DataFolders, key: AttemptKey) -> None:
    """Keep what the attempt printed, when it printed anything; the middle of a long log is left out."""
    printed = folders.attempt(key) / "log"
    if not _is_plain_file(printed) or not (size := printed.stat().st_size):
        return
    kept = folders.log(key)
    kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with printed.open("rb") as source, kept.open("wb") as target:
        _copy_ends(source, target, size)


def remove_attempt(folders: DataFolders, key: AttemptKey) -> None:
    """Delete an attempt's private folder with staging and spill files.

    Most are empty by then, and two calls do; looking for what is in them first takes half as long again.
    """
    folder = folders.attempt(key)
    try:
        os.rmdir(f"{folder}/staging")
        os.rmdir(folder)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)


def _is_plain_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def _check_parquet(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        head, tail = os.pread(descriptor, 4, 0), os.pread(descriptor, 4, max(size - 4, 0))
    finally:
        os.close(descriptor)
    if size < _SMALLEST_PARQUET_BYTES or head != _PARQUET_MAGIC or tail != _PARQUET_MAGIC:
        raise PublishError(f"The result file {path.name!r} of {size} bytes is not a whole Parquet file.")


def _copy_ends(source: IO[bytes], target: IO[bytes], size: int) -> None:
    if size <= KEPT_LOG_BYTES:
        shutil.copyfileobj(source, target)
        return
    half = KEPT_LOG_BYTES // 2
    target.write(source.read(half))
    target.write(f"\n[... {size - KEPT_LOG_BYTES} bytes left out ...]\n".encode())
    source.seek(size - half)
    shutil.copyfileobj(source, target)
