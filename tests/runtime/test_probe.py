from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.runtime.tree import UNLIMITED_V1, Tree
from tidegate.core.resources import GIB, MIB
from tidegate.errors import Unavailable
from tidegate.ports import Probe
from tidegate.runtime.probe import MachineProbe, parse_cpu_list


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_a_machine_without_control_groups_has_all_its_cpus_and_memory(tree: Tree) -> None:
    capacity = tree.probe().capacity()
    assert (capacity.cpu_milli, capacity.memory_bytes) == (8000, 32 * GIB)


def test_nested_v2_groups_are_bounded_by_the_tightest_ancestor(tree: Tree) -> None:
    tree.groups("0::/a/b")
    tree.mount("/sys/fs/cgroup", "cgroup2", "nsdelegate")
    tree.write("/sys/fs/cgroup/a/cpu.max", "150000 100000")
    tree.write("/sys/fs/cgroup/a/b/cpu.max", "400000 100000")
    tree.write("/sys/fs/cgroup/a/memory.max", 10 * GIB)
    tree.write("/sys/fs/cgroup/a/memory.high", 9 * GIB)
    tree.write("/sys/fs/cgroup/a/b/memory.max", 12 * GIB)
    origins = tree.probe().origins()
    assert origins["cpu_milli"].value == 1500
    assert origins["cpu_milli"].source == "cgroup v2 cpu.max of /sys/fs/cgroup/a"
    assert origins["memory_bytes"].value == 9 * GIB
    assert origins["memory_bytes"].source == "cgroup v2 memory.high of /sys/fs/cgroup/a"


def test_max_bounds_nothing(tree: Tree) -> None:
    tree.groups("0::/a")
    tree.mount("/sys/fs/cgroup", "cgroup2", "nsdelegate")
    tree.write("/sys/fs/cgroup/a/cpu.max", "max 100000")
    tree.write("/sys/fs/cgroup/a/memory.max", "max")
    tree.write("/sys/fs/cgroup/a/memory.high", "max")
    readings = tree.probe().readings()
    assert not [one for found in readings.values() for one in found if "cgroup" in one.source]


def test_nested_v1_groups_are_bounded_by_the_tightest_ancestor(tree: Tree) -> None:
    tree.groups("3:memory:/docker/x", "2:cpuset:/docker/x", "1:cpu:/docker/x")
    tree.mount_v1()
    tree.write("/sys/fs/cgroup/cpu/docker/cpu.cfs_quota_us", 250000)
    tree.write("/sys/fs/cgroup/cpu/docker/cpu.cfs_period_us", 100000)
    tree.write("/sys/fs/cgroup/cpu/docker/x/cpu.cfs_quota_us", 600000)
    tree.write("/sys/fs/cgroup/cpu/docker/x/cpu.cfs_period_us", 100000)
    tree.write("/sys/fs/cgroup/memory/docker/memory.limit_in_bytes", 6 * GIB)
    tree.write("/sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", UNLIMITED_V1)
    origins = tree.probe().origins()
    assert origins["cpu_milli"].value == 2500
    assert origins["cpu_milli"].source == "cgroup v1 cpu.cfs_quota_us of /sys/fs/cgroup/cpu/docker"
    assert origins["memory_bytes"].value == 6 * GIB
    assert origins["memory_bytes"].source == "cgroup v1 memory.limit_in_bytes of /sys/fs/cgroup/memory/docker"


def test_v1_without_limits_bounds_nothing(tree: Tree) -> None:
    tree.groups("3:memory:/", "1:cpu:/")
    tree.mount_v1("cpu", "memory")
    tree.write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", -1)
    tree.write("/sys/fs/cgroup/cpu/cpu.cfs_period_us", 100000)
    tree.write("/sys/fs/cgroup/memory/memory.limit_in_bytes", UNLIMITED_V1)
    origins = tree.probe().origins()
    assert (origins["cpu_milli"].value, origins["memory_bytes"].value) == (8000, 32 * GIB)
    assert origins["memory_bytes"].source == "MemTotal of /proc/meminfo"


def test_v1_tells_of_limits_above_what_is_visible(tree: Tree) -> None:
    tree.groups("3:memory:/docker/x")
    tree.mount("/sys/fs/cgroup/memory", "cgroup", "memory", root="/docker/x")
    tree.write("/sys/fs/cgroup/memory/memory.limit_in_bytes", UNLIMITED_V1)
    tree.write(
        "/sys/fs/cgroup/memory/memory.stat", f"cache 1\nhierarchical_memory_limit {3 * GIB}\ntotal_rss 5"
    )
    reading = tree.probe().origins()["memory_bytes"]
    assert reading.value == 3 * GIB
    assert reading.source == "cgroup v1 hierarchical_memory_limit of /sys/fs/cgroup/memory"


def test_controllers_mounted_together_are_found(tree: Tree) -> None:
    tree.groups("4:cpu,cpuacct:/job")
    tree.mount("/sys/fs/cgroup/cpu,cpuacct", "cgroup", "cpu,cpuacct")
    tree.write("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", 50000)
    tree.write("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", 100000)
    assert tree.probe().capacity().cpu_milli == 500


def test_a_hybrid_machine_takes_limits_from_v1_beside_an_empty_v2_tree(tree: Tree) -> None:
    tree.groups("4:memory:/service/one", "1:cpu:/", "0::/")
    tree.mount_v1("cpu", "memory")
    tree.mount("/sys/fs/cgroup/unified", "cgroup2", "nsdelegate")
    tree.write("/sys/fs/cgroup/unified/cgroup.controllers", "")
    tree.write("/sys/fs/cgroup/memory/service/one/memory.limit_in_bytes", 2 * GIB)
    assert tree.probe().capacity().memory_bytes == 2 * GIB


def test_at_the_root_of_a_namespace_the_mount_point_itself_is_read(tree: Tree) -> None:
    tree.groups("0::/")
    tree.mount("/sys/fs/cgroup", "cgroup2", "nsdelegate")
    tree.write("/sys/fs/cgroup/memory.max", 512 * MIB)
    tree.write("/sys/fs/cgroup/cpu.max", "50000 100000")
    tree.write("/sys/fs/cgroup/cpuset.cpus.effective", "0-3")
    capacity = tree.probe().capacity()
    assert (capacity.cpu_milli, capacity.memory_bytes) == (500, 512 * MIB)


def test_a_group_outside_of_what_is_mounted_bounds_nothing(tree: Tree) -> None:
    tree.groups("0::/../other")
    tree.mount("/sys/fs/cgroup", "cgroup2", "nsdelegate")
    tree.write("/sys/fs/cgroup/memory.max", 512 * MIB)
    assert tree.probe().capacity().memory_bytes == 32 * GIB


def test_lxcfs_shows_less_memory_than_the_groups(tree: Tree) -> None:
    tree.groups("0::/")
    tree.mount("/sys/fs/cgroup", "cgroup2", "nsdelegate")
    tree.write("/sys/fs/cgroup/memory.max", 8 * GIB)
    tree.meminfo(4 * GIB)
    reading = tree.probe().origins()["memory_bytes"]
    assert (reading.value, reading.source) == (4 * GIB, "MemTotal of /proc/meminfo")


def test_a_cpuset_counts_its_ranges(tree: Tree) -> None:
    tree.groups("0::/a/b")
    tree.mount("/sys/fs/cgroup", "cgroup2", "nsdelegate")
    tree.write("/sys/fs/cgroup/a/cpuset.cpus.effective", "0-3,8")
    reading = tree.probe().origins()["cpu_milli"]
    assert (reading.value, reading.source) == (5000, "cgroup v2 cpuset.cpus.effective of /sys/fs/cgroup/a")


def test_a_v1_cpuset_is_read_from_the_effective_set_first(tree: Tree) -> None:
    tree.groups("2:cpuset:/a")
    tree.mount_v1("cpuset")
    tree.write("/sys/fs/cgroup/cpuset/a/cpuset.effective_cpus", "1,3")
    tree.write("/sys/fs/cgroup/cpuset/a/cpuset.cpus", "0-5")
    assert tree.probe().capacity().cpu_milli == 2000


def test_an_old_kernel_without_effective_sets_is_read_too(tree: Tree) -> None:
    tree.groups("2:cpuset:/a")
    tree.mount_v1("cpuset")
    tree.write("/sys/fs/cgroup/cpuset/a/cpuset.cpus", "0-5")
    assert tree.probe().capacity().cpu_milli == 6000


def test_offline_cpus_do_not_count(tree: Tree) -> None:
    tree.groups("0::/")
    tree.mount("/sys/fs/cgroup", "cgroup2", "nsdelegate")
    tree.write("/sys/fs/cgroup/cpuset.cpus.effective", "0-7")
    tree.write("/sys/devices/system/cpu/online", "0,2-3")
    reading = tree.probe().origins()["cpu_milli"]
    assert (reading.value, reading.source) == (3000, "CPUs online of the machine")


def test_cpu_affinity_counts(tree: Tree) -> None:
    tree.affinity = {2, 5}
    reading = tree.probe().origins()["cpu_milli"]
    assert (reading.value, reading.source) == (2000, "CPU affinity of this process")


def test_a_tiny_quota_is_not_rounded_to_nothing(tree: Tree) -> None:
    tree.groups("0::/")
    tree.mount("/sys/fs/cgroup", "cgroup2", "nsdelegate")
    tree.write("/sys/fs/cgroup/cpu.max", "1000 10000000")
    assert tree.probe().capacity().cpu_milli == 1


def test_damaged_and_missing_files_bound_nothing(tree: Tree) -> None:
    tree.groups("0::/a")
    tree.mount("/sys/fs/cgroup", "cgroup2", "nsdelegate")
    tree.write("/sys/fs/cgroup/a/cpu.max", "soon")
    tree.write("/sys/fs/cgroup/a/memory.max", "")
    tree.write("/sys/fs/cgroup/a/cpuset.cpus.effective", "")
    capacity = tree.probe().capacity()
    assert (capacity.cpu_milli, capacity.memory_bytes) == (8000, 32 * GIB)


def test_memory_that_cannot_be_known_is_an_error(tree: Tree) -> None:
    (tree.root / "proc/meminfo").unlink()
    with pytest.raises(Unavailable, match="Mount /proc"):
        tree.probe().capacity()


def test_capacity_follows_a_limit_that_changes(tree: Tree) -> None:
    tree.groups("0::/")
    tree.mount("/sys/fs/cgroup", "cgroup2", "nsdelegate")
    tree.write("/sys/fs/cgroup/memory.max", 4 * GIB)
    probe = tree.probe()
    before = probe.capacity().memory_bytes
    tree.write("/sys/fs/cgroup/memory.max", 2 * GIB)
    assert (before, probe.capacity().memory_bytes) == (4 * GIB, 2 * GIB)


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("0-3,8", {0, 1, 2, 3, 8}),
        ("0", {0}),
        (" 2 , 4-5\n", {2, 4, 5}),
        ("", set()),
        (None, set()),
        ("all", set()),
        ("3-", {3}),
    ],
)
def test_cpu_lists_of_the_kernel_are_understood(text: str | None, cpus: set[int]) -> None:
    assert parse_cpu_list(text) == cpus


def test_disk_is_the_free_space_where_the_data_directory_will_be(tmp_path: Path) -> None:
    reading = MachineProbe(tmp_path / "not" / "yet").origins()["disk_bytes"]
    space = os.statvfs(tmp_path)
    assert 0 < reading.value <= space.f_blocks * space.f_frsize
    assert reading.source == f"free space of the file system of {tmp_path}"


def test_this_machine_is_read(tmp_path: Path) -> None:
    probe: Probe = MachineProbe(tmp_path)
    capacity = probe.capacity()
    total_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < capacity.cpu_milli <= len(os.sched_getaffinity(0)) * 1000
    # MemTotal and the page count of sysconf are the same figure; under lxcfs only the first is lowered.
    assert 0 < capacity.memory_bytes <= total_bytes
    assert set(probe.origins()) == {"cpu_milli", "memory_bytes", "disk_bytes"}
