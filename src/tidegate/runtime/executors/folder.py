"""The private folder of a manager: sockets and scratch space of its processes, gone when it is closed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "tidegate-executors-"


class RootFolder:
    """Made in the folder for temporary files, and locked as long as its manager lives. Removes those of dead managers."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._lock = _locked(self.path)
        for other in self.path.parent.glob(f"{_PREFIX}*"):
            if other != self.path:
                _remove_if_dead(other)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)


def _remove_if_dead(folder: Path) -> None:
    lock = _locked(folder)
    if lock is None:
        return
    if os.fstat(lock).st_uid == os.getuid():
        shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)


def _locked(folder: Path) -> int | None:
    """A descriptor that holds the folder's lock; None when somebody else holds it, or the folder is not for us."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd
