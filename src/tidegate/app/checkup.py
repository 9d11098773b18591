"""`tidegate doctor`: what this machine offers, what a cluster stands on, and what is missing."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from tidegate.app.folders import database_of, folder_id, root_of
from tidegate.errors import TidegateError
from tidegate.runtime.doctor import Problem, examine, worst_first
from tidegate.settings import Settings
from tidegate.store.facts import DatabaseFacts, look

MOST_CLOCK_OFFSET_S = 5.0
"""A clock that is further off is worth a word. Nothing decides by it in a cluster: there the database's clock counts."""
_PASSWORD = re.compile(r"//[^@/]*@")


def doctor(settings: Settings) -> dict[str, Any]:
    """What this machine offers, what it can reach, and what is missing, as JSON values."""
    report = examine(settings)
    problems: list[Problem] = []
    report["services"] = _services(settings, problems)
    report["problems"] = worst_first([*report["problems"], *map(asdict, problems)])
    return report


def _services(settings: Settings, problems: list[Problem]) -> dict[str, Any]:
    facts = _database(settings, problems)
    return {
        "database": None if facts is None else _shown(facts),
        "broker": _reached(
            "broker",
            settings.broker_url,
            "tidegate.runtime.celery:broker_fault",
            problems,
            "Servers and workers go on and connect when it is there. See that it runs and CELERY_BROKER_URL is right.",
        ),
        "redis": _reached(
            "redis",
            settings.redis_url,
            "tidegate.cache.connection:fault",
            problems,
            "A cluster works without it, but slower. See that it runs and REDIS_URL is right, or leave REDIS_URL out.",
        ),
        "shared_path": _shared_path(settings, facts, problems) if settings.broker_url else None,
        "consul": _consul(settings, problems),
    }


def _consul(settings: Settings, problems: list[Problem]) -> dict[str, Any] | None:
    if not settings.consul_host:
        return None
    from tidegate.app.consul import consul_fault  # noqa: PLC0415 - for those who want it

    wrong = consul_fault(settings)
    if wrong is not None:
        message = f"Servers cannot be registered in Consul: {wrong}."
        advice = "They work without it, and register when it is there. See that CONSUL_HOST and CONSUL_PORT are right."
        problems.append(Problem("warning", "consul", message, advice))
    return {"url": f"{settings.consul_host}:{settings.consul_port}", "fault": wrong}


def _database(settings: Settings, problems: list[Problem]) -> DatabaseFacts | None:
    if settings.database_url is None and not (root_of(settings) / "tidegate.db").exists():
        return None  # SQLite, made at the first start
    try:
        facts = look(database_of(settings))
    except TidegateError as error:
        problems.append(
            Problem("error", "database", error.message, "See that it runs and DATABASE_URL is right.")
        )
        return None
    if facts.revision is not None and facts.revision != facts.newest:
        message = (
            f"The database has revision {facts.revision} of the tables; this program makes it {facts.newest}."
        )
        problems.append(Problem("info", "migration", message, "The next start does that."))
    offset_s = _offset_s(facts)
    if abs(offset_s) > MOST_CLOCK_OFFSET_S:
        message = f"This machine's clock is {abs(offset_s):.1f} s {'ahead of' if offset_s > 0 else 'behind'} the database's."
        problems.append(Problem("warning", "clock", message, "Let both follow a time server (NTP)."))
    return facts


def _offset_s(facts: DatabaseFacts) -> float:
    return (datetime.now(UTC) - facts.now) / timedelta(seconds=1)


def _shown(facts: DatabaseFacts) -> dict[str, Any]:
    return {
        "url": facts.url,
        "product": facts.product,
        "revision": facts.revision,
        "newest_revision": facts.newest,
        "clock_offset_s": round(_offset_s(facts), 3),
    }


def _reached(
    name: str, url: str | None, function: str, problems: list[Problem], advice: str
) -> dict[str, Any] | None:
    if url is None:
        return None
    module, _, attribute = function.partition(":")
    try:
        fault: Callable[[str], str | None] = getattr(importlib.import_module(module), attribute)
        wrong = fault(url)
    except ModuleNotFoundError as error:
        wrong, advice = f"{error.name} is not installed", "Install tidegate[cluster]."
    shown = _PASSWORD.sub("//***@", url)
    if wrong is not None:
        problems.append(
            Problem(
                "warning" if name == "redis" else "error",
                name,
                f"The {name} at {shown} cannot be used: {wrong}.",
                advice,
            )
        )
    return {"url": shown, "fault": wrong}


def _shared_path(
    settings: Settings, facts: DatabaseFacts | None, problems: list[Problem]
) -> dict[str, Any] | None:
    root = root_of(settings)
    if not root.is_dir():
        return {"id": None, "others": []}
    try:
        ours = folder_id(root)
    except OSError as error:
        message = f"The shared path {root} cannot be written: {error.strerror}."
        problems.append(Problem("error", "shared_path", message, "Mount it so that this user may write."))
        return None
    others = sorted(
        name for name, theirs in (facts.shared_paths if facts else {}).items() if theirs not in ("", ours)
    )
    if others:
        message = f"What is {root} here is another folder for the workers {', '.join(others)}."
        advice = "Mount the same folder on all machines, and give its place as NFS_SHARE_ROOT_PATH."
        problems.append(Problem("error", "shared_path", message, advice))
    return {"id": ours, "others": others}
