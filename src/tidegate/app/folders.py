"""The data directory of this process: opened, held, and found by commands on this machine."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import pwd
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tidegate.core.resources import MIB, format_bytes
from tidegate.errors import SettingError, TidegateError, Unavailable
from tidegate.runtime.publish import DataFolders
from tidegate.settings import Settings

LEAST_FREE_BYTES = 16 * MIB
"""The database begins with 0.3 MiB and its write-ahead log grows to a few; a server that starts with less soon fails."""


def open_folders(folders: DataFolders) -> None:
    """Make what is missing. Raises SettingError when the data directory cannot be used, Unavailable when its disk is full."""
    try:
        _refuse_full(folders.root)
        folders.open()
    except OSError as error:
        raise _unusable(folders.root, error) from None


def database_of(settings: Settings) -> str:
    """The address of the database of record."""
    return settings.database_url or f"sqlite:///{root_of(settings) / 'tidegate.db'}"


def root_of(settings: Settings) -> Path:
    """The data directory, or in a cluster the shared path."""
    return settings.data_dir.expanduser().resolve()


def scratch_root_of(settings: Settings) -> Path | None:
    """The folder that all workers of this machine have for scratch; None where that lies below the data directory.

    Raises SettingError where users could name what lies there as a source.
    """
    if settings.scratch_dir is None:
        return None
    scratch = settings.scratch_dir.expanduser().resolve()
    for name, roots in (("data_dir", [settings.data_dir]), ("source_roots", settings.source_roots)):
        root = next((root for root in roots if scratch.is_relative_to(root.expanduser().resolve())), None)
        if root is not None:
            raise SettingError(
                f"scratch_dir must not lie in a folder of {name}, where others could read it: {scratch} is below {root}. "
                "Choose another folder."
            )
    return scratch


def open_scratch(settings: Settings, instance: str) -> Path | None:
    """The worker's own folder below `scratch_dir`, made if need be; None without that setting. Raises SettingError."""
    root = scratch_root_of(settings)
    if root is None:
        return None
    scratch = root / f"tidegate-{instance}"
    try:
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise SettingError(
            f"scratch_dir {root} cannot be used: {error.strerror}. Choose another folder."
        ) from None
    return scratch


def check_file_is_ours(settings: Settings, *, made_by_us: bool = True) -> None:
    """Raise SettingError where the database is a file that this user may not write, or not `made_by_us`: where making it
    would leave a file that the owner of the data directory could not write. Only the superuser can do that by mistake."""
    folder = root_of(settings)
    if settings.database_url is not None or not folder.exists():
        return
    file = folder / "tidegate.db"
    if file.exists():
        foreign = next((place for place in (file, folder) if not os.access(place, os.R_OK | os.W_OK)), None)
    else:
        foreign = None if made_by_us or folder.stat().st_uid == os.geteuid() else folder
    if foreign is None:
        return
    ours, theirs = _user(os.geteuid()), _user(foreign.stat().st_uid)
    raise SettingError(
        f"The database {file} is not for user {ours!r} to write: {foreign} belongs to {theirs!r}. Run this as the user that "
        f"the server runs as, such as by `sudo -u {theirs}`."
    )


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def hold(data_dir: Path) -> IO[str]:
    """Hold the data directory for this process until the answer is closed.

    Raises Unavailable when another server holds it, SettingError when it cannot be held at all.
    """
    return _hold(
        data_dir, data_dir / "lock", "The data directory {place} is in use by another server", "--data-dir"
    )


def hold_name(data_dir: Path, worker_id: str) -> IO[str]:
    """Hold the name of a worker, on all machines that share the folder, until the answer is closed.

    A second worker of that name would end what the first one runs. Raises Unavailable when there is one already.
    """
    path = data_dir / "workers" / f"{worker_id}.lock"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    return _hold(data_dir, path, f"A worker named {worker_id!r} runs already on {{place}}", "--name")


def _hold(data_dir: Path, path: Path, complaint: str, option: str) -> IO[str]:
    try:
        return _lock(path, complaint.format(place=data_dir), option)
    except OSError as error:
        raise _unusable(data_dir, error) from None


def _refuse_full(data_dir: Path) -> None:
    place = next(folder for folder in (data_dir, *data_dir.parents) if folder.exists())
    disk = os.statvfs(place)
    if not disk.f_blocks:
        return  # no disk at all, such as /proc: what is wrong with it shows when folders are made
    if disk.f_bavail * disk.f_frsize < LEAST_FREE_BYTES or (disk.f_files and not disk.f_favail):
        raise _full(data_dir)


def _full(data_dir: Path) -> Unavailable:
    place = next(folder for folder in (data_dir, *data_dir.parents) if folder.exists())
    disk = os.statvfs(place)
    free = disk.f_bavail * disk.f_frsize
    files = "" if disk.f_favail or not disk.f_files else " and no more files can be made"
    return Unavailable(
        f"The disk of the data directory {data_dir} is full: {format_bytes(free)} of "
        f"{format_bytes(disk.f_blocks * disk.f_frsize)} are free{files}; a server needs at least "
        f"{format_bytes(LEAST_FREE_BYTES)} to start. Delete what is not needed there, or choose another directory with "
        "--data-dir.",
        code="disk_full",
        numbers={"asked": LEAST_FREE_BYTES, "limit": free},
    )


def _unusable(data_dir: Path, error: OSError) -> TidegateError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _full(data_dir)
    return SettingError(
        f"The data directory {data_dir} cannot be used: {error.strerror}. Choose another one with --data-dir."
    )


def folder_id(data_dir: Path) -> str:
    """What the folder is called by itself, made at the first question: who reads another id sees another folder."""
    path = data_dir / "folder-id"
    if not path.exists():
        fresh = path.with_name(f"folder-id.{os.getpid()}.{secrets.token_hex(4)}")
        fresh.write_text(secrets.token_hex(8))
        with contextlib.suppress(FileExistsError):  # somebody was quicker
            os.link(fresh, path)
        fresh.unlink()
    return path.read_text().strip()


def instance_of(data_dir: Path, worker_id: str = "") -> str:
    """A short name of a data directory, or of a worker on a shared one, to find processes and groups that an earlier
    server or worker of it left."""
    whose = os.fsencode(data_dir) + (b"\0" + worker_id.encode() if worker_id else b"")
    return hashlib.sha256(whose).hexdigest()[:12]


def _lock(path: Path, complaint: str, option: str) -> IO[str]:
    """The kernel lets go when this process ends, however it ends. The file says who holds it."""
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise Unavailable(f"{complaint} ({holder}). Stop it, or choose another {option}.") from None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    return file


@contextlib.contextmanager
def server_file(data_dir: Path, url: str) -> Iterator[None]:
    """`server.json`, by which commands on this machine find the server."""
    path = data_dir / "server.json"
    fresh = path.with_suffix(".new")
    try:
        fresh.write_text(json.dumps({"pid": os.getpid(), "url": url}))
        fresh.replace(path)
    except OSError as error:
        raise _unusable(data_dir, error) from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
