"""The private folders of attempts, used again when an attempt has left nothing in them.

Before ext4 gives out an inode it looks at each one that was deleted within the last minute. At 100 attempts a second, making
and deleting two folders for each took 0.45 ms of CPU, more than anything else that the worker did for an attempt.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import NamedTuple

from tidegate.core.job import AttemptKey

MOST_SPARE = 16
_MODE = stat.S_IFDIR | 0o700


class AttemptFolders:
    """Gives each attempt a folder of its name, in `place`, with an empty `staging` in it. Used by one thread but for
    `remove`."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._spare: list[str] = []

    def take(self, key: AttemptKey) -> str:
        """The attempt's folder, made or used again. Raises OSError, FileExistsError when it is there already."""
        folder = os.fspath(self._place / str(key))
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
        folder = os.fspath(self._place / str(key))
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
        shutil.rmtree(self._place / str(key), ignore_errors=True)


class Taken(NamedTuple):
    """Where an attempt works, and where it puts what it has made; None: it stays where it was made."""

    folder: str
    hand_over: str | None


class WorkFolders:
    """The folders of attempts on the shared path and, with `scratch`, on a disk of this machine.

    With `scratch` an attempt works there, and its other folder gets what it hands over at the end: publishing is the same
    move within the shared path either way.
    """

    def __init__(self, attempts: Path, scratch: Path | None = None) -> None:
        self._shared = AttemptFolders(attempts)
        self._local = AttemptFolders(scratch) if scratch is not None else None
        self._scratch = scratch

    def take(self, key: AttemptKey) -> Taken:
        """Raises OSError."""
        shared = self._shared.take(key)
        return (
            Taken(shared, None) if self._local is None else Taken(self._local.take(key), f"{shared}/staging")
        )

    def keep(self, key: AttemptKey) -> bool:
        """As `AttemptFolders.keep`; False when one of the two has to be removed."""
        kept = [folders.keep(key) for folders in self._all()]
        return all(kept)

    def remove(self, key: AttemptKey) -> None:
        """As `AttemptFolders.remove`."""
        for folders in self._all():
            folders.remove(key)

    def clear_scratch(self) -> None:
        """Delete what an earlier worker of this name has left, once none of its processes lives."""
        if self._scratch is not None:
            for folder in self._scratch.iterdir():
                shutil.rmtree(folder, ignore_errors=True)

    def _all(self) -> list[AttemptFolders]:
        return [self._shared] if self._local is None else [self._shared, self._local]


def _untouched(folder: str) -> bool:
    staging = os.lstat(f"{folder}/staging")
    return (
        staging.st_mode == _MODE and os.listdir(folder) == ["staging"] and not os.listdir(f"{folder}/staging")
    )
