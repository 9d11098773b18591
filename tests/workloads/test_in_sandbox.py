"""Queries in real sandboxes: held to memory and disk, cancelled, confined to their sources."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tidegate.core.job import AttemptKey
from tidegate.core.resources import GIB, MIB, Resources
from tidegate.core.states import ExitReason
from tidegate.runtime.sandbox import SandboxEnd, Sandboxes, SandboxOrder, SandboxProgress

PAD = "repeat('x', 100)"


class Sandbox:
    """Runs queries one after the other in the sandboxes of one instance."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = itertools.count(1)
        self._sandboxes = Sandboxes(
            instance=f"sqltest{os.getpid()}",
            rung="auto",
            yield_cpu="nice",
            preload=["tidegate.workloads.inspect_run", "tidegate.workloads.sql_run"],
        )
        self._sandboxes.open()
        assert self._sandboxes.warnings == []

    def run(
        self, sql: str, *, memory: int = 256 * MIB, disk: int = 4 * GIB, cpus: int = 1000, cancel: bool = False,
        timeout_s: float = 50.0, inputs: Mapping[str, Path] | None = None, output: Mapping[str, Any] | None = None,
    ) -> tuple[SandboxEnd, Path]:  # fmt: skip
        key = AttemptKey(next(self._numbers), 1, 1)
        folder = self.folder / str(key)
        sources = [
            {"name": name, "format": path.suffix[1:], "paths": [str(path)], "options": {}, "columns": []}
            for name, path in (inputs or {}).items()
        ]
        spec = {
            "sql": sql,
            "inputs": sources,
            "readable_paths": [str(path) for path in (inputs or {}).values()],
            "output": output or {"kind": "source"},
        }
        self._sandboxes.start(
            SandboxOrder(
                key=key,
                runner="tidegate.workloads.sql_run:run",
                spec=spec,
                resources=Resources(cpus, memory, disk),
                timeout_s=timeout_s,
                folder=str(folder),
            )
        )
        return self._end_of(key, cancel=cancel), folder / "staging"

    def _end_of(self, key: AttemptKey, *, cancel: bool) -> SandboxEnd:
        while True:
            for event in self._sandboxes.poll(55):
                if isinstance(event, SandboxEnd) and event.key == key:
                    return event
                if cancel and isinstance(event, SandboxProgress) and event.progress:
                    self._sandboxes.cancel(key)

    def close(self) -> None:
        self._sandboxes.close()


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    sandbox = Sandbox(tmp_path_factory.mktemp("attempts"))
    yield sandbox
    sandbox.close()


def exit_of(end: SandboxEnd) -> tuple[ExitReason, str | None]:
    assert not end.succeeded
    assert end.exit is not None
    return end.exit.reason, end.exit.code


def test_a_query_succeeds_with_its_result_and_use(sandbox: Sandbox) -> None:
    end, staging = sandbox.run("select range as r from range(1000)")
    assert end.succeeded, end.exit
    assert end.result is not None
    assert (staging / end.result["file"]).read_bytes()[-4:] == b"PAR1"
    assert end.usage.peak_memory_bytes is not None
    assert 0 < end.usage.peak_memory_bytes < 256 * MIB


def test_every_kind_of_output_works_confined(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,t\n1,2024-01-01 10:00:00\n")
    inputs = {"a": tmp_path / "a.csv"}
    sql = "select a, t, t::timestamptz, {'x': t, 'd': 1.5}, map {'k': t}, uuid(), sum(a) over () from a"
    outputs: list[dict[str, Any]] = [
        {"kind": "source"},
        {"kind": "inline", "max_rows": 5, "max_bytes": MIB},
        *({"kind": "file", "format": kind} for kind in ("csv", "jsonl", "parquet")),
    ]
    for output in outputs:
        end, staging = sandbox.run(sql, inputs=inputs, output=output)
        assert end.succeeded, end.exit
        assert end.result is not None
        assert end.result["row_count"] == 1
        assert (staging / end.result["file"]).stat().st_size > 0


def test_memory_that_cannot_spill_ends_as_memory_limit_with_numbers(sandbox: Sandbox) -> None:
    end, _ = sandbox.run("select list(range) from range(100000000)")
    assert exit_of(end) == (ExitReason.MEMORY_LIMIT, "memory_limit")
    assert end.exit is not None
    assert end.exit.limit == 256 * MIB


def test_a_spill_beyond_its_disk_ends_as_disk_limit_with_numbers(sandbox: Sandbox) -> None:
    end, _ = sandbox.run(
        f"select range, {PAD} as pad from range(5000000) order by hash(range)", disk=100 * MIB
    )
    assert exit_of(end)[0] == ExitReason.DISK_LIMIT
    assert end.exit is not None
    assert end.exit.limit == 100 * MIB


def test_a_running_query_is_cancelled_by_an_interrupt(sandbox: Sandbox) -> None:
    end, staging = sandbox.run(
        "select count(*) from range(100000000000) t where hash(t.range) = 3", cancel=True
    )
    assert exit_of(end)[0] == ExitReason.CANCELLED
    assert end.tree_gone
    assert list(staging.glob("*.parquet")) == []


def test_a_query_ends_at_its_time_limit(sandbox: Sandbox) -> None:
    end, _ = sandbox.run("select count(*) from range(100000000000) t where hash(t.range) = 3", timeout_s=1.0)
    assert exit_of(end)[0] == ExitReason.TIME_LIMIT


def test_a_source_is_read_and_its_neighbour_is_not(sandbox: Sandbox, tmp_path: Path) -> None:
    for name in ("mine", "other"):
        (tmp_path / f"{name}.csv").write_text("x\n1\n")
    inputs = {"mine": tmp_path / "mine.csv"}
    assert sandbox.run("from mine", inputs=inputs)[0].succeeded
    end, _ = sandbox.run(f"from mine, read_csv('{tmp_path}/other.csv')", inputs=inputs)
    assert exit_of(end) == (ExitReason.ERROR, "permission")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_sort_and_join_over_five_times_the_memory_finish_by_spilling(sandbox: Sandbox) -> None:
    memory = 256 * MIB
    made, staging = sandbox.run(
        f"select range as id, hash(range) as h, {PAD} || range as pad from range(11000000)", memory=memory
    )
    assert made.succeeded, made.exit
    assert made.result is not None
    inputs = {"big": staging / made.result["file"]}
    for sql, rows in (
        ("from big order by h", 11_000_000),
        ("select a.id, a.pad, b.pad as other from big a join big b on a.h = b.h", 11_000_000),
    ):
        end, _ = sandbox.run(sql, memory=memory, disk=20 * GIB, inputs=inputs, timeout_s=120)
        assert end.succeeded, end.exit
        assert end.result is not None
        assert end.result["row_count"] == rows
        assert end.usage.peak_memory_bytes is not None
        assert end.usage.peak_memory_bytes <= memory
        print(sql, end.usage)
