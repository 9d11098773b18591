"""Sources, and the names that results in the making have reserved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, and_, bindparam, func, or_, select

from tidegate.core.attempt import AttemptEnd
from tidegate.core.identity import Action, Caller
from tidegate.core.names import INTERACTIVE_QUEUE, source_key
from tidegate.core.source import Source, SourceColumn, SourcePart
from tidegate.errors import NotFound
from tidegate.store import rules
from tidegate.store.audit import record
from tidegate.store.engine import Row, Statement, Tx, expect
from tidegate.store.schema import jobs, sources, tasks
from tidegate.store.shared import drop_reservations, insert_into
from tidegate.store.values import from_json, from_micros, to_json, to_micros

_INSERTED = (
    "name_key name format path owner created_at row_count size_bytes file_count job_id managed columns lineage sql "
    "options roots shared_key parts"
)
_INSERT = insert_into(sources, _INSERTED)
_GROWN = "path row_count size_bytes file_count job_id columns options parts"
_GROW = Statement(
    sources.update()
    .values({name: bindparam(f"now_{name}") for name in _GROWN.split()})
    .where(sources.c.name_key == bindparam("key"), sources.c.reserved_by.is_(None)),
    " ".join(f"now_{name}" for name in _GROWN.split()) + " key",
)
_HOLDER = Statement(select(sources.c.reserved_by).where(sources.c.name_key == bindparam("key")), "key")
_DELETE = Statement(
    sources.delete().where(sources.c.name_key == bindparam("key"), sources.c.reserved_by.is_(None)), "key"
)
_DELETE_SAME = Statement(
    sources.delete().where(
        sources.c.name_key == bindparam("key"),
        sources.c.reserved_by.is_(None),
        sources.c.path == bindparam("old_path"),
        sources.c.created_at == bindparam("made_at"),
    ),
    "key old_path made_at",
)
_SHARED = Statement(select(*sources.c).where(sources.c.shared_key == bindparam("key")), "key")
_COLUMNS = tuple(sources.c.keys())
_BY_KEY = Statement(
    select(*sources.c).where(sources.c.name_key == bindparam("key"), sources.c.reserved_by.is_(None)), "key"
)

_HELD = Statement(select(*sources.c).where(sources.c.name_key == bindparam("key")).with_for_update(), "key")


def add_source(tx: Tx, source: Source, by: Caller | None = None) -> None:
    """See `SourceStore.add_source`."""
    row = tx.one(_HOLDER, (source.key,))
    if row is not None:
        raise rules.name_conflict(source.name, row[0])
    if source.shared and tx.one(_SHARED, (rules.name_key(source.name),)) is not None:
        raise rules.shared_conflict(source.name)
    tx.run(_INSERT, _row(source))
    record(tx, by, Action.ADD_SOURCE, f"source {source.key}", shared=source.shared, path=source.path)


def replace_source(tx: Tx, old: Source, new: Source, by: Caller | None = None) -> None:
    """See `SourceStore.replace_source`."""
    if not tx.run(_DELETE_SAME, (new.key, old.path, to_micros(old.created_at))):
        raise rules.changed_conflict(old.name)
    if new.shared and tx.one(_SHARED, (rules.name_key(new.name),)) is not None:
        raise rules.shared_conflict(new.name)
    tx.run(_INSERT, _row(new))
    record(tx, by, Action.ADD_SOURCE, f"source {new.key}", shared=new.shared, path=new.path, replaced=True)


def taken_by_others(tx: Tx, made: Sequence[tuple[Source, int]]) -> set[str]:
    """The keys of those sources that are there already, or reserved by another job than the one beside it."""
    taken = set[str]()
    for source, job_id in made:
        row = tx.one(_HOLDER, (source.key,))
        if row is not None and row[0] != job_id:
            taken.add(source.key)
    return taken


def register_results(tx: Tx, results: Sequence[tuple[Source, int]]) -> None:
    """Register sources made by jobs, in place of what those jobs had reserved."""
    if results:
        drop_reservations(tx, [(source.owner, source.name, job_id) for source, job_id in results])
        rows = [_row(source) for source, _ in results]
        tx.each(_INSERT, rows)


def grow_sources(tx: Tx, ends: Sequence[AttemptEnd]) -> list[AttemptEnd]:
    """Add to sources what ends bring; the ends as they are to be recorded.

    A source is held from before it is read until this transaction ends, so that nothing that another adds is lost.
    """
    keys = {growth.key for end in ends for growth in end.growths}
    rows = {
        key: tx.one(_HELD, (key,)) for key in sorted(keys)
    }  # in order, so that two cannot wait for each other
    held = {key: _source(dict(zip(_COLUMNS, row, strict=True))) if row else None for key, row in rows.items()}
    reserved = {key: row[_COLUMNS.index("reserved_by")] if row else None for key, row in rows.items()}
    recorded: list[AttemptEnd] = []
    changed: set[str] = set()
    for end in ends:
        end, made = rules.grow(end, held, reserved) if end.growths else (end, {})
        held |= made
        changed |= made.keys()
        recorded.append(end)
    for key in sorted(changed):
        _write_grown(tx, held[key], is_new=rows[key] is None)
    return recorded


def _write_grown(tx: Tx, source: Source | None, *, is_new: bool) -> None:
    assert source is not None
    row = dict(zip(_INSERTED.split(), _row(source), strict=True))
    if is_new:
        tx.run(_INSERT, tuple(row.values()))
    else:
        expect(tx.run(_GROW, (*(row[name] for name in _GROWN.split()), source.key)), 1)


def one_source(tx: Tx, name: str, reader: str) -> Source:
    """See `SourceStore.source`."""
    found = sources_named(tx, [name], reader)
    if not found:
        raise not_found(name, _names_seen_by(tx, reader))
    return found[0]


def not_found(name: str, known: Sequence[str]) -> NotFound:
    """The error for a source that is not there, with the names nearest to it."""
    folded = {rules.name_key(other): other for other in known}
    near = [folded[key] for key in get_close_matches(rules.name_key(name), folded, n=3)]
    hint = f"Did you mean {', '.join(near)}?" if near else "Register it first."
    return NotFound(f"There is no source named {name!r}. {hint}", code="unknown_source")


def list_sources(
    tx: Tx, reader: str | None, owner: str | None, name: str | None, after: str, limit: int
) -> list[Source]:
    """See `SourceStore.sources`."""
    query = select(sources).where(sources.c.reserved_by.is_(None), sources.c.name_key > after)
    if reader is not None:
        query = query.where(_seen_by(reader))
    if owner is not None:
        query = query.where(sources.c.owner == owner)
    if name is not None:
        query = query.where(func.lower(sources.c.name) == rules.name_key(name))
    rows = tx.connection.execute(query.order_by(sources.c.name_key).limit(limit)).mappings()
    return [_source(row) for row in rows]


def sources_named(tx: Tx, names: Iterable[str], reader: str) -> list[Source]:
    """See `SourceStore.sources_named`. Asked for each submitted query, so by a look-up a name instead of one long IN."""
    rows = (_meant(tx, key, reader) for key in sorted({rules.name_key(name) for name in names}))
    return [_source(dict(zip(_COLUMNS, row, strict=True))) for row in rows if row is not None]


def _meant(tx: Tx, name: str, reader: str) -> Row | None:
    """The reader's own, or else the shared one."""
    return tx.one(_BY_KEY, (source_key(reader, name),)) or tx.one(_SHARED, (name,))


def delete_source(tx: Tx, name: str, owner: str, by: Caller | None = None) -> Source:
    """See `SourceStore.delete_source`."""
    key = source_key(owner, name)
    row = tx.one(_BY_KEY, (key,))
    if row is None:
        raise not_found(name, _names_seen_by(tx, owner))
    expect(tx.run(_DELETE, (key,)), 1)
    record(tx, by, Action.DELETE_SOURCE, f"source {key}")
    return _source(dict(zip(_COLUMNS, row, strict=True)))


def each_managed_path(tx: Tx, see: Callable[[str], None], answered_before: datetime | None) -> None:
    """See `SourceStore.each_managed_path`: the files of managed sources, and of results that are kept with their job."""
    for path, parts in tx.connection.execute(
        select(sources.c.path, sources.c.parts).where(sources.c.managed == 1)
    ):
        for named in [part.path for part in _parts(parts)] or [path]:
            see(named)
    kept = (
        select(tasks.c.result)
        .join(jobs, jobs.c.id == tasks.c.job_id)
        .where(_has_no_source(), tasks.c.result.contains('"path"'))
    )
    if answered_before is not None:
        kept = kept.where(
            (jobs.c.queue != INTERACTIVE_QUEUE) | (jobs.c.finished_at >= to_micros(answered_before))
        )
    for text in tx.connection.scalars(kept):
        path = from_json(text).get("path")
        if isinstance(path, str):
            see(path)


def _has_no_source() -> ColumnElement[bool]:
    """Whether a task's result is kept with its job: it is no source, because it has no name, or the last one's has it."""
    of_others = and_(jobs.c.last.is_not(None), tasks.c.number != func.coalesce(jobs.c.last_number, 0))
    return or_(jobs.c.result_name.is_(None), of_others)


def _seen_by(reader: str) -> ColumnElement[bool]:
    return or_(sources.c.owner == reader, sources.c.shared_key.is_not(None))


def _names_seen_by(tx: Tx, reader: str) -> list[str]:
    query = select(sources.c.name).where(sources.c.reserved_by.is_(None), _seen_by(reader)).limit(10_000)
    return list(tx.connection.scalars(query))


def _row(source: Source) -> Row:
    return (
        source.key, source.name, source.format, source.path, source.owner, to_micros(source.created_at),
        source.row_count, source.size_bytes, source.file_count, source.job_id, int(source.managed),
        to_json([(column.name, column.type) for column in source.columns]), to_json(source.lineage), source.sql,
        to_json(source.options), to_json(source.roots) if source.roots else None,
        rules.name_key(source.name) if source.shared else None,
        to_json([astuple(part) for part in source.parts]) if source.parts else None,
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
        roots=tuple(_list(row["roots"])) if row["roots"] else (),
        shared=row["shared_key"] is not None,
        parts=_parts(row["parts"]),
    )


def _parts(text: str | None) -> tuple[SourcePart, ...]:
    return tuple(SourcePart(*part) for part in _list(text)) if text else ()


def _list(text: str) -> list[Any]:
    return list(from_json(text))
