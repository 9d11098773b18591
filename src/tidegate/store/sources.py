"""Sources, and the names that results in the making have reserved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from sqlalchemy import RowMapping, bindparam, select

from tidegate.core.job import Source, SourceColumn
from tidegate.errors import NotFound
from tidegate.store import rules
from tidegate.store.engine import Row, Statement, Tx, expect
from tidegate.store.schema import jobs, sources, tasks
from tidegate.store.shared import drop_reservations, insert_into
from tidegate.store.values import from_json, from_micros, to_json, to_micros

_INSERT = insert_into(
    sources,
    "name_key name format path owner created_at row_count size_bytes file_count job_id managed columns lineage sql options",
)
_HOLDER = Statement(select(sources.c.reserved_by).where(sources.c.name_key == bindparam("key")), "key")
_DELETE = Statement(
    sources.delete().where(sources.c.name_key == bindparam("key"), sources.c.reserved_by.is_(None)), "key"
)
_COLUMNS = tuple(sources.c.keys())
_BY_KEY = Statement(
    select(*sources.c).where(sources.c.name_key == bindparam("key"), sources.c.reserved_by.is_(None)), "key"
)


def add_source(tx: Tx, source: Source) -> None:
    """See `SourceStore.add_source`."""
    row = tx.one(_HOLDER, (rules.name_key(source.name),))
    if row is not None:
        raise rules.name_conflict(source.name, row[0])
    tx.run(_INSERT, _row(source))


def taken_by_others(tx: Tx, names: Sequence[tuple[str, int]]) -> set[str]:
    """Which of the names, folded, belong to a source or to another job than the one named with it."""
    taken = set[str]()
    for name, job_id in names:
        row = tx.one(_HOLDER, (rules.name_key(name),))
        if row is not None and row[0] != job_id:
            taken.add(rules.name_key(name))
    return taken


def register_results(tx: Tx, results: Sequence[tuple[Source, int]]) -> None:
    """Register sources made by jobs, in place of what those jobs had reserved."""
    if results:
        drop_reservations(tx, [(source.name, job_id) for source, job_id in results])
        rows = [_row(source) for source, _ in results]
        expect(tx.many(_INSERT, rows), len(rows))


def one_source(tx: Tx, name: str) -> Source:
    """See `SourceStore.source`."""
    found = sources_named(tx, [name])
    if not found:
        raise not_found(name, _all_names(tx))
    return found[0]


def not_found(name: str, known: Sequence[str]) -> NotFound:
    """The error for a source that is not there, with the names nearest to it."""
    folded = {rules.name_key(other): other for other in known}
    near = [folded[key] for key in get_close_matches(rules.name_key(name), folded, n=3)]
    hint = f"Did you mean {', '.join(near)}?" if near else "Register it first."
    return NotFound(f"There is no source named {name!r}. {hint}", code="unknown_source")


def list_sources(tx: Tx, owner: str | None, after: str, limit: int) -> list[Source]:
    """See `SourceStore.sources`."""
    query = select(sources).where(sources.c.reserved_by.is_(None), sources.c.name_key > rules.name_key(after))
    if owner is not None:
        query = query.where(sources.c.owner == owner)
    rows = tx.connection.execute(query.order_by(sources.c.name_key).limit(limit)).mappings()
    return [_source(row) for row in rows]


def sources_named(tx: Tx, names: Iterable[str]) -> list[Source]:
    """See `SourceStore.sources_named`. Asked for each submitted query, so by a look-up a name instead of one long IN."""
    keys = sorted({rules.name_key(name) for name in names})
    rows = (tx.one(_BY_KEY, (key,)) for key in keys)
    return [_source(dict(zip(_COLUMNS, row, strict=True))) for row in rows if row is not None]


def delete_source(tx: Tx, name: str) -> Source:
    """See `SourceStore.delete_source`."""
    source = one_source(tx, name)
    expect(tx.run(_DELETE, (rules.name_key(name),)), 1)
    return source


def managed_paths(tx: Tx) -> set[str]:
    """See `SourceStore.managed_paths`: the files of managed sources, and of results that are kept with their job."""
    paths = set(tx.connection.scalars(select(sources.c.path).where(sources.c.managed == 1)))
    kept = (
        select(tasks.c.result)
        .join(jobs, jobs.c.id == tasks.c.job_id)
        .where(jobs.c.result_name.is_(None), tasks.c.result.contains('"path"'))
    )
    for text in tx.connection.scalars(kept):
        path = from_json(text).get("path")
        if isinstance(path, str):
            paths.add(path)
    return paths


def _all_names(tx: Tx) -> list[str]:
    query = select(sources.c.name).where(sources.c.reserved_by.is_(None)).limit(10_000)
    return list(tx.connection.scalars(query))


def _row(source: Source) -> Row:
    return (
        rules.name_key(source.name), source.name, source.format, source.path, source.owner, to_micros(source.created_at),
        source.row_count, source.size_bytes, source.file_count, source.job_id, int(source.managed),
        to_json([(column.name, column.type) for column in source.columns]), to_json(source.lineage), source.sql,
        to_json(source.options),
    )  # fmt: skip


def _source(row: Mapping[str, Any] | RowMapping) -> Source:
    fields: dict[str, Any] = {
        name: row[name]
        for name in (
            "name",
            "format",
            "path",
            "owner",
            "row_count",
            "size_bytes",
            "file_count",
            "job_id",
            "sql",
        )
    }
    return Source(
        **fields,
        created_at=from_micros(row["created_at"]),
        columns=tuple(SourceColumn(*pair) for pair in _list(row["columns"])),
        lineage=tuple(_list(row["lineage"])),
        options=from_json(row["options"]),
        managed=bool(row["managed"]),
    )


def _list(text: str) -> list[Any]:
    return list(from_json(text))
