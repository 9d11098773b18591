"""Which local files `tidegate lint` sends, under which names, and how mended texts get back into them."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tidegate.errors import InvalidInput

SUFFIXES = (".sql", ".sql.j2", ".dml", ".ddl", ".pkb")
"""Of the files that are taken from a folder; as the server's."""
ARCHIVE_SUFFIX = ".zip"
CONFIG_NAME = ".sqlfluff"
STDIN = "-"
"""Instead of paths: what comes on standard input."""
STDIN_NAME = "stdin.sql"
_LONGEST_STATEMENT_BYTES = 512 * 1024
_MOST_BYTES = 16 * 1024 * 1024
"""Of one file; as the server's."""


@dataclass(frozen=True, slots=True)
class Local:
    """Files of this machine by the names that reports give them: relative to `root`."""

    root: Path
    files: dict[str, Path]
    configs: dict[str, Path]
    """The `.sqlfluff` files in the root and on the way to the files."""
    archive: Path | None = None
    """A ZIP archive instead of files."""

    @property
    def name(self) -> str:
        """What a job on them is called."""
        if self.archive is not None:
            return _shown(self.archive.name)
        more = len(self.files) - 1
        return _shown(next(iter(self.files))) + (f" and {more} more" if more else "")

    def single(self) -> tuple[str, str, str] | None:
        """Name, text and configuration, when that is all there is and a request can carry it; else None."""
        if len(self.files) != 1 or len(self.configs) > 1:
            return None
        ((name, path),) = self.files.items()
        try:
            if not 0 < path.stat().st_size <= _LONGEST_STATEMENT_BYTES:
                return None
            config = "".join(one.read_bytes().decode() for one in self.configs.values())
            return name, path.read_bytes().decode(), config
        except UnicodeDecodeError:
            return None  # an archive carries any bytes

    def pack(self, archive: Path) -> None:
        """All of it as a ZIP archive."""
        if self.archive is not None:
            shutil.copyfile(self.archive, archive)
            return
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as opened:
            for name, path in (*self.configs.items(), *self.files.items()):
                opened.write(path, name)


def gather(paths: Sequence[str]) -> Local:
    """The files that the paths name: files themselves, and of folders all that end as SQL files do, links to folders not
    followed; or one archive. Raises InvalidInput for a path that is not there, and when there is no file."""
    archive = next((path for path in paths if path.lower().endswith(ARCHIVE_SUFFIX)), None)
    if archive is not None and (place := _absolute(archive)).is_file():
        if len(paths) > 1:
            raise InvalidInput(f"{archive!r:.200} is an archive. Lint it by itself.")
        return Local(place.parent, {}, {}, place)
    found = list(dict.fromkeys(file for path in paths for file in _below(path)))
    if not found:
        raise InvalidInput(
            f"There is no SQL file in {', '.join(paths)!r:.200}: none ends in {', '.join(SUFFIXES)}.",
            code="no_sql_files",
        )
    root = _root(found)
    files = {file.relative_to(root).as_posix(): file for file in found}
    if len(files) > 1 and (
        odd := next((name for name in files if not name.lower().endswith(SUFFIXES)), None)
    ):
        raise InvalidInput(f"{odd!r:.200} does not end in {', '.join(SUFFIXES)}. Lint it by itself.")
    return Local(root, files, dict(_configs(root, files)))


def piped(stream: BinaryIO, name: str, spool: Path) -> Local:
    """What the stream has, kept in the file `spool`, as if it were the file of that name: with the configuration that holds
    there. Raises InvalidInput when it has more than is linted of a file."""
    content = stream.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise InvalidInput(
            f"Standard input has more than the {_MOST_BYTES} bytes that are linted of a file.",
            numbers={"limit": _MOST_BYTES},
        )
    spool.write_bytes(content)
    place = _absolute(name)
    root = _root([place])
    files = {place.relative_to(root).as_posix(): spool}
    return Local(root, files, dict(_configs(root, files)))


def _absolute(path: str) -> Path:
    return Path(os.path.abspath(os.path.expanduser(path)))


def _shown(name: str) -> str:
    return "".join(char if char.isprintable() else " " for char in name)[:150]


def _below(path: str) -> Iterator[Path]:
    place = _absolute(path)
    if place.is_file():
        yield place
        return
    if not place.is_dir():
        raise InvalidInput(f"{path!r:.200} is neither a file nor a folder.", code="missing_file")
    for folder, folders, names in os.walk(place):
        folders.sort()
        for name in sorted(names):
            file = Path(folder, name)
            if name.lower().endswith(SUFFIXES) and file.is_file():
                yield file


def _root(files: Sequence[Path]) -> Path:
    """This folder when all files are below it, else the folder that they share."""
    here = Path.cwd()
    if all(file.is_relative_to(here) for file in files):
        return here
    return Path(os.path.commonpath([file.parent for file in files]))


def _configs(root: Path, names: dict[str, Path]) -> Iterator[tuple[str, Path]]:
    folders = {folder for name in names for folder in PurePosixPath(name).parents}
    for folder in sorted(folders):
        path = root / folder / CONFIG_NAME
        if path.is_file():
            yield (folder / CONFIG_NAME).as_posix(), path


def mend(path: Path, before: bytes, after: str) -> bool:
    """Put the mended text into a file, if it still is what was sent and is UTF-8; whether that was done."""
    text = after.encode()
    if path.read_bytes() != before or before.startswith(b"\xef\xbb\xbf"):
        return False
    try:
        before.decode()
    except UnicodeDecodeError:
        return False
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(text)
        part.chmod(path.stat().st_mode & 0o7777)
        part.replace(path.resolve())
    finally:
        part.unlink(missing_ok=True)
    return True
