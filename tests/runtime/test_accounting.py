"""CPU time of an attempt, against what control groups of their own count of it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.lab import Lab
from tidegate.core.job import AttemptKey
from tidegate.runtime.account import Ended, Spent, end_message
from tidegate.runtime.limits.cgroup2 import Cgroup2Group
from tidegate.runtime.limits.paths import own_hierarchies
from tidegate.runtime.processes import marked_processes, read_file
from tidegate.runtime.verdict import Facts

SPUN_S = 0.6
AGREE = 0.02


class CpuGroup:
    """A group of the hierarchy that counts CPU time, and that no sandbox joins or leaves."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()

    def take(self, pid: int) -> None:
        """This process and all that it forks from now on."""
        (self._folder / "cgroup.procs").write_text(str(pid))

    def seconds(self) -> float:
        return int((self._folder / "cpuacct.usage").read_text()) / 1e9


@pytest.fixture
def cpu_group() -> Iterator[CpuGroup]:
    found = own_hierarchies(read_file("/proc/self/cgroup"), read_file("/proc/self/mountinfo")).get("cpuacct")
    if found is None or not found.writable or "cpu" in found.controllers:
        pytest.skip("no hierarchy of v1 counts CPU time and does nothing else")
    folder = Path(found.folder, f"tidegate-test-{secrets.token_hex(4)}")
    yield CpuGroup(folder)
    folder.rmdir()


def of_watchers_s(lab: Lab) -> float:
    """CPU time of the zygote and its keepers themselves, which is no attempt's."""
    pids = (lab.zygote_pid(), *lab.keeper_pids())
    return sum(int(read_file(f"/proc/{pid}/schedstat").split()[0]) for pid in pids) / 1e9


@pytest.mark.root
def test_cpu_time_agrees_with_that_of_a_control_group(cpu_group: CpuGroup, own_lab: Lab) -> None:
    """Children, their children, and a daemon that has left its parents, one attempt after another."""
    for pid in marked_processes(own_lab.instance):
        cpu_group.take(pid)
    own_lab.run("answer")  # what starts the keeper is no attempt's
    for _ in range(2):
        before_s = cpu_group.seconds() - of_watchers_s(own_lab)
        end = own_lab.run("spin_family", seconds=SPUN_S)
        counted_s = cpu_group.seconds() - of_watchers_s(own_lab) - before_s
        assert end.succeeded
        assert counted_s > 4 * SPUN_S
        assert end.usage.cpu_seconds == pytest.approx(counted_s, rel=AGREE)
    own_lab.close()  # or the group would not be empty


def test_where_a_group_counts_its_own_cpu_time_that_is_the_figure(tmp_path: Path) -> None:
    """Version 2 counts it for each group; what was reaped tells less, as when a parent ignores SIGCHLD."""
    for name, text in (
        ("cpu.stat", "usage_usec 2400000\nuser_usec 2000000\nsystem_usec 400000\n"),
        ("memory.events", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n"),
        ("memory.peak", "1048576\n"),
    ):
        (tmp_path / name).write_text(text)
    usage = Cgroup2Group("a", str(tmp_path), lambda on: None).final_usage()
    facts = Facts("cgroup2", 1 << 30, 1 << 30, 60.0, os.EX_OK)
    ended = Ended(AttemptKey(1, 1, 1), facts, usage, Spent(0.6, 0, 0), 3.0, True, {}, 0)
    assert end_message(ended)["usage"]["cpu_seconds"] == pytest.approx(2.4)
