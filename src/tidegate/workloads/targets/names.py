"""Names of tables and columns as a database takes them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tidegate.workloads.errors import TaskError


@dataclass(frozen=True, slots=True)
class NameRules:
    """What a database allows a name to be."""

    quote: str
    most: int
    """Of the unit that `length` measures in."""
    length: Callable[[str], int]
    allowed: Callable[[str], bool]
    """Whether a character may stand in a name."""

    def quoted(self, name: str) -> str:
        return f"{self.quote}{name.replace(self.quote, self.quote * 2)}{self.quote}"

    def listed(self, names: Iterable[str]) -> str:
        return ", ".join(map(self.quoted, names))

    def fitted(self, name: str, suffix: str = "") -> str:
        """The name with the suffix, if the database can have it; else what can be kept, with 8 digits of its SHA-256."""
        kept = "".join(char if self.allowed(char) else "_" for char in name).rstrip(" ")
        if kept == name and self.length(name + suffix) <= self.most:
            return name + suffix
        end = f"_{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}{suffix}"
        while self.length(kept + end) > self.most:
            kept = kept[:-1]
        return kept + end


def bytes_of(name: str) -> int:
    return len(name.encode("utf-8", "surrogatepass"))


def plain(char: str) -> bool:
    """No NUL and no half of a surrogate pair."""
    return char != "\0" and not "\ud800" <= char <= "\udfff"


def plain_bmp(char: str) -> bool:
    """Also nothing above U+FFFF, which MySQL takes in no name."""
    return plain(char) and char <= "\uffff"


def shortened(rules: NameRules, names: Iterable[str]) -> tuple[str, ...]:
    """Sentences on the names that the database cannot have."""
    return tuple(
        f"{name!r} is called {rules.fitted(name)!r} in the database, which takes names of {rules.most} at most."
        for name in names
        if rules.fitted(name) != name
    )


def match(wanted: Sequence[str], there: Sequence[str], rules: NameRules) -> dict[str, str]:
    """For each wanted column that is there, its name there: the same, or the only one that differs by case alone.

    Raises TaskError when two of the file would go into one of the table.
    """
    exact = set(there)
    folded: dict[str, list[str]] = {}
    for name in there:
        folded.setdefault(name.casefold(), []).append(name)
    found: dict[str, str] = {}
    for name in wanted:
        fitted = rules.fitted(name)
        alike = folded.get(fitted.casefold(), [])
        if fitted in exact:
            found[name] = fitted
        elif len(alike) == 1:
            found[name] = alike[0]
    _refuse_twice(found)
    return found


def _refuse_twice(found: dict[str, str]) -> None:
    first: dict[str, str] = {}
    for name, there in found.items():
        if (other := first.setdefault(there, name)) != name:
            raise TaskError(
                f"The columns {other!r} and {name!r} of the file would both go into {there!r} of the table. Rename one.",
                code="same_column",
            )
