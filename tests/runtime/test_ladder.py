"""Which rung is taken, and what is said about the others."""

from __future__ import annotations

import os
import secrets
import subprocess
from pathlib import Path

import pytest

from tests.runtime.lab import groups_of, rungs_to_try
from tidegate.core.resources import MIB
from tidegate.errors import SettingError
from tidegate.runtime.limits.cgroup1 import Cgroup1
from tidegate.runtime.limits.cgroup2 import Cgroup2
from tidegate.runtime.limits.group import GroupLimits
from tidegate.runtime.limits.ladder import find_ladder
from tidegate.runtime.limits.paths import UNIFIED, Hierarchy, own_hierarchies
from tidegate.runtime.processes import read_file

NO_CONTROLLERS: frozenset[str] = frozenset()


def v2_tree(
    folder: Path, *, controllers: str = "cpu memory pids", processes: str = "", root: bool = False
) -> Path:
    """A folder that looks like our own group of a v2 hierarchy."""
    folder.mkdir(exist_ok=True)
    (folder / "cgroup.controllers").write_text(controllers)
    (folder / "cgroup.subtree_control").write_text("")
    (folder / "cgroup.procs").write_text(processes)
    if not root:
        (folder / "cgroup.type").write_text("domain\n")
    return folder


def v2_group(folder: Path) -> None:
    """The files that a kernel puts into a new group, as far as they are needed."""
    for name in ("memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "cpu.weight", "cpu.idle"):
        (folder / name).write_text("")
    (folder / "cgroup.subtree_control").write_text("")


def test_without_control_groups_the_watchdog_holds() -> None:
    ladder = find_ladder("x", hierarchies={})
    assert ladder.rung.name == "watchdog"
    assert [(finding.rung, finding.works) for finding in ladder.findings] == [
        ("cgroup2", False),
        ("cgroup1", False),
        ("watchdog", True),
    ]
    assert "no v2 hierarchy is mounted" in ladder.findings[0].reason
    assert "memory and pids" in ladder.findings[1].reason
    assert "measures each job's processes" in ladder.findings[2].reason


def test_a_rung_that_is_wanted_and_does_not_work_is_an_error_with_the_reason() -> None:
    with pytest.raises(SettingError, match=r"'cgroup2'.*no v2 hierarchy is mounted"):
        find_ladder("x", "cgroup2", hierarchies={})


def test_a_read_only_hierarchy_is_named() -> None:
    hierarchies = {
        name: Hierarchy("/sys/fs/cgroup/x", frozenset({name}), False) for name in ("memory", "pids")
    }
    ladder = find_ladder("x", hierarchies=hierarchies)
    assert "mounted read-only" in ladder.findings[1].reason


def test_a_folder_that_takes_no_groups_is_named(tmp_path: Path) -> None:
    hierarchies = {
        name: Hierarchy(str(tmp_path / "gone"), frozenset({name}), True) for name in ("memory", "pids")
    }
    ladder = find_ladder("x", hierarchies=hierarchies)
    assert "No such file or directory" in ladder.findings[1].reason
    assert ladder.rung.name == "watchdog"


def test_a_v2_group_without_controllers_is_named(tmp_path: Path) -> None:
    tree = v2_tree(tmp_path / "own", controllers="cpu")
    with pytest.raises(OSError, match="no memory and pids controller"):
        Cgroup2("x", {UNIFIED: Hierarchy(str(tree), NO_CONTROLLERS, True)}, "idle", [])


def test_a_v2_group_with_strangers_in_it_is_left_alone(tmp_path: Path) -> None:
    tree = v2_tree(tmp_path / "own", processes="1\n2\n3\n")
    with pytest.raises(OSError, match=r"holds processes of others \(2\)"):
        Cgroup2("x", {UNIFIED: Hierarchy(str(tree), NO_CONTROLLERS, True)}, "idle", [3])
    assert not (tree / "tidegate-service").exists()


def test_a_v2_group_gets_its_limits(tmp_path: Path) -> None:
    tree = v2_tree(tmp_path / "own", root=True, processes="1\n")
    for name in ("tidegate-x", "tidegate-x.interactive"):
        (tree / name).mkdir()
        v2_group(tree / name)
    rung = Cgroup2("x", {UNIFIED: Hierarchy(str(tree), NO_CONTROLLERS, True)}, "idle", [])
    assert (tree / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    assert (tree / "tidegate-x" / "cpu.idle").read_text() == "1"
    made = tree / "tidegate-x" / "a"
    with pytest.raises(
        OSError, match=r"memory\.max"
    ):  # a fake tree makes no files of its own, and no group without limits
        rung.create("a", GroupLimits(64 * MIB, 2000))
    assert not made.exists(), "a group that got no limits must not stay"


@pytest.mark.parametrize(
    ("root", "yield_cpu", "idle"), [(True, "auto", "0"), (True, "idle", "1"), (False, "auto", "1")]
)
def test_jobs_give_way_to_the_service_alone_where_its_v2_group_has_nobody_else(
    tmp_path: Path, root: bool, yield_cpu: str, idle: str
) -> None:
    tree = v2_tree(tmp_path / "own", root=root, processes="")
    for name in ("tidegate-x", "tidegate-x.interactive"):
        (tree / name).mkdir()
        v2_group(tree / name)
    Cgroup2("x", {UNIFIED: Hierarchy(str(tree), NO_CONTROLLERS, True)}, yield_cpu, [])
    assert (tree / "tidegate-x" / "cpu.idle").read_text() == idle


@pytest.mark.root
def test_jobs_give_way_to_the_service_alone_in_a_v1_group_that_holds_both() -> None:
    hierarchies = own_hierarchies(read_file("/proc/self/cgroup"), read_file("/proc/self/mountinfo"))
    if "cpu" not in hierarchies or not hierarchies["cpu"].writable:
        pytest.skip("no writable v1 cpu hierarchy")
    instance = f"test{secrets.token_hex(4)}"
    pair = f"{hierarchies['cpu'].folder}/tidegate-{instance}.pair"
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as service:

        def where() -> str:
            found = own_hierarchies(
                read_file(f"/proc/{service.pid}/cgroup"), read_file("/proc/self/mountinfo")
            )
            return found["cpu"].folder

        before = where()
        rung = Cgroup1(instance, hierarchies, "auto", [service.pid])
        assert where() == f"{pair}/service"
        assert read_file(f"{pair}/tidegate-{instance}/cpu.idle").strip() == "1"
        assert int(read_file(f"{pair}/cpu.shares")) == 1024 * (os.cpu_count() or 1)
        again = Cgroup1(
            instance, {**hierarchies, "cpu": hierarchies["cpu"]._replace(folder=where())}, "auto", []
        )
        again.create("a", GroupLimits(64 * MIB, 1000))
        assert os.path.isdir(f"{pair}/tidegate-{instance}/a")
        assert [group.remove() for group in rung.leftovers()] == [True]
        rung.close()
        assert where() == before
        assert not os.path.exists(pair)


def test_without_a_group_for_both_jobs_are_nice_to_all(tmp_path: Path) -> None:
    hierarchies = {}
    for name in ("memory", "pids", "cpu"):
        (tmp_path / name).mkdir()
        hierarchies[name] = Hierarchy(str(tmp_path / name), frozenset({name}), True)
    (tmp_path / "cpu" / "tidegate-x.pair").write_text("in the way")
    for container in ("tidegate-x", "tidegate-x.interactive"):
        (tmp_path / "cpu" / container).mkdir()
        for file in ("cpu.shares", "cpu.idle"):
            (tmp_path / "cpu" / container / file).write_text("")
    rung = Cgroup1("x", hierarchies, "auto", [])
    assert (tmp_path / "cpu" / "tidegate-x" / "cpu.shares").read_text() == "110"
    assert (tmp_path / "cpu" / "tidegate-x" / "cpu.idle").read_text() == "0"
    assert rung.yields_cpu


@pytest.mark.parametrize("name", [rung for rung in rungs_to_try() if rung != "watchdog"])
class TestRealGroups:
    """On the hierarchies of this machine."""

    @pytest.fixture
    def rung(self, name: str) -> Cgroup1 | Cgroup2:
        hierarchies = own_hierarchies(read_file("/proc/self/cgroup"), read_file("/proc/self/mountinfo"))
        instance = f"test{secrets.token_hex(4)}"
        try:
            if name == "cgroup1":
                return Cgroup1(instance, hierarchies, "idle")
            return Cgroup2(instance, hierarchies, "idle", [os.getpid()])
        except OSError as error:
            pytest.skip(str(error))

    def test_a_name_in_use_is_an_error(self, rung: Cgroup1 | Cgroup2) -> None:
        group = rung.create("a", GroupLimits(64 * MIB, 1000))
        try:
            with pytest.raises(FileExistsError):
                rung.create("a", GroupLimits(64 * MIB, 1000))
        finally:
            assert group.remove()
            rung.close()

    def test_a_refused_limit_leaves_no_group(self, rung: Cgroup1 | Cgroup2) -> None:
        try:
            with pytest.raises(OSError, match="Invalid argument"):
                rung.create("a", GroupLimits(-7, 1000))
            assert rung.leftovers() == []
        finally:
            rung.close()

    def test_leftovers_are_found_by_a_later_server(self, rung: Cgroup1 | Cgroup2) -> None:
        rung.create("old-1", GroupLimits(64 * MIB, 1000))
        rung.create("old-2", GroupLimits(64 * MIB, 1000, interactive=True))
        found = rung.leftovers()
        assert sorted(group.name for group in found) == ["old-1", "old-2"]
        assert [group.remove() for group in found] == [True, True]
        rung.close()

    def test_closing_removes_the_containers(self, rung: Cgroup1 | Cgroup2) -> None:
        instance = rung._names[0].removeprefix("tidegate-")
        assert groups_of(instance) != []
        rung.close()
        assert groups_of(instance) == []

    def test_the_weight_follows_the_cpus(self, rung: Cgroup1 | Cgroup2) -> None:
        group = rung.create("a", GroupLimits(64 * MIB, 2000))
        try:
            files = [
                path for path in groups_of(rung._names[0].removeprefix("tidegate-")) if path.endswith("/a")
            ]
            weights = [Path(path, "cpu.shares") for path in files if Path(path, "cpu.shares").exists()]
            assert [int(path.read_text()) for path in weights] == [2048]
        finally:
            group.remove()
            rung.close()
