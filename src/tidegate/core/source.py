"""Sources: the named data sets that queries read, and how loads add to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tidegate.core.names import source_key


@dataclass(frozen=True, slots=True)
class SourceColumn:
    name: str
    type: str


@dataclass(frozen=True, slots=True)
class SourcePart:
    """One Parquet file of a source that grows by loads, and what was loaded into it."""

    path: str
    """Relative to the data directory."""
    row_count: int
    size_bytes: int
    job_id: int
    load: str
    """Names the load by the content of the file, the sheet and the options: the same load comes once."""
    name: str
    """The file, and the sheet if it has several, for people."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What a successful attempt adds to a source of its owner, or makes of its own; see `growing.grown`."""

    name: str
    owner: str
    part: SourcePart
    columns: tuple[SourceColumn, ...]
    replace: bool = False
    """Parts of other jobs go."""
    again: bool = False
    """It is added even if the source has the same load already."""

    @property
    def key(self) -> str:
        """See `Source.key`."""
        return source_key(self.owner, self.name)


@dataclass(frozen=True, slots=True)
class Source:
    """A named data set: one or more files of one format.

    `path` is what the user named: a file, a glob or a folder; of a managed one it is relative to the data directory, see
    `names.managed_file`. `options` are reader options fixed at registration
    (for CSV the sniffed dialect and types), so that every query reads the same types.
    """

    name: str
    format: str
    path: str
    owner: str
    created_at: datetime
    columns: tuple[SourceColumn, ...] = ()
    row_count: int | None = None
    size_bytes: int | None = None
    file_count: int = 1
    job_id: int | None = None
    lineage: tuple[str, ...] = ()
    """Names of the sources a result was made from."""
    sql: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    managed: bool = False
    """Whether Tidegate made the file (an upload or a result) and deletes it with the source."""
    roots: tuple[str, ...] = ()
    """The folders of `source_roots`, as real paths, by which it was allowed when it was registered. It keeps that right."""
    shared: bool = False
    """Whether every owner may read it."""
    parts: tuple[SourcePart, ...] = ()
    """The files of a source that was made by loads, in their order; `path` is then the first. Else empty."""

    @property
    def paths(self) -> tuple[str, ...]:
        """`path`, or those of all parts."""
        return tuple(part.path for part in self.parts) or (self.path,)

    @property
    def key(self) -> str:
        """Its place in the order of all sources, and what no other source has: see `names.source_key`."""
        return source_key(self.owner, self.name)

    @property
    def column_count(self) -> int:
        return len(self.columns)
