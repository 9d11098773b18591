"""Named data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Protocol

from tidegate.core.identity import Caller
from tidegate.core.source import Source


class SourceStore(Protocol):
    """Named data sets. Each owner has names of its own; a shared source can be read by everyone under its name.

    A name means the reader's own source, or else the shared one. Names are compared without regard to case.
    """

    def add_source(self, source: Source, by: Caller | None = None) -> None:
        """Raises Conflict when its owner has that name already, also for a result that is still being made, and when it
        is to be shared under a name that a shared source has."""
        ...

    def replace_source(self, old: Source, new: Source, by: Caller | None = None) -> None:
        """Put `new` in the place of `old`, which has the same owner and name, in one step.

        Raises Conflict, and changes nothing, when `old` is no longer what is there, or as `add_source` does.
        """
        ...

    def source(self, name: str, reader: str) -> Source:
        """Raises NotFound, with the nearest names that the reader sees."""
        ...

    def sources(
        self,
        *,
        reader: str | None = None,
        owner: str | None = None,
        name: str | None = None,
        after: str = "",
        limit: int = 100,
    ) -> list[Source]:
        """What a reader sees (None: all), of one owner or of all, of one name or of all.

        In order of `Source.key`, from behind `after` on.
        """
        ...

    def sources_named(self, names: Iterable[str], reader: str) -> list[Source]:
        """What the names mean to the reader, as far as they mean something."""
        ...

    def delete_source(self, name: str, owner: str, by: Caller | None = None) -> Source:
        """Delete an owner's own. Raises NotFound."""
        ...

    def each_managed_path(self, see: Callable[[str], None], answered_before: datetime | None = None) -> None:
        """`see` the path of each file that Tidegate made and still needs, some maybe twice; the janitor removes what is not
        among them. `see` must be quick, and ask the store nothing.

        With `answered_before` those of the service's own jobs (queue `interactive`) are left out that had ended by then:
        whoever asked has the answer, or has gone.
        """
        ...
