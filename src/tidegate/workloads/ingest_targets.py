"""Where an ingest may go: a data source, a target of the settings, or a URL where those are allowed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tidegate.core.source import Source
from tidegate.errors import Conflict, InvalidInput
from tidegate.ports import IntakeContext
from tidegate.workloads.ingest_names import grows
from tidegate.workloads.targets.address import Address, parse_address
from tidegate.workloads.targets.model import Mode

SOURCE = "source"
"""What `into` says for a data source, and by default."""


_NAME = re.compile(r"[A-Za-z0-9_.-]{1,63}")


@dataclass(frozen=True, slots=True)
class Destination:
    """A judged `into`, as the fields of a job's spec."""

    label: str
    """For people: the target's name, or the URL without user and password."""
    is_source: bool
    spec: Mapping[str, Any] = field(repr=False)
    """Of a target of the settings only its name: the worker puts in the URL when it starts the attempt."""
    readable_paths: tuple[str, ...] = ()
    replace: bool = False
    own_source: Callable[[str], Source | None] = lambda name: None

    def of_table(self, table: str, again: bool) -> dict[str, Any]:
        """What a task's spec says of its table."""
        return {"grows": grows(table, replace=self.replace, again=again)} if self.is_source else {}

    def loads_of(self, table: str) -> list[str]:
        """What a source has loaded already. Raises Conflict for one that does not grow by loads."""
        if not self.is_source:
            return []
        there = self.own_source(table)
        if there is not None and not there.parts:
            raise Conflict(
                f"There is a source named {there.name!r} already that was not made by ingest jobs. Choose another `table`, "
                "or delete the source first.",
                code="source_exists",
            )
        return [part.load for part in there.parts] if there is not None else []


def destination(
    into: object, schema: object, mode: Mode, keys: Iterable[str], context: IntakeContext
) -> Destination:
    """Raises InvalidInput for what is not there or not allowed, never with anything of a URL that may be secret."""
    if into is None or into == SOURCE:
        return _source(mode, tuple(keys), schema, context)
    if not isinstance(into, str) or len(into) > 4096:
        raise InvalidInput("`into` must be 'source', the name of a target, or the URL of a database.")
    if mode is Mode.UPSERT and not tuple(keys):
        raise InvalidInput(
            "`mode` upsert needs `keys`: the columns that tell rows apart.", code="keys_missing"
        )
    if into in context.kinds.targets:
        address = parse_address(context.kinds.targets[into])
        return _database(address, {"name": into}, into, schema)
    if "://" not in into:
        known = ", ".join(sorted(context.kinds.targets)) or "there are none yet"
        named = (
            f" {into!r}" if _NAME.fullmatch(into) else " of that name"
        )  # it may be a URL with a secret, mistyped
        raise InvalidInput(
            f"`into`: there is no target{named}. Targets are made in the setting `targets`; known: {known}.",
            code="unknown_target",
        )
    if not context.kinds.target_urls:
        raise InvalidInput(
            "`into`: URLs are not taken on this server. Name a target of its setting `targets`, or have whoever runs it "
            "turn on `ingest_urls`.",
            code="urls_off",
        )
    address = parse_address(into)
    _check_file(address, context)
    return _database(address, {"url": into}, str(address), schema)


def _source(mode: Mode, keys: tuple[str, ...], schema: object, context: IntakeContext) -> Destination:
    if mode is Mode.UPSERT or keys or schema is not None:
        raise InvalidInput(
            "A data source takes rows by `mode` append or replace; upsert, `keys` and `schema` are for databases. Name one "
            "with `into`.",
            code="not_for_sources",
        )

    def own_source(name: str) -> Source | None:
        return next((found for found in context.sources_named([name]) if found.owner == context.owner), None)

    return Destination(
        SOURCE,
        is_source=True,
        spec={"into": SOURCE},
        replace=mode is Mode.REPLACE,
        own_source=own_source,
    )


def _database(address: Address, target: dict[str, str], label: str, schema: object) -> Destination:
    if schema is not None and not (isinstance(schema, str) and 0 < len(schema) <= 63):
        raise InvalidInput("`schema` must be the name of a schema, 1 to 63 characters.")
    needs = address.needs
    return Destination(
        label,
        is_source=False,
        spec={
            "into": label,
            "target": target,
            "schema": schema,
            "connect_ports": list(needs.connect_ports),
            "writable_paths": list(needs.writable_paths),
        },
        readable_paths=needs.readable_paths,
    )


def _check_file(address: Address, context: IntakeContext) -> None:
    """A SQLite file that a user names must lie where whoever runs the server allows it."""
    if address.kind != "sqlite":
        return
    context.before_look()
    below = any(_is_below(address.database, os.path.realpath(root)) for root in context.kinds.target_roots)
    if not below or _is_below(address.database, os.path.realpath(context.data_dir)):
        raise InvalidInput(
            "`into`: this SQLite file is outside the folders in which files may be written. Add its folder to the setting "
            "`target_roots`, or name a target of `targets`.",
            code="path_outside",
        )
    if not os.path.isdir(os.path.dirname(address.database)):
        raise InvalidInput(
            "`into`: the folder of this SQLite file does not exist. Make it first.", code="missing_folder"
        )


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip(os.sep) + os.sep)
