"""Sources that grow by loads: what each load adds, what it replaces, which types the columns then have. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from tidegate.core.source import Growth, Source, SourceColumn, SourcePart
from tidegate.errors import Conflict

MOST_PARTS = 2000
"""Parts of one source: each is a file that every query opens, and an entry in the source's row."""
_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
_LONG_WHOLE = "DECIMAL(38,0)"
"""Of a column of whole numbers that do not all fit into 64 bits. It does not hold all of HUGEINT."""
_FRACTIONAL = ("FLOAT", "DOUBLE")
_INSTANTS = ("DATE", "TIMESTAMP")


def grown(old: Source | None, growth: Growth, at: datetime) -> Source | None:
    """The source after a load; None when it has that load already, so that nothing changes.

    Appending keeps all parts, replacing keeps those of the same job: its other files belong to the same table. Raises
    Conflict for a source that was not made by loads, and for too many parts.
    """
    if old is None:
        return _source(growth, (growth.part,), growth.columns, at)
    if not old.parts:
        raise Conflict(
            f"The source {old.name!r} was not made by ingest jobs, so nothing can be loaded into it. Choose another "
            "`table`, or delete the source first.",
            code="source_exists",
        )
    kept = tuple(part for part in old.parts if not growth.replace or part.job_id == growth.part.job_id)
    only_this = growth.replace and [part.load for part in old.parts] == [growth.part.load]
    if not growth.again and (only_this or any(part.load == growth.part.load for part in kept)):
        return None
    if len(kept) >= MOST_PARTS:
        raise Conflict(
            f"The source {old.name!r} has {len(kept)} parts already, at most {MOST_PARTS} are kept. Make one of them: "
            f"query `select * from {old.name}` into a new source.",
            code="too_many_parts",
            numbers={"limit": MOST_PARTS},
        )
    columns = _together([old.columns, growth.columns]) if kept else growth.columns
    made = _source(growth, (*kept, growth.part), columns, at)
    return replace(made, name=old.name, created_at=old.created_at, shared=old.shared)


def common_type(one: str, other: str) -> str:
    """The narrowest type that holds values of both; VARCHAR where nothing else does.

    Whole numbers and fractions together are DOUBLE, as DuckDB has it.
    """
    if one == other:
        return one
    pair = {one, other}
    if pair <= {*_WHOLE}:
        return max(pair, key=_WHOLE.index)
    if _LONG_WHOLE in pair and pair <= {*_WHOLE, _LONG_WHOLE} - {"HUGEINT"}:
        return _LONG_WHOLE
    if pair <= {*_WHOLE, *_FRACTIONAL}:
        return "DOUBLE"
    if pair <= {*_INSTANTS}:
        return "TIMESTAMP"
    return "VARCHAR"


def _together(tables: Iterable[Sequence[SourceColumn]]) -> tuple[SourceColumn, ...]:
    """Columns by name, without regard to case, in the order in which they first came."""
    found: dict[str, SourceColumn] = {}
    for table in tables:
        for column in table:
            known = found.get(column.name.lower(), column)
            found[column.name.lower()] = SourceColumn(known.name, common_type(known.type, column.type))
    return tuple(found.values())


def _source(
    growth: Growth, parts: tuple[SourcePart, ...], columns: tuple[SourceColumn, ...], at: datetime
) -> Source:
    return Source(
        name=growth.name,
        format="parquet",
        path=parts[0].path,
        owner=growth.owner,
        created_at=at,
        columns=columns,
        row_count=sum(part.row_count for part in parts),
        size_bytes=sum(part.size_bytes for part in parts),
        file_count=len(parts),
        job_id=growth.part.job_id,
        options={"union_by_name": True},
        managed=True,
        parts=parts,
    )
