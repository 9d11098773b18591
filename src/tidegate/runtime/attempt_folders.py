"""The private folders of attempts, used again when an attempt has left nothing in them.

Before ext4 gives out an inode it looks at each one that was deleted within the last minute. At 100 attempts a second, making
and deleting two folders for each took 0.45 ms of CPU, more than anything else that the worker did for an attempt.
"""

from __future__ import annotations

import os
import shutil
import stat

from tidegate.core.job import AttemptKey
from tidegate.runtime.publish import DataFolders

MOST_SPARE = 16
_MODE = stat.S_IFDIR | 0o700


class AttemptFolders:
    """Gives each attempt a folder of its name with an empty `staging` in it. Used by one thread but for `remove`."""

    def __init__(self, folders: DataFolders) -> None:
        self._folders = folders
        self._spare: list[str] = []

    def take(self, key: AttemptKey) -> str:
        """The attempt's folder, made or used again. Raises OSError, FileExistsError when it is there already."""
        folder = os.fspath(self._folders.attempt(key))
        if self._spare:
            try:
                os.rename(self._spare.pop(), folder)
            except OSError:  # somebody else has cleared up, or the attempt's folder is there already
                pass
            else:
                return folder
        os.mkdir(folder, 0o700)
        os.mkdir(f"{folder}/staging", 0o700)
        return folder

    def keep(self, key: AttemptKey) -> bool:
        """Keep the folder for a later attempt. False when there is something in it, or enough are kept: remove it then.

        Only for an attempt whose processes are proven gone: any other could still write.
        """
        folder = os.fspath(self._folders.attempt(key))
        spare = f"{os.path.dirname(folder)}/.spare-{key}"
        try:
            if len(self._spare) >= MOST_SPARE or not _untouched(folder):
                return False
            os.rename(folder, spare)
        except OSError:
            return False
        self._spare.append(spare)
        return True

    def remove(self, key: AttemptKey) -> None:
        """Delete the attempt's folder with all that is in it. From any thread."""
        shutil.rmtree(self._folders.attempt(key), ignore_errors=True)


def _untouched(folder: str) -> bool:
    staging = os.lstat(f"{folder}/staging")
    return (
        staging.st_mode == _MODE and os.listdir(folder) == ["staging"] and not os.listdir(f"{folder}/staging")
    )
