"""`SourceStore` in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from tidegate.core.identity import Action, Caller
from tidegate.core.names import INTERACTIVE_QUEUE, source_key
from tidegate.core.source import Source
from tidegate.errors import NotFound
from tidegate.store import rules
from tidegate.store.sources import not_found
from tidegate.testing.memory_state import MemoryState, locked


class MemorySources(MemoryState):
    """`SourceStore` in memory."""

    @locked
    def add_source(self, source: Source, by: Caller | None = None) -> None:
        self._check_name(source.owner, source.name)
        if source.shared and self._shared(source.name) is not None:
            raise rules.shared_conflict(source.name)
        self._sources[source.key] = source
        self._note(by, Action.ADD_SOURCE, f"source {source.key}", shared=source.shared, path=source.path)

    @locked
    def replace_source(self, old: Source, new: Source, by: Caller | None = None) -> None:
        there = self._sources.get(new.key)
        if there is None or (there.path, there.created_at) != (old.path, old.created_at):
            raise rules.changed_conflict(old.name)
        shared = self._shared(new.name)
        if new.shared and shared is not None and shared.key != new.key:
            raise rules.shared_conflict(new.name)
        self._sources[new.key] = new
        detail = {"shared": new.shared, "path": new.path, "replaced": True}
        self._note(by, Action.ADD_SOURCE, f"source {new.key}", **detail)

    @locked
    def source(self, name: str, reader: str) -> Source:
        found = self._meant(name, reader)
        if found is None:
            raise self._unknown(name, reader)
        return found

    @locked
    def sources(
        self,
        *,
        reader: str | None = None,
        owner: str | None = None,
        name: str | None = None,
        after: str = "",
        limit: int = 100,
    ) -> list[Source]:
        found = [
            source
            for key, source in sorted(self._sources.items())
            if key > after
            and owner in (None, source.owner)
            and (name is None or rules.name_key(name) == rules.name_key(source.name))
            and (source.shared or reader in (None, source.owner))
        ]
        return found[:limit]

    @locked
    def sources_named(self, names: Iterable[str], reader: str) -> list[Source]:
        meant = (self._meant(name, reader) for name in sorted({rules.name_key(name) for name in names}))
        return [source for source in meant if source is not None]

    @locked
    def delete_source(self, name: str, owner: str, by: Caller | None = None) -> Source:
        found = self._sources.pop(source_key(owner, name), None)
        if found is None:
            raise self._unknown(name, owner)
        self._note(by, Action.DELETE_SOURCE, f"source {found.key}")
        return found

    def _meant(self, name: str, reader: str) -> Source | None:
        return self._sources.get(source_key(reader, name)) or self._shared(name)

    def _shared(self, name: str) -> Source | None:
        key = rules.name_key(name)
        return next((s for s in self._sources.values() if s.shared and rules.name_key(s.name) == key), None)

    def _unknown(self, name: str, reader: str) -> NotFound:
        return not_found(name, [s.name for s in self._sources.values() if s.shared or s.owner == reader])

    @locked
    def each_managed_path(self, see: Callable[[str], None], answered_before: datetime | None = None) -> None:
        paths = {path for source in self._sources.values() if source.managed for path in source.paths}
        for job in self._jobs.values():
            ended, own = job.finished_at, job.order.queue == INTERACTIVE_QUEUE
            if answered_before is not None and own and ended is not None and ended < answered_before:
                continue
            sourceless = (
                task for task in job.tasks if job.result_name is None or job.has_other_results(task)
            )
            results = (task.result for task in sourceless if task.result)
            paths |= {result["path"] for result in results if isinstance(result.get("path"), str)}
        for path in paths:
            see(path)
