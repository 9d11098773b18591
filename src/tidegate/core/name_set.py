"""Many names in little memory, to ask whether one is among them."""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable


class NameSet:
    """Eight bytes a name, where a set of strings takes 150.

    A name may be taken for one that was added: the odds of any such pair among a million are 3 in 10**8.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._marks = array("Q", map(_mark, names))
        self._sorted = False

    def add(self, name: str) -> None:
        self._marks.append(_mark(name))
        self._sorted = False

    def __contains__(self, name: str) -> bool:
        if not self._sorted:
            self._marks = array("Q", sorted(self._marks))
            self._sorted = True
        mark = _mark(name)
        at = bisect_left(self._marks, mark)
        return at < len(self._marks) and self._marks[at] == mark


def _mark(name: str) -> int:
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
