"""A load as it runs in earnest: confined, with the needs of its address and nothing else."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.lab import Lab as SandboxLab
from tests.workloads.targets.support import Lab
from tidegate.runtime.limits import landlock
from tidegate.runtime.sandbox import SandboxEnd


@pytest.fixture
def sandboxes(tmp_path: Path) -> Iterator[SandboxLab]:
    lab = SandboxLab(
        f"test{secrets.token_hex(4)}", tmp_path / "attempts", preload="tidegate.workloads.ingest_run"
    )
    yield lab
    lab.close()


def ingested(sandboxes: SandboxLab, lab: Lab, file: Path, **changed: Any) -> SandboxEnd:
    needs = lab.address.needs
    spec: dict[str, Any] = {
        "options": {}, "path": str(file), "input": file.name, "into": "x", "target": {"url": lab.url}, "table": "t",
        "schema": None, "mode": "append", "keys": [], "again": False, "add_columns": False,
        "readable_paths": [str(file), *needs.readable_paths], "writable_paths": list(needs.writable_paths),
        "connect_ports": list(needs.connect_ports),
    }  # fmt: skip
    order = sandboxes.order("answer", memory_mib=512, timeout_s=60.0, **{**spec, **changed})
    sandboxes.sandboxes.start(replace(order, runner="tidegate.workloads.ingest_run:run"))
    return sandboxes.end_of(order.key)


def test_a_csv_file_goes_from_the_sandbox_into_a_database(
    lab: Lab, sandboxes: SandboxLab, tmp_path: Path
) -> None:
    file = tmp_path / "orders.csv"
    file.write_text("id,name,at\n1,Größe,2024-01-01 10:00:00\n2,\t,2024-01-02 11:00:00.5\n")
    end = ingested(sandboxes, lab, file)
    assert end.result is not None, end
    assert (end.result["inserted"], end.result["created"]) == (2, True)
    assert lab.rows("SELECT count(*) FROM t WHERE name = 'Größe' AND id = 1") == [(1,)]


@pytest.mark.servers
@pytest.mark.skipif(landlock.abi() < 4, reason="this kernel's Landlock knows no TCP")
def test_without_its_port_no_database_is_reached(
    postgresql: Any, sandboxes: SandboxLab, tmp_path: Path
) -> None:
    file = tmp_path / "orders.csv"
    file.write_text("id\n1\n")
    end = ingested(sandboxes, Lab(postgresql.url, tmp_path), file, connect_ports=[1])
    assert not end.succeeded
    assert "target_unreachable" in str(end.exit)
