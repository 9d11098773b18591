"""Sensors on made-up machines, and on this one."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from tests.runtime.tree import UNLIMITED_V1, Tree
from tidegate.core.readings import NAMES
from tidegate.core.resources import GIB, MIB
from tidegate.ports import Sensor
from tidegate.runtime.ancestry import Groups
from tidegate.runtime.readings.cpu import CpuSensor
from tidegate.runtime.readings.disk import DiskSensor
from tidegate.runtime.readings.latency import FEWEST, LatencySensor
from tidegate.runtime.readings.machine import Together, machine_sensors
from tidegate.runtime.readings.memory import MemorySensor
from tidegate.runtime.readings.stalls import StallSensor, parse_stalls
from tidegate.testing.conformance.sensor import SensorConformance
from tidegate.testing.fakes import FakeClock
from tidegate.testing.sensors import FakeSensor


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def memory(tree: Tree) -> dict[str, float]:
    return dict(MemorySensor(Groups(tree.root)).read())


def meminfo(tree: Tree, total: int, available: int, free: int) -> None:
    lines = (("MemTotal", total), ("MemFree", free), ("MemAvailable", available))
    tree.write("/proc/meminfo", "\n".join(f"{name}:  {value // 1024} kB" for name, value in lines))


def v2_group(tree: Tree, path: str, limit: object, current: int, inactive: int) -> None:
    folder = f"/sys/fs/cgroup{path}"
    tree.write(f"{folder}/memory.max", limit)
    tree.write(f"{folder}/memory.current", current)
    tree.write(f"{folder}/memory.stat", f"anon 1\ninactive_file {inactive}\nactive_file 7")


def v1_group(tree: Tree, path: str, limit: object, usage: int, stat: str) -> None:
    folder = f"/sys/fs/cgroup/memory{path}"
    tree.write(f"{folder}/memory.limit_in_bytes", limit)
    tree.write(f"{folder}/memory.usage_in_bytes", usage)
    tree.write(f"{folder}/memory.stat", stat)


# Memory


def test_without_groups_the_machine_bounds_memory(tree: Tree) -> None:
    meminfo(tree, 32 * GIB, 8 * GIB, 2 * GIB)
    assert memory(tree) == {
        "memory_used_percent": 75,
        "memory_used_bytes": 24 * GIB,
        "memory_limit_bytes": 32 * GIB,
        "memory_free_bytes": 8 * GIB,
        "memory_cache_bytes": 6 * GIB,
    }


def test_page_cache_that_nobody_uses_is_not_counted_as_used(tree: Tree) -> None:
    meminfo(tree, 32 * GIB, 30 * GIB, 30 * GIB)
    tree.groups("0::/a")
    tree.mount("/sys/fs/cgroup", "cgroup2", "nsdelegate")
    v2_group(tree, "/a", 10 * GIB, 9 * GIB, 4 * GIB)
    read = memory(tree)
    assert (read["memory_used_percent"], read["memory_cache_bytes"]) == (50, 4 * GIB)


def test_of_nested_v2_groups_the_one_nearest_to_full_counts(tree: Tree) -> None:
    meminfo(tree, 32 * GIB, 30 * GIB, 30 * GIB)
    tree.groups("0::/a/b")
    tree.mount("/sys/fs/cgroup", "cgroup2", "nsdelegate")
    v2_group(tree, "/a", 10 * GIB, 9 * GIB, 0)
    v2_group(tree, "/a/b", 4 * GIB, 2 * GIB, 0)
    read = memory(tree)
    assert (read["memory_used_percent"], read["memory_limit_bytes"]) == (90, 10 * GIB)
    assert read["memory_free_bytes"] == GIB


def test_max_bounds_no_memory(tree: Tree) -> None:
    meminfo(tree, 32 * GIB, 16 * GIB, 16 * GIB)
    tree.groups("0::/a")
    tree.mount("/sys/fs/cgroup", "cgroup2", "nsdelegate")
    v2_group(tree, "/a", "max", 31 * GIB, 0)
    assert memory(tree)["memory_limit_bytes"] == 32 * GIB


def test_the_root_of_a_namespace_is_looked_at_too(tree: Tree) -> None:
    """In a container with its own namespace the path is `/`, and the limit stands in the mount's root."""
    meminfo(tree, 32 * GIB, 30 * GIB, 30 * GIB)
    tree.groups("0::/")
    tree.mount("/sys/fs/cgroup", "cgroup2", "nsdelegate")
    v2_group(tree, "", 2 * GIB, GIB, 0)
    assert memory(tree)["memory_used_percent"] == 50


def test_v1_counts_the_groups_below_and_their_cache(tree: Tree) -> None:
    meminfo(tree, 32 * GIB, 30 * GIB, 30 * GIB)
    tree.groups("4:memory:/docker/x", "0::/")
    tree.mount_v1("memory")
    tree.mount("/sys/fs/cgroup/unified", "cgroup2", "")
    v1_group(tree, "/docker/x", 8 * GIB, 6 * GIB, f"inactive_file 5\ntotal_inactive_file {2 * GIB}")
    v1_group(tree, "/docker", UNLIMITED_V1, 20 * GIB, "total_inactive_file 0")
    v1_group(tree, "", -1, 30 * GIB, "total_inactive_file 0")
    read = memory(tree)
    assert (read["memory_used_percent"], read["memory_used_bytes"]) == (50, 4 * GIB)


def test_v1_limits_above_what_is_visible_count(tree: Tree) -> None:
    meminfo(tree, 32 * GIB, 30 * GIB, 30 * GIB)
    tree.groups("4:memory:/docker/x")
    tree.mount("/sys/fs/cgroup/memory", "cgroup", "memory", root="/docker/x")
    v1_group(tree, "", UNLIMITED_V1, GIB, f"total_inactive_file 0\nhierarchical_memory_limit {2 * GIB}")
    assert memory(tree)["memory_used_percent"] == 50


def test_unreadable_files_tell_nothing(tree: Tree) -> None:
    tree.write("/proc/meminfo", "nonsense")
    tree.groups("0::/a")
    tree.mount("/sys/fs/cgroup", "cgroup2", "nsdelegate")
    tree.write("/sys/fs/cgroup/a/memory.max", 2 * GIB)
    assert memory(tree) == {}


# Stalls

PSI = "some avg10={0}.50 avg60=2.00 avg300=3.00 total=1\nfull avg10={1}.25 avg60=1.50 avg300=0.00 total=1"


def test_stalls_are_those_of_the_group_that_is_bounded(tree: Tree) -> None:
    tree.groups("0::/a/b")
    tree.mount("/sys/fs/cgroup", "cgroup2", "nsdelegate")
    for resource in ("memory", "cpu", "io"):
        tree.write(f"/proc/pressure/{resource}", PSI.format(90, 80))
        tree.write(f"/sys/fs/cgroup/a/{resource}.pressure", PSI.format(12, 6))
        tree.write(f"/sys/fs/cgroup/a/b/{resource}.pressure", PSI.format(1, 0))
    tree.write("/sys/fs/cgroup/a/memory.max", GIB)
    tree.write("/sys/fs/cgroup/a/b/memory.max", "max")
    assert StallSensor(Groups(tree.root)).read() == {
        "memory_stall_some_percent": 12.5,
        "memory_stall_full_percent": 6.25,
        "memory_stall_full_minute_percent": 1.5,
        "cpu_stall_all_percent": 12.5,
        "io_stall_percent": 6.25,
    }


def test_without_a_bounded_group_stalls_are_the_machines(tree: Tree) -> None:
    tree.groups("4:memory:/x", "0::/")
    tree.mount_v1("memory")
    tree.mount("/sys/fs/cgroup/unified", "cgroup2", "")
    for resource in ("memory", "cpu", "io"):
        tree.write(f"/proc/pressure/{resource}", PSI.format(9, 8))
    assert StallSensor(Groups(tree.root)).read()["io_stall_percent"] == 8.25


def test_a_kernel_without_psi_tells_no_stalls(tree: Tree) -> None:
    assert StallSensor(Groups(tree.root)).read() == {}


@pytest.mark.parametrize("text", [None, "", "some", "some avg10=x", "nonsense here"])
def test_what_is_no_pressure_file_tells_nothing(text: str | None) -> None:
    assert parse_stalls(text) == {}


# CPU


def ticks(tree: Tree, busy: int, idle: int) -> None:
    tree.write("/proc/stat", f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 1 1 1 0 0 0 0 0 0")


def waits(tree: Tree, **threads: int) -> None:
    for thread, waited_ns in threads.items():
        tree.write(f"/proc/self/task/{thread[1:]}/schedstat", f"100 {waited_ns} 5")


def test_the_machine_is_as_busy_as_its_ticks_say(tree: Tree, clock: FakeClock) -> None:
    ticks(tree, 100, 100)
    cpu = CpuSensor(Groups(tree.root), monotonic=clock.monotonic)
    ticks(tree, 160, 140)
    clock.advance(1)
    assert cpu.read()["cpu_busy_percent"] == pytest.approx(60)


def test_a_group_at_its_quota_is_busy_on_an_idle_machine(tree: Tree, clock: FakeClock) -> None:
    ticks(tree, 0, 0)
    tree.groups("0::/a")
    tree.mount("/sys/fs/cgroup", "cgroup2", "nsdelegate")
    tree.write("/sys/fs/cgroup/a/cpu.max", "200000 100000")
    tree.write("/sys/fs/cgroup/a/cpu.stat", "usage_usec 1000000")
    cpu = CpuSensor(Groups(tree.root), monotonic=clock.monotonic)
    ticks(tree, 10, 90)
    tree.write("/sys/fs/cgroup/a/cpu.stat", "usage_usec 2900000")
    clock.advance(1)
    assert cpu.read()["cpu_busy_percent"] == pytest.approx(95)


def test_likewise_in_v1_where_use_is_counted_elsewhere(tree: Tree, clock: FakeClock) -> None:
    tree.groups("3:cpuacct:/x", "2:cpu:/x")
    tree.mount_v1("cpu", "cpuacct")
    tree.write("/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", 50000)
    tree.write("/sys/fs/cgroup/cpu/x/cpu.cfs_period_us", 100000)
    tree.write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", -1)
    tree.write("/sys/fs/cgroup/cpuacct/x/cpuacct.usage", 0)
    cpu = CpuSensor(Groups(tree.root), monotonic=clock.monotonic)
    tree.write("/sys/fs/cgroup/cpuacct/x/cpuacct.usage", 400_000_000)
    clock.advance(1)
    assert cpu.read()["cpu_busy_percent"] == pytest.approx(80)


def test_the_service_waits_as_long_as_its_worst_thread_smoothed_over_ten_seconds(
    tree: Tree, clock: FakeClock
) -> None:
    waits(tree, t1=0, t2=0)
    cpu = CpuSensor(Groups(tree.root), monotonic=clock.monotonic)
    seen = []
    for second in range(1, 41):
        waits(
            tree,
            t1=second * 400_000_000,
            t2=second * 100_000_000,
            t3=second * 900_000_000 if second > 39 else 0,
        )
        clock.advance(1)
        seen.append(cpu.read()["cpu_stall_percent"])
    assert seen[0] == pytest.approx(40)
    assert seen[-1] == pytest.approx(40, abs=6)  # the new thread had waited before it was first seen


def test_a_wait_of_a_moment_hardly_shows(tree: Tree, clock: FakeClock) -> None:
    waits(tree, t1=0)
    cpu = CpuSensor(Groups(tree.root), monotonic=clock.monotonic)
    clock.advance(1)
    cpu.read()
    waits(tree, t1=1_000_000_000)
    clock.advance(1)
    assert cpu.read()["cpu_stall_percent"] == pytest.approx(9.5, abs=0.1)


def test_where_the_kernel_tells_no_waits_its_stall_of_all_has_to_do(tree: Tree, clock: FakeClock) -> None:
    tree.write("/proc/self/task/1/schedstat", "0 0 0")
    cpu = CpuSensor(Groups(tree.root), fallback=lambda: 33.0, monotonic=clock.monotonic)
    clock.advance(1)
    assert cpu.read() == {"cpu_stall_percent": 33.0}


# Disks


def test_the_traffic_of_disks_is_counted_once(tree: Tree, tmp_path: Path, clock: FakeClock) -> None:
    def counted(sectors: int) -> str:
        return "\n".join(
            f"8 0 {name} 1 0 {sectors} 1 1 0 {2 * sectors} 1 0 1 1"
            for name in ("sda", "sda1", "dm-0", "loop0")
        )

    tree.write("/sys/block/sda/size", 1)
    tree.write("/sys/block/dm-0/size", 1)
    tree.write("/proc/diskstats", counted(0))
    disk = DiskSensor(tmp_path, tree.root, monotonic=clock.monotonic)
    tree.write("/proc/diskstats", counted(2048))
    clock.advance(2)
    read = disk.read()
    assert (read["read_bytes_per_s"], read["written_bytes_per_s"]) == (MIB / 2, MIB)


def test_free_room_is_counted_as_df_does(tree: Tree, tmp_path: Path) -> None:
    space = os.statvfs_result((4096, 4096, 1000, 300, 200, 0, 0, 0, 0, 255))
    disk = DiskSensor(tmp_path, tree.root, statvfs=lambda _: space)
    assert disk.read() == {"disk_free_percent": pytest.approx(100 * 200 / 900), "disk_free_bytes": 200 * 4096}


def test_a_folder_that_is_not_there_tells_nothing(tree: Tree, tmp_path: Path) -> None:
    assert DiskSensor(tmp_path / "none", tree.root).read() == {}


# Latency


def test_the_p95_is_that_of_the_last_ten_seconds(clock: FakeClock) -> None:
    took_s = 0.0
    asks = LatencySensor("database", lambda: clock.advance(took_s), clock)
    for _ in range(19):
        asks.ask_once()
        clock.advance(0.01)
    took_s = 0.4
    asks.ask_once()
    assert asks.read() == {"database_silent_s": 0.0, "database_p95_s": 0.0}
    asks.ask_once()
    assert asks.read()["database_p95_s"] == pytest.approx(0.4)
    clock.advance(11)
    assert asks.read() == {"database_silent_s": 0.0}


def test_few_answers_are_no_p95(clock: FakeClock) -> None:
    asks = LatencySensor("redis", lambda: None, clock)
    for _ in range(FEWEST - 1):
        asks.ask_once()
    assert "redis_p95_s" not in asks.read()
    asks.ask_once()
    assert asks.read()["redis_p95_s"] == 0.0


def test_an_answer_is_owed_from_the_first_question_that_got_none(clock: FakeClock) -> None:
    works = False

    def ask() -> None:
        if not works:
            raise ConnectionError

    asks = LatencySensor("database", ask, clock)
    for _ in range(3):
        asks.ask_once()
        clock.advance(2)
    assert asks.read()["database_silent_s"] == 6.0
    works = True
    asks.ask_once()
    assert asks.read()["database_silent_s"] == 0.0


def test_a_question_that_hangs_holds_up_nobody(clock: FakeClock) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        asked.set()
        go_on.wait(30)

    asks = LatencySensor("database", hang, clock, every_s=0.001)
    asks.start()
    assert asked.wait(30)
    clock.advance(7)
    assert asks.read()["database_silent_s"] == 7.0
    asks.close()
    go_on.set()


def test_what_hangs_after_an_answer_is_owed_too(clock: FakeClock) -> None:
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def write() -> None:
        done.set() if begun.is_set() else begun.set()
        go_on.wait(30)

    asks = LatencySensor("database", lambda: None, clock, every_s=0.001, then=write)
    asks.start()
    assert begun.wait(30)
    clock.advance(7)
    assert asks.read()["database_silent_s"] == 7.0
    go_on.set()
    assert done.wait(30)
    assert asks.read()["database_silent_s"] == 0.0
    asks.close()


# This machine


def test_this_machine_tells_of_itself() -> None:
    sensors = machine_sensors(Path("/"))
    deadline = time.monotonic() + 30
    read: dict[str, float] = {}
    while not {"cpu_busy_percent", "read_bytes_per_s"} <= read.keys():
        assert time.monotonic() < deadline
        read = {name: value for sensor in sensors for name, value in sensor.read().items()}
    assert set(read) <= set(NAMES)
    assert all(0 <= value <= 100 for name, value in read.items() if name.endswith("_percent"))
    assert 0 < read["memory_used_bytes"] < read["memory_limit_bytes"]
    assert read["memory_used_percent"] == pytest.approx(
        100 * read["memory_used_bytes"] / read["memory_limit_bytes"]
    )
    assert read["disk_free_bytes"] > 0
    if os.path.exists("/proc/pressure/memory"):
        assert {"memory_stall_full_percent", "io_stall_percent", "cpu_stall_percent"} <= read.keys()


# The port


class TestSensors(SensorConformance):
    @pytest.fixture(params=["memory", "stalls", "cpu", "disk", "latency", "together", "fake"])
    def sensor(self, request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Sensor:
        groups = Groups()
        made: dict[str, Sensor] = {
            "memory": MemorySensor(groups),
            "stalls": StallSensor(groups),
            "cpu": CpuSensor(groups),
            "disk": DiskSensor(tmp_path),
            "latency": LatencySensor("database", lambda: None, clock),
            "together": Together(machine_sensors(tmp_path)),
            "fake": FakeSensor(loop_lag_s=0.001),
        }
        return made[request.param]
