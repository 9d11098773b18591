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

from tidegate.core.job import AttemptKey
from tidegate.core.names import OUTPUT_PREFIX, PARTS
from tidegate.errors import TidegateError

_PARQUET_MAGIC = b"PAR1"
_SMALLEST_PARQUET_BYTES = 12


class PublishError(TidegateError):
    """What the attempt left in staging is not the result it claimed."""

    code = "bad_result"


class DataFolders:
    """The places below the data directory. `open()` makes them, private to this user."""

    def __init__(self, data_dir: Path) -> None:
        self.root = data_dir
        self.files = data_dir / "files"
        self.results = data_dir / "results"
        self.parts = self.results / PARTS
        self.attempts = data_dir / "attempts"
        self.logs = data_dir / "logs"

    def open(self) -> None:
        for folder in (self.root, self.files, self.results, self.attempts, self.logs):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def attempt(self, key: AttemptKey) -> Path:
        return self.attempts / str(key)

    def log(self, key: AttemptKey) -> Path:
        """What an attempt prints, while it runs and after; there is none before it prints."""
        return self.logs / f"{key.job_id}/{key.number}.{key.attempt}.log"

    def result(self, key: AttemptKey, file: str, folder: Path | None = None) -> Path:
        """Where a file of an attempt's staging will lie: among the results, or in `folder`."""
        stem, dot, suffix = file.rpartition(".")
        return (folder or self.results) / (f"{stem}-{key}{dot}{suffix}" if dot else f"{file}-{key}")


def publish_file(folders: DataFolders, key: AttemptKey, file: str, folder: Path | None = None) -> Path:
    """Move one file from the attempt's staging to its final, attempt-specific name; the path there.

    `folder` is where it goes if not to the results. The sandbox has already written it through to the disk. Call
    `sync_folder` of where it went before the commit. Raises
    PublishError when the name leads out of staging, the file is missing, is not a plain file, or is a cut-off Parquet file.
    """
    _check_name(key, file)
    staged = folders.attempt(key) / "staging" / file
    if not stat.S_ISREG(_mode(staged)):
        raise PublishError(f"Attempt {key} ended well but left no file {file!r} in its staging folder.")
    if file.endswith(".parquet"):
        _check_parquet(staged)
    if folder is not None and not folder.is_dir():
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)
    final = folders.result(key, file, folder)
    staged.rename(final)
    return final


def publish_folder(folders: DataFolders, key: AttemptKey, folder: str) -> Path:
    """Move a folder of files from the attempt's staging to its final name; the path there.

    What is in it is not looked at: whoever opens a file of it must refuse links. Raises PublishError when the name leads out
    of staging, or is no folder.
    """
    _check_name(key, folder)
    staged = folders.attempt(key) / "staging" / folder
    if not stat.S_ISDIR(_mode(staged)):
        raise PublishError(f"Attempt {key} ended well but left no folder {folder!r} in its staging folder.")
    staged.chmod(0o700)
    final = folders.results / f"{OUTPUT_PREFIX}{key}"
    staged.rename(final)
    return final


def remove_published(path: Path) -> None:
    """Delete a file or folder that was put in place and that no commit named. What stays the janitor removes."""
    try:
        path.unlink()
    except IsADirectoryError:
        shutil.rmtree(path, ignore_errors=True)
    except OSError:
        return


def sync_folder(folder: Path) -> None:
    """Write a folder's entries through to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_name(key: AttemptKey, name: str) -> None:
    if os.sep in name or name in ("", ".", ".."):
        raise PublishError(f"Attempt {key} named {name!r} as its result, which is not a plain file name.")


def _mode(path: Path) -> int:
    """The type and mode of what lies there itself, links not followed; 0 when nothing does."""
    try:
        return os.lstat(path).st_mode
    except OSError:
        return 0


def _check_parquet(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        head, tail = os.pread(descriptor, 4, 0), os.pread(descriptor, 4, max(size - 4, 0))
    finally:
        os.close(descriptor)
    if size < _SMALLEST_PARQUET_BYTES or head != _PARQUET_MAGIC or tail != _PARQUET_MAGIC:
        raise PublishError(f"The result file {path.name!r} of {size} bytes is not a whole Parquet file.")
