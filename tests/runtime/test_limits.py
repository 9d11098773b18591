"""Limits hold, and the figures are true, on every rung that works here."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from tests.runtime.lab import Lab, groups_of, is_progress
from tidegate.core.resources import MIB
from tidegate.core.states import ExitReason
from tidegate.runtime.limits.files import processes_in

LIMIT_MIB = 96


@pytest.mark.parametrize("runner", ["eat", "eat_shared", "eat_in_child"])
def test_a_memory_bomb_is_ended_at_its_limit(lab: Lab, runner: str) -> None:
    end = lab.run(runner, memory_mib=LIMIT_MIB)
    assert end.exit is not None
    assert end.exit.reason is ExitReason.MEMORY_LIMIT
    assert end.exit.limit == LIMIT_MIB * MIB
    assert end.exit.observed is not None
    assert end.exit.observed >= 0.9 * LIMIT_MIB * MIB
    assert "96 MiB" in end.exit.message
    assert "`memory`" in end.exit.message
    assert end.tree_gone


def test_the_kernel_lets_nothing_over_the_limit(lab: Lab) -> None:
    if lab.sandboxes.rungs.in_use == "watchdog":
        pytest.skip("the watchdog looks from time to time")
    end = lab.run("eat", memory_mib=LIMIT_MIB)
    assert end.usage.peak_memory_with_cache_bytes is not None
    assert end.usage.peak_memory_with_cache_bytes <= LIMIT_MIB * MIB
    assert end.exit is not None
    assert end.exit.enforced_by == lab.sandboxes.rungs.in_use


@pytest.mark.parametrize("seconds", [0.0, 0.6])
def test_the_peak_is_true_for_short_and_long_attempts(lab: Lab, seconds: float) -> None:
    end = lab.run("hold", mib=60, seconds=seconds, memory_mib=200)
    assert end.succeeded
    assert end.usage.peak_memory_bytes is not None
    assert 55 * MIB <= end.usage.peak_memory_bytes <= 70 * MIB


def test_a_small_attempt_has_a_small_peak(lab: Lab) -> None:
    peak = lab.run("answer").usage.peak_memory_bytes
    assert peak is not None
    assert 0 <= peak <= 8 * MIB


def test_page_cache_is_no_memory_of_the_attempt(lab: Lab) -> None:
    end = lab.run("fill_cache", mib=150, memory_mib=128)
    assert end.succeeded
    assert end.usage.peak_memory_bytes is not None
    assert end.usage.peak_memory_bytes <= 20 * MIB
    if end.usage.peak_memory_with_cache_bytes is not None:
        assert end.usage.peak_memory_with_cache_bytes >= 100 * MIB


def test_what_was_written_is_counted(lab: Lab) -> None:
    end = lab.run("fill_cache", mib=20)
    assert end.usage.written_bytes is not None
    assert 20 * MIB <= end.usage.written_bytes <= 22 * MIB


def test_cpu_of_children_is_counted(lab: Lab) -> None:
    end = lab.run("spin", seconds=0.2, child=True)
    assert end.usage.cpu_seconds is not None
    assert 0.4 <= end.usage.cpu_seconds < 0.8


def test_cpu_of_an_earlier_attempt_is_not_counted_again(lab: Lab) -> None:
    lab.run("spin", seconds=0.3)
    cpu = lab.run("answer").usage.cpu_seconds
    assert cpu is not None
    assert cpu < 0.2


def test_a_fork_bomb_is_contained(lab: Lab) -> None:
    """On the watchdog the bomb is of bounded size, since nothing but the next look would bound it."""
    bounded = {"most": 600} if lab.sandboxes.rungs.in_use == "watchdog" else {}
    end = lab.run("fork_bomb", timeout_s=1.0, memory_mib=256, **bounded)
    assert not end.succeeded
    assert end.tree_gone
    assert lab.strays() == []


def test_too_many_processes_are_named_by_the_watchdog(lab: Lab) -> None:
    if lab.sandboxes.rungs.in_use != "watchdog":
        pytest.skip("the kernel refuses the fork instead")
    end = lab.run("fork_bomb", most=560, memory_mib=2000)
    assert end.exit is not None
    assert end.exit.code == "process_limit"
    assert end.exit.limit == 512


@pytest.mark.parametrize("runner", ["fill_disk", "fill_file"])
def test_the_disk_limit_holds(lab: Lab, runner: str) -> None:
    end = lab.run(runner, disk_mib=80)
    assert end.exit is not None
    assert end.exit.reason is ExitReason.DISK_LIMIT
    assert end.exit.limit == 80 * MIB
    assert "80 MiB" in end.exit.message


def test_an_attempt_without_a_disk_request_can_still_write_a_little(lab: Lab) -> None:
    assert lab.run("fill_cache", mib=20, disk_mib=0).succeeded


def test_kernel_groups_exist_while_it_runs_and_hold_nothing_after(own_lab: Lab) -> None:
    lab = own_lab
    seen: list[str] = []
    end = lab.run_until("sleep", is_progress, lambda _: seen.extend(_attempt_groups(lab)), seconds=0.2)
    assert end.succeeded
    assert bool(seen) == (lab.sandboxes.rungs.in_use != "watchdog")
    assert end.tree_gone
    assert not any(processes_in(group) for group in _attempt_groups(lab))


def test_a_group_that_is_as_new_serves_the_next_attempt_with_the_same_limits(own_lab: Lab) -> None:
    lab = own_lab
    if lab.sandboxes.rungs.in_use != "cgroup1":
        pytest.skip("only there can a group be made as new")
    first = lab.run("hold", mib=60, memory_mib=128)
    groups = _attempt_groups(lab)
    second = lab.run("answer", memory_mib=128)
    assert _attempt_groups(lab) == groups
    assert first.usage.peak_memory_with_cache_bytes is not None
    assert first.usage.peak_memory_with_cache_bytes > 60 * MIB
    assert second.usage.peak_memory_with_cache_bytes is not None
    assert second.usage.peak_memory_with_cache_bytes < 10 * MIB
    lab.run("answer", memory_mib=129)
    assert set(_attempt_groups(lab)).isdisjoint(groups)


@pytest.mark.parametrize(
    ("runner", "options"), [("eat", {}), ("sleep", {"timeout_s": 0.2}), ("fill_cache", {"mib": 50})]
)
def test_a_group_with_traces_of_its_attempt_is_not_used_again(
    own_lab: Lab, runner: str, options: dict[str, Any]
) -> None:
    """Its memory kills cannot be forgotten, its kill may have shut it, its cache would count for the next."""
    lab = own_lab
    if lab.sandboxes.rungs.in_use == "watchdog":
        pytest.skip("it has no groups")
    lab.run("answer", memory_mib=100)
    groups = set(_attempt_groups(lab))
    lab.run(runner, memory_mib=100, **options)
    assert lab.run("answer", memory_mib=100).succeeded
    assert groups.isdisjoint(_attempt_groups(lab))


def _attempt_groups(lab: Lab) -> list[str]:
    return [
        path
        for path in groups_of(lab.instance)
        if os.path.basename(os.path.dirname(path)).startswith("tidegate-")
    ]


def test_the_sandbox_is_as_it_should_be(lab: Lab) -> None:
    order = lab.order("circumstances")
    lab.sandboxes.start(order)
    end = lab.end_of(order.key)
    assert end.result is not None
    facts = end.result
    assert facts["cwd"] == os.path.realpath(f"{order.folder}/staging")
    assert facts["environment"]["TMPDIR"] == facts["cwd"]
    assert facts["session"]
    assert facts["threads"] == 1
    assert facts["no_new_privileges"] == 1
    assert facts["effective_capabilities"] in (0, 2), "at most CAP_DAC_OVERRIDE"
    assert len(facts["open_files"]) <= 7, "standard streams, the report, the figures, and the listing itself"


def test_secrets_of_the_server_do_not_reach_a_job(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://s3cret")
    monkeypatch.setenv("TIDEGATE_API_KEY", "s3cret")
    lab = Lab("testhidden", tmp_path_factory.mktemp("attempts"), "watchdog")
    try:
        facts = lab.run("circumstances").result
    finally:
        lab.close()
    assert facts is not None
    assert not {"DATABASE_URL", "TIDEGATE_API_KEY"} & facts["environment"].keys()
    assert "s3cret" not in str(facts["environment"])


@pytest.mark.parametrize(
    ("yield_cpu", "interactive", "policy", "nice"),
    [
        ("idle", False, os.SCHED_IDLE, 0),
        ("idle", True, os.SCHED_OTHER, 5),
        ("nice", False, os.SCHED_OTHER, 10),
        ("auto", False, os.SCHED_OTHER, 10),
        ("auto", True, os.SCHED_OTHER, 5),
        ("off", False, os.SCHED_OTHER, 0),
    ],
)
def test_a_process_yields_the_cpu_where_no_group_does_it(
    tmp_path_factory: pytest.TempPathFactory, yield_cpu: str, interactive: bool, policy: int, nice: int
) -> None:
    lab = Lab("testyield", tmp_path_factory.mktemp("attempts"), "watchdog", yield_cpu)
    try:
        facts = lab.run("circumstances", interactive=interactive).result
    finally:
        lab.close()
    assert facts is not None
    assert (facts["policy"], facts["nice"]) == (policy, min(os.nice(0) + nice, 19))


def test_the_zygote_knows_no_server_code(lab: Lab) -> None:
    facts = lab.run("circumstances").result
    assert facts is not None
    heavy = {
        "pydantic",
        "pydantic_settings",
        "sqlalchemy",
        "fastapi",
        "uvicorn",
        "asyncio",
        "logging",
        "duckdb",
        "httpx2",
    }
    assert heavy & set(facts["modules"]) == set()


def test_core_files_are_off(lab: Lab) -> None:
    end = lab.run("kill_itself", signal=signal.SIGSEGV)
    assert end.exit is not None
    assert end.exit.observed == signal.SIGSEGV
    assert "core" not in os.listdir(lab.folder / str(end.key) / "staging")
