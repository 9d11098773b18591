"""By what a server judges submissions, as its settings want it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from tidegate.app.kinds import function_modules, target_urls
from tidegate.core.resources import parse_bytes
from tidegate.ports import KindRules, Store, Workload
from tidegate.server.judge import Rules
from tidegate.settings import Settings


def make_rules(settings: Settings, workloads: Mapping[str, Workload], root: Path, store: Store) -> Rules:
    """`root` is the data directory. Raises SettingError for a target or a module that cannot be used."""
    return Rules(
        workloads=workloads,
        data_dir=str(root),
        source_roots=_real(settings.source_roots),
        default_timeout_s=settings.default_timeout_s,
        sources_named=store.sources_named,
        kinds=_kind_rules(settings),
    )


def _kind_rules(settings: Settings) -> KindRules:
    modules = function_modules(settings)
    return KindRules(
        commands=settings.enable_commands,
        readable_roots=_real(settings.command_readable_roots),
        writable_roots=_real(settings.command_writable_roots),
        function_modules=modules.names,
        functions=modules.functions,
        unseen_modules=modules.unseen,
        targets=target_urls(settings),
        target_urls=settings.ingest_urls == "anyone"
        or (settings.ingest_urls == "on-loopback" and settings.only_on_loopback),
        keeps_results=parse_bytes(settings.result_cache) > 0,
        target_roots=_real(settings.target_roots),
    )


def _real(folders: Iterable[Path]) -> tuple[str, ...]:
    return tuple(str(folder.expanduser().resolve()) for folder in folders)
