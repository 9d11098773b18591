"""Named data sets: looked at in the sandbox, registered, and found again by whoever may see them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from tidegate.core.identity import Caller
from tidegate.core.names import CONVERTED_ENDINGS, files_folder, managed_file
from tidegate.core.source import Source, SourceColumn
from tidegate.core.states import ExitReason, JobStatus
from tidegate.errors import Conflict, InvalidInput, NotFound, Unavailable
from tidegate.ports import Clock, JobRecord, Store
from tidegate.server.threads import Run

LOOK_S = 60.0
"""Longest time that looking at the files of a new source may take."""
CONVERT_S = 3600.0
"""Likewise where they become Parquet."""

Interactive = Callable[..., Awaitable[JobRecord]]
"""Runs small work as a job and waits for its end: `Service.interactive`."""


class Sources:
    """The sources of a server and where their files lie."""

    def __init__(
        self, store: Store, clock: Clock, run: Run, data_dir: Path, interactive: Interactive
    ) -> None:
        self._store = store
        self._clock = clock
        self._run = run
        self._data_dir = data_dir
        self._interactive = interactive

    async def register(
        self,
        caller: Caller,
        name: str,
        path: str,
        *,
        format: str | None = None,
        options: Mapping[str, Any] | None = None,
        sheet: str | int | None = None,
        managed: bool = False,
        shared: bool = False,
    ) -> Source:
        """Look at a file, glob or folder in the sandbox and register it. Raises Conflict, InvalidInput."""
        await self.refuse_taken_name(caller, name)
        source = await self.look_at(
            caller, name, path, format=format, options=options, sheet=sheet, managed=managed, shared=shared
        )
        await self._run(self._store.add_source, source, caller)
        return source

    async def refuse_taken_name(self, caller: Caller, name: str) -> None:
        """Raise Conflict when the caller has a source of this name."""
        if existing := await self.own(caller.owner, name):
            raise Conflict(
                f"There is a source named {existing.name!r} already. Delete it or choose another name.",
                code="source_exists",
            )

    async def look_at(
        self,
        caller: Caller,
        name: str,
        path: str,
        *,
        format: str | None = None,
        options: Mapping[str, Any] | None = None,
        sheet: str | int | None = None,
        managed: bool = False,
        shared: bool = False,
    ) -> Source:
        """What a file, glob or folder would be as a source, as a job in the sandbox finds it. Raises InvalidInput.

        Of an Excel or Arrow file the job makes Parquet: that is then the source, managed, and its lineage names the file.
        """
        path = self._own_path(caller, path)
        fields: dict[str, Any] = {"kind": "inspect", "path": path, "name": f"look at {name}"}
        if format is not None:
            fields["format"] = format
        if options:
            fields["options"] = options
        if sheet is not None:
            fields["sheet"] = sheet
        converts = format in ("excel", "xlsx", "arrow", "feather") or path.lower().endswith(CONVERTED_ENDINGS)
        looked = await self._interactive(caller, fields, timeout_s=CONVERT_S if converts else LOOK_S)
        facts = result_of(looked)
        made = facts.get("path")
        return Source(
            name=name,
            format=str(facts["format"]),
            path=path if made is None else str(made),
            owner=caller.owner,
            created_at=self._clock.now(),
            columns=tuple(SourceColumn(c["name"], c["type"]) for c in facts["columns"]),
            row_count=facts.get("row_count"),
            size_bytes=facts.get("size_bytes"),
            file_count=facts.get("file_count", 1),
            options=facts.get("options", {}),
            managed=managed or made is not None,
            lineage=() if made is None else (path,),
            job_id=None if made is None else looked.id,
            shared=shared,
            roots=() if managed or made is not None else tuple(looked.spec.get("roots", ())),
        )

    async def find(self, caller: Caller, name: str, owner: str | None = None) -> Source:
        """What a name means to a caller: its own source, or the shared one, or that of the owner it names.

        For operators all sources are there: a name that only one other owner has means that one. Raises NotFound, also for
        what is not for the caller to see, and Conflict when several owners have it and none was named.
        """
        if owner is not None:
            found = await self.own(owner, name)
            if found is not None and (found.shared or caller.sees(owner)):
                return found
            raise NotFound(
                f"Owner {owner!r:.80} has no source named {name!r:.80} for you.", code="unknown_source"
            )
        try:
            return await self._run(self._store.source, name, caller.owner)
        except NotFound:
            others = await self._run(self._store.sources, name=name, limit=10) if caller.sees_all else []
            if not others:
                raise
        if len(others) > 1:
            owners = ", ".join(source.owner for source in others)
            raise Conflict(f"Several owners have a source named {name!r}: {owners}. Say whose by `owner`.")
        return others[0]

    async def own(self, owner: str, name: str) -> Source | None:
        """An owner's own source of that name."""
        found = await self._run(self._store.sources_named, [name], owner)
        return next((source for source in found if source.owner == owner), None)

    def path_of(self, source: Source) -> str:
        """The path of a source as it is called now."""
        return self.managed_path(source.path) if source.managed else source.path

    def managed_path(self, path: str) -> str:
        """Where a file that Tidegate made lies now."""
        return managed_file(path, str(self._data_dir))

    def _own_path(self, caller: Caller, path: str) -> str:
        """Relative paths of those start in that folder, unless they name it themselves."""
        folder = files_folder(caller.owner)
        if caller.sees_all or path.startswith(("/", f"{folder}/")):
            return path
        return f"{folder}/{path}"


def result_of(job: JobRecord) -> dict[str, Any]:
    """The result of a finished job of the service's own. Raises InvalidInput or Unavailable with its reason instead."""
    if job.status is JobStatus.SUCCEEDED and job.result is not None:
        return dict(job.result)
    if job.exit is None:
        raise Unavailable("The work did not start in time: the machine is full. Try again later.")
    if job.exit.reason is ExitReason.ERROR:
        raise InvalidInput(job.exit.message, code=job.exit.code)
    raise Unavailable(job.exit.message, code=str(job.exit.reason))
