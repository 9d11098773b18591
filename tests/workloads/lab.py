"""Runners are run as in the sandbox: in children forked from a warm process, which is started once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tidegate.core.resources import GIB, MIB, Resources
from tidegate.core.source import Source, SourceColumn
from tidegate.ports import IntakeContext, WorkOrder
from tidegate.runtime.clock import SystemClock
from tidegate.workloads.inspect import InspectWorkload
from tidegate.workloads.sql import SqlWorkload

LARGEST = Resources(8000, 32 * GIB, 400 * GIB)


class Failed(Exception):
    """What a runner's TaskError said."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        super().__init__(f"{facts['code']}: {facts['message']}")
        self.message: str = facts["message"]
        self.code: str = facts["code"]
        self.reason: str = facts["reason"]
        self.numbers: Mapping[str, Any] = facts["numbers"]


@dataclass
class Ran:
    """What a runner answered."""

    result: Mapping[str, Any]
    progress: list[float]
    staging: Path
    maxrss_bytes: int

    @property
    def file(self) -> Path:
        return self.staging / self.result["file"]

    def rows(self) -> Any:
        return json.loads(
            self.file.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON")
        )


class Forker:
    """Speaks to tests/workloads/forker.py."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forker.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.hello: Mapping[str, Any] = self._answer()

    def run(self, order: Mapping[str, Any]) -> Mapping[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()


@dataclass
class Lab:
    """Registers files as sources and runs queries over them, by way of the workloads and their runners."""

    forker: Forker
    folder: Path
    sources: dict[str, Source] = field(default_factory=dict)
    runs: int = 0
    source_roots: tuple[str, ...] = ()

    @property
    def files(self) -> Path:
        path = self.folder / "files"
        path.mkdir(exist_ok=True)
        return path

    def context(self) -> IntakeContext:
        def named(names: Iterable[str]) -> list[Source]:
            lowered = {name.lower() for name in names}
            return [source for name, source in self.sources.items() if name.lower() in lowered]

        return IntakeContext("ann", str(self.folder), named, LARGEST, source_roots=self.source_roots)

    def write(self, name: str, data: str | bytes) -> Path:
        path = self.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    def inspect(self, path: str, **fields: Any) -> Mapping[str, Any]:
        order = InspectWorkload().order({"path": path, **fields}, self.context())
        return self._run("tidegate.workloads.inspect_run:run", order.spec, order.request).result

    def register(self, name: str, path: str, **fields: Any) -> Source:
        found = self.inspect(path, **fields)
        self.sources[name] = source = Source(
            name=name,
            format=found["format"],
            path=path,
            owner="ann",
            created_at=SystemClock().now(),
            columns=tuple(SourceColumn(column["name"], column["type"]) for column in found["columns"]),
            options=found["options"],
        )
        return source

    def sql(
        self, sql: str, *, memory: int = 256 * MIB, disk: int = GIB, cpus: int = 1000, **order: Any
    ) -> Ran:
        fields = {"sql": sql, **({"output": order.pop("output")} if "output" in order else {})}
        return self.run_sql(self.order(fields).spec, Resources(cpus, memory, disk), **order)

    def order(self, fields: Mapping[str, Any]) -> WorkOrder:
        return SqlWorkload().order(fields, self.context())

    def run_sql(
        self, spec: Mapping[str, Any], resources: Resources = Resources(1000, 256 * MIB, GIB), **order: Any
    ) -> Ran:
        return self._run("tidegate.workloads.sql_run:run", spec, resources, **order)

    def rows(self, sql: str, *, max_rows: int = 1000, max_bytes: int = MIB, **order: Any) -> Any:
        output = {"kind": "inline", "max_rows": max_rows, "max_bytes": max_bytes}
        return self.sql(sql, output=output, **order).rows()

    def _run(self, runner: str, spec: Mapping[str, Any], resources: Resources, **order: Any) -> Ran:
        self.runs += 1
        staging = self.folder / "attempts" / str(self.runs)
        staging.mkdir(parents=True)
        amounts = (resources.cpu_milli, resources.memory_bytes, resources.disk_bytes)
        answer = self.forker.run(
            {"runner": runner, "spec": spec, "resources": amounts, "staging": str(staging), **order}
        )
        if "error" in answer:
            raise Failed(answer["error"])
        assert "result" in answer, answer.get("crash", answer)
        return Ran(answer["result"], answer["progress"], staging, answer["maxrss_bytes"])
