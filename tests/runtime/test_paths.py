"""Finding our control groups, on the layouts that are met in the field."""

from __future__ import annotations

from tidegate.runtime.limits.paths import UNIFIED, own_hierarchies, parse_memberships, parse_mounts

V2_MOUNT = "35 24 0:30 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
V1_MOUNTS = (
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "36 31 0:33 / /sys/fs/cgroup/pids ro,relatime - cgroup cgroup rw,pids\n"
)


def test_a_nested_v2_group_is_found() -> None:
    found = own_hierarchies("0::/system.slice/tidegate.service\n", V2_MOUNT)
    assert found[UNIFIED].folder == "/sys/fs/cgroup/system.slice/tidegate.service"
    assert found[UNIFIED].writable


def test_v1_hierarchies_are_found_by_their_controllers() -> None:
    found = own_hierarchies("5:cpu,cpuacct:/a\n4:memory:/a/b\n3:pids:/\n", V1_MOUNTS)
    assert {name: item.folder for name, item in found.items()} == {
        "cpu": "/sys/fs/cgroup/cpu,cpuacct/a",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct/a",
        "memory": "/sys/fs/cgroup/memory/a/b",
        "pids": "/sys/fs/cgroup/pids",
    }
    assert found["cpu"].controllers == {"cpu", "cpuacct"}
    assert found["memory"].writable
    assert not found["pids"].writable


def test_a_hybrid_machine_has_both() -> None:
    mounts = V1_MOUNTS + "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
    found = own_hierarchies("4:memory:/\n0::/\n", mounts)
    assert found["memory"].folder == "/sys/fs/cgroup/memory"
    assert found[UNIFIED].folder == "/sys/fs/cgroup/unified"
    assert found[UNIFIED].controllers == frozenset()


def test_a_container_without_a_namespace_sees_its_branch_mounted() -> None:
    mount = "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro,relatime - cgroup cgroup rw,memory\n"
    found = own_hierarchies("4:memory:/docker/abc/inner\n", mount)
    assert found["memory"].folder == "/sys/fs/cgroup/memory/inner"
    assert not found["memory"].writable


def test_the_root_of_a_namespace_is_the_mount_point() -> None:
    assert own_hierarchies("0::/\n", V2_MOUNT)[UNIFIED].folder == "/sys/fs/cgroup"


def test_a_process_outside_of_what_is_mounted_has_no_folder() -> None:
    assert own_hierarchies("0::/../other\n", V2_MOUNT) == {}
    branch = "35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    assert own_hierarchies("4:memory:/docker/xyz\n", branch) == {}


def test_a_read_only_file_system_is_not_writable() -> None:
    mount = "35 24 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 ro\n"
    assert not own_hierarchies("0::/\n", mount)[UNIFIED].writable


def test_blanks_in_a_mount_point_are_understood() -> None:
    mount = r"35 31 0:32 / /mnt/control\040groups rw - cgroup cgroup rw,memory" + "\n"
    assert parse_mounts(mount)[0].point == "/mnt/control groups"


def test_other_file_systems_are_passed_over() -> None:
    assert parse_mounts("31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n") == []


def test_a_path_may_hold_colons() -> None:
    assert parse_memberships("0::/user.slice/a:b\n") == {UNIFIED: "/user.slice/a:b"}
