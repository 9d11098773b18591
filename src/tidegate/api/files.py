"""Uploads: raw bytes to a file below the data directory, whole and written through, or not there at all."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import threading
import unicodedata
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from tidegate.api.bodies import too_large
from tidegate.api.problems import Refusal
from tidegate.core.resources import MIB, format_bytes
from tidegate.errors import Conflict, InvalidInput
from tidegate.server.service import Service

INCOMING = ".incoming"
"""Folder below `files` where an upload lies until it is whole."""
_PIECE_BYTES = MIB
_LONGEST_NAME_BYTES = 200
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10))})
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True)
class Received:
    """An upload that is whole and on disk, under a name of its own in the incoming folder."""

    part: Path
    size_bytes: int
    sha256: str


def file_name(name: str) -> str:
    """The name as it will stand on disk: Unicode in its composed form. Raises InvalidInput for unsafe names."""
    made = unicodedata.normalize("NFC", name)
    if (
        not made
        or "/" in made
        or "\\" in made
        or made.startswith(".")
        or made != made.strip()
        or made.endswith(".")
    ):
        raise _bad_name(name, "it must be a plain file name: no slash, no dot or space at its ends")
    if any(
        unicodedata.category(c) in ("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp") or c == "\ufffd" for c in made
    ):
        raise _bad_name(name, "it has a character that cannot be seen")
    if len(made.encode()) > _LONGEST_NAME_BYTES:
        raise _bad_name(name, f"it has more than {_LONGEST_NAME_BYTES} bytes")
    if made.partition(".")[0].lower() in _DEVICES:
        raise _bad_name(name, "it is the name of a device on some systems")
    return made


def _bad_name(name: str, why: str) -> InvalidInput:
    return InvalidInput(f"name: {name!r:.100} cannot be a file's name: {why}.", numbers={"field": "name"})


async def receive(
    service: Service,
    stream: AsyncIterator[bytes],
    folder: Path,
    *,
    declared_bytes: int | None,
    limit_bytes: int,
) -> Received:
    """Write a body to a new file in the incoming folder and through to the disk.

    Raises `too_large` above the limit (0: none) and `disk_full`. Whatever goes wrong, also a client that goes away,
    leaves nothing behind. Writing and hashing happen in a thread, a piece of 1 MiB at a time.
    """
    if limit_bytes and declared_bytes is not None and declared_bytes > limit_bytes:
        raise too_large(declared_bytes, limit_bytes)
    part = folder / INCOMING / secrets.token_hex(12)
    try:
        await service.run(_refuse_without_room, folder, declared_bytes or 0)
        size, digest = await _write(service, stream, part, limit_bytes)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            raise disk_full(folder, declared_bytes) from None
        raise
    return Received(part, size, digest)


async def _write(
    service: Service, stream: AsyncIterator[bytes], part: Path, limit_bytes: int
) -> tuple[int, str]:
    file = await service.run(_open_new, part)
    try:
        digest = hashlib.sha256()
        gathered: list[bytes] = []
        held = size = 0
        async for chunk in stream:
            size += len(chunk)
            held += len(chunk)
            if limit_bytes and size > limit_bytes:
                raise too_large(size, limit_bytes)
            gathered.append(chunk)
            if held >= _PIECE_BYTES:
                await service.run(_append, file, digest, gathered)
                gathered, held = [], 0
        await service.run(_append, file, digest, gathered)
        await service.run(os.fsync, file)
    finally:
        os.close(file)
    return size, digest.hexdigest()


def _open_new(part: Path) -> int:
    part.parent.mkdir(mode=0o700, exist_ok=True)
    return os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _append(file: int, digest: hashlib._Hash, chunks: list[bytes]) -> None:
    for chunk in chunks:
        digest.update(chunk)
        view = memoryview(chunk)
        while view:
            view = view[os.write(file, view) :]


def _refuse_without_room(folder: Path, wanted_bytes: int) -> None:
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    if wanted_bytes and wanted_bytes > shutil.disk_usage(folder).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def disk_full(folder: Path, wanted_bytes: int | None) -> Refusal:
    free = shutil.disk_usage(folder).free
    asked = {"asked": wanted_bytes} if wanted_bytes is not None else {}
    return Refusal(
        "disk_full",
        f"The upload does not fit on the disk of the data directory: {format_bytes(free)} are free. Delete what is not "
        "needed, or move the data directory.",
        numbers={**asked, "limit": free},
    )


class Placement:
    """Gives a received file its name, and can take it back as long as nobody relies on it.

    Without `overwrite` an existing file stays: the name is made by a hard link, which never replaces. Safe against a
    `take_back` while `put` is still on its way in another thread.
    """

    def __init__(self, received: Received, target: Path) -> None:
        self._part = received.part
        self._target = target
        self._old = received.part.with_suffix(".old")
        self._lock = threading.Lock()
        self._placed = self._withdrawn = False

    def put(self, *, overwrite: bool) -> None:
        with self._lock:
            try:
                if not self._withdrawn:
                    self._put(overwrite)
            except FileExistsError:
                raise taken(self._target.name) from None
            finally:
                self._part.unlink(missing_ok=True)

    def _put(self, overwrite: bool) -> None:
        self._target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if overwrite and self._target.is_file():
            os.link(self._target, self._old)
        if overwrite:
            self._part.replace(self._target)
        else:
            os.link(self._part, self._target)
        self._placed = True
        _sync(self._target.parent)

    def take_back(self) -> None:
        """Remove the new file, if it is there; the one it replaced returns."""
        with self._lock:
            self._withdrawn = True
            self._part.unlink(missing_ok=True)
            if not self._placed:
                return
            if self._old.exists():
                self._old.replace(self._target)
            else:
                self._target.unlink(missing_ok=True)
            _sync(self._target.parent)

    def keep(self) -> None:
        self._old.unlink(missing_ok=True)


def taken(name: str) -> Conflict:
    return Conflict(
        f"There is a file named {name!r} already. Choose another name, or replace it with `overwrite=true`.",
        code="file_exists",
    )


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
