"""What a server said of itself at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tidegate.client.shapes import Document, instant

NORMAL = "normal"


@dataclass(frozen=True, slots=True)
class Jobs:
    """Some jobs, and whether there are more than these."""

    items: tuple[Document, ...] = ()
    more: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """The parts that were had; `missing` says of each other one why: an older server, or what the role may not see. A part
    that the server was too busy for is that of the look before, and stands in `late` with what it said."""

    url: str
    taken_at: datetime
    """By the clock of the server where that is known: what it says of instants is held against it."""
    parts: Mapping[str, Any] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    late: Mapping[str, str] = field(default_factory=dict)

    def part(self, name: str) -> Document:
        """One answer; empty when it was not had."""
        found: Document = self.parts.get(name) or {}
        return found

    def items(self, name: str) -> tuple[Document, ...]:
        """The items of a list; empty when it was not had."""
        return tuple(self.parts[name].items) if name in self.parts else ()

    @property
    def version(self) -> str | None:
        """Of the server; an older one tells that of its workers alone."""
        told: str | None = self.part("system").get("process", {}).get("version")
        return told or next((worker["versions"].get("tidegate") for worker in self.items("workers")), None)

    @property
    def owner(self) -> str | None:
        return self.part("whoami").get("owner")

    @property
    def role(self) -> str | None:
        return self.part("whoami").get("role")

    @property
    def mode(self) -> str | None:
        return self.part("mode").get("mode")

    @property
    def level(self) -> str | None:
        """How much pressure there is."""
        return self.part("pressure").get("level")

    @property
    def readings_of_workers(self) -> dict[str, Document]:
        """What is felt on the machine of each worker."""
        return {told["worker_id"]: told for told in self.part("pressure").get("workers", ())}

    def committed(self, resource: str) -> tuple[float, float]:
        """How much of `cpus` or `memory_bytes` is allocated, and how much could be, on all workers that are here."""
        here = [worker for worker in self.items("workers") if worker["status"] in ("online", "draining")]
        return (
            sum(worker["allocated"][resource] for worker in here),
            sum(worker["allocatable"][resource] for worker in here),
        )

    def checks(self) -> dict[str, str | None]:
        """Health checks by name: None when all is well, else what is wrong."""
        found: dict[str, str | None] = dict(self.part("ready").get("checks", {}))
        for name, check in self.part("health").get("checks", {}).items():
            found[name.replace("celery_", "")] = None if check["status"] == "healthy" else check["message"]
        return found

    def age_s(self, at: str | None) -> float | None:
        """Seconds since an instant of the server."""
        told = instant(at)
        return None if told is None else max((self.taken_at - told).total_seconds(), 0.0)

    def document(self) -> Document:
        """All of it as one JSON value."""
        lists = {
            name: list(self.items(name)) for name in ("workers", "queues", "running", "waiting", "alerts")
        }
        return {
            "url": self.url,
            "version": self.version,
            "taken_at": self.taken_at.astimezone(UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            **{name: self.parts.get(name) for name in ("whoami", "mode", "pressure", "system")},
            "checks": self.checks(),
            **{name: items if name in self.parts else None for name, items in lists.items()},
            "more": {name: self.parts[name].more for name in ("running", "waiting") if name in self.parts},
            "missing": dict(self.missing),
        }
