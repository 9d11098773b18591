from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tidegate.core.resources import GIB, MIB, Resources
from tidegate.errors import SettingError
from tidegate.ports import Probe, Reading
from tidegate.runtime.doctor import examine
from tidegate.runtime.limits.group import Finding
from tidegate.runtime.machine import Machine, file_system_of, server_of
from tidegate.runtime.sandbox import Rungs
from tidegate.settings import Settings

ON_DISK = "31 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw"


@dataclass
class FakeProbe:
    amounts: Resources

    def capacity(self) -> Resources:
        return self.amounts

    def origins(self) -> Mapping[str, Reading]:
        return {
            name: Reading(getattr(self.amounts, name), f"told as {name}")
            for name in ("cpu_milli", "memory_bytes", "disk_bytes")
        }


@dataclass
class FakeMachine(Machine):
    """A machine where everything works, unless told otherwise."""

    amounts: Resources = Resources(4000, 16 * GIB, 100 * GIB)
    working: tuple[str, ...] = ("cgroup1", "watchdog")
    abi: int = 7
    yields: bool = True
    free: int | None = None
    mountinfo: str = ON_DISK
    duckdb: str | None = "2.0.0"
    asked: list[str] = field(default_factory=list)

    def probe(self, data_dir: Path, scratch: Path | None = None) -> Probe:
        return FakeProbe(self.amounts)

    def rungs(self, settings: Settings) -> Rungs:
        wanted = settings.enforcement
        self.asked.append(wanted)
        if wanted != "auto" and wanted not in self.working:
            raise SettingError(
                f"enforcement is {wanted!r}, but that does not work here: no such mount. Use 'auto'."
            )
        names = ("cgroup2", "cgroup1", "watchdog")
        findings = tuple(Finding(name, name in self.working, f"why {name}") for name in names)
        return Rungs(self.working[0] if wanted == "auto" else wanted, findings, "in words")

    def landlock_abi(self) -> int:
        return self.abi

    def can_yield(self, how: str) -> bool:
        return self.yields

    def processes_free(self) -> int | None:
        return self.free

    def mounts(self) -> str:
        return self.mountinfo

    def duckdb_version(self) -> str | None:
        return self.duckdb


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", port=0)


def problems(report: dict[str, Any]) -> dict[str, str]:
    """Code to severity."""
    return {one["code"]: one["severity"] for one in report["problems"]}


def test_a_good_machine_has_no_problems_and_says_what_it_offers(settings: Settings) -> None:
    report = examine(settings, FakeMachine())
    assert report["problems"] == []
    assert report["capacity"]["memory_bytes"]["value"] == 16 * GIB
    assert report["capacity"]["memory_bytes"]["source"] == "told as memory_bytes"
    allocatable = settings.allocatable(FakeMachine.amounts)
    assert report["offered"]["allocatable"]["memory_bytes"] == allocatable.memory_bytes
    assert report["offered"]["headroom"]["memory_bytes"] == 16 * GIB - allocatable.memory_bytes
    assert report["limits"]["in_use"] == "cgroup1"
    assert report["limits"]["rungs"][0] == {"rung": "cgroup2", "works": False, "reason": "why cgroup2"}
    assert report["software"]["duckdb"] == "2.0.0"


def test_every_report_is_json(settings: Settings) -> None:
    report = examine(settings, FakeMachine(working=("watchdog",), abi=0))
    assert json.loads(json.dumps(report)) == report


def test_settings_that_withhold_capacity_are_told_apart_from_headroom(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, port=0, memory="4GiB", headroom_memory="1GiB")
    offered = examine(settings, FakeMachine())["offered"]
    assert offered["withheld_by_settings"]["memory_bytes"] == 12 * GIB
    assert offered["headroom"]["memory_bytes"] == GIB
    assert offered["allocatable"]["memory_bytes"] == 3 * GIB


@pytest.mark.parametrize(
    ("machine", "code", "severity"),
    [
        (FakeMachine(working=("watchdog",)), "no_cgroups", "warning"),
        (FakeMachine(abi=0), "no_landlock", "warning"),
        (FakeMachine(yields=False), "no_yield", "warning"),
        (FakeMachine(free=30), "few_processes", "warning"),
        (FakeMachine(duckdb=None), "no_duckdb", "error"),
        (FakeMachine(amounts=Resources(4000, 700 * MIB, 100 * GIB)), "little_memory", "warning"),
        (FakeMachine(amounts=Resources(4000, 16 * GIB, 2 * GIB)), "little_disk", "warning"),
        (FakeMachine(mountinfo="31 1 0:5 / / rw - tmpfs tmpfs rw"), "data_in_memory", "warning"),
        (FakeMachine(mountinfo="31 1 0:5 / / rw - nfs4 host:/x rw"), "data_on_network", "error"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_missing_is_named_with_what_to_do(
    settings: Settings, machine: FakeMachine, code: str, severity: str
) -> None:
    report = examine(settings, machine)
    assert problems(report) == {code: severity}
    (problem,) = report["problems"]
    assert problem["message"].endswith(".")
    assert problem["advice"].endswith(".")


def test_the_reasons_of_the_rungs_are_in_the_warning(settings: Settings) -> None:
    report = examine(settings, FakeMachine(working=("watchdog",)))
    assert "cgroup2: why cgroup2; cgroup1: why cgroup1" in report["problems"][0]["message"]


def test_a_wanted_rung_that_does_not_work_is_an_error_and_the_others_are_still_found(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, port=0, enforcement="cgroup2")
    machine = FakeMachine()
    report = examine(settings, machine)
    assert machine.asked == ["cgroup2", "auto"]
    assert problems(report) == {"enforcement": "error"}
    assert report["limits"]["in_use"] == "cgroup1"


def test_errors_come_before_warnings(settings: Settings) -> None:
    report = examine(settings, FakeMachine(abi=0, duckdb=None))
    assert list(problems(report)) == ["no_duckdb", "no_landlock"]


ON_NFS = "31 1 0:5 / / rw - nfs4 host:/x rw"
IN_MEMORY = "31 1 0:5 / / rw - tmpfs none rw"


@pytest.mark.parametrize(
    ("mounts", "scratch", "severity", "code"),
    [
        (ON_NFS, None, "info", "scratch_on_network"),
        (ON_NFS, "/tmp", "warning", "scratch_on_network"),
        (f"{ON_NFS}\n{IN_MEMORY.replace('/ / ', '/ /tmp ')}", "/tmp", "warning", "scratch_in_memory"),
        (ON_NFS, "/proc/none", "error", "scratch"),
    ],
)
def test_where_scratch_of_a_cluster_lies_is_judged(
    tmp_path: Path, mounts: str, scratch: str | None, severity: str, code: str
) -> None:
    settings = Settings(
        data_dir=tmp_path, port=0, broker_url="redis://x", database_url="postgresql://x", scratch_dir=scratch
    )
    report = examine(settings, FakeMachine(mountinfo=mounts))
    assert problems(report)[code] == severity
    assert (report["scratch"] is None) == (scratch is None)


def test_a_data_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    report = examine(Settings(data_dir=tmp_path / "file" / "data", port=0), FakeMachine())
    assert problems(report) == {"data_dir": "error"}
    assert report["data_dir"]["writable"] is False


def test_a_data_directory_that_is_not_there_is_not_made(settings: Settings) -> None:
    report = examine(settings, FakeMachine())
    assert (report["data_dir"]["exists"], report["data_dir"]["writable"]) == (False, True)
    assert not settings.data_dir.exists()


@pytest.fixture
def used_folder(tmp_path: Path) -> Iterator[Path]:
    """A data directory whose lock somebody holds."""
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield tmp_path


def test_another_server_on_the_data_directory_is_named(used_folder: Path) -> None:
    (used_folder / "server.json").write_text(json.dumps({"pid": 4711, "url": "http://127.0.0.1:5"}))
    report = examine(Settings(data_dir=used_folder, port=0), FakeMachine())
    assert problems(report) == {"in_use": "info"}
    assert report["data_dir"]["used_by"] == {"pid": 4711, "url": "http://127.0.0.1:5"}


def test_a_server_that_is_still_starting_is_seen_by_its_lock(used_folder: Path) -> None:
    assert server_of(used_folder) == {"pid": None, "url": None}


def test_a_note_without_a_lock_is_of_a_server_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("4711")
    (tmp_path / "server.json").write_text(json.dumps({"pid": os.getpid(), "url": "http://127.0.0.1:5"}))
    assert server_of(tmp_path) is None


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def test_a_taken_port_is_an_error(tmp_path: Path, taken_port: int) -> None:
    report = examine(Settings(data_dir=tmp_path, port=taken_port), FakeMachine())
    assert problems(report) == {"port": "error"}
    assert report["server"]["can_listen"] is False


def test_a_port_taken_by_the_server_of_this_data_directory_is_as_it_should_be(
    used_folder: Path, taken_port: int
) -> None:
    (used_folder / "server.json").write_text(
        json.dumps({"pid": 4711, "url": f"http://127.0.0.1:{taken_port}"})
    )
    report = examine(Settings(data_dir=used_folder, port=taken_port), FakeMachine())
    assert problems(report) == {"in_use": "info"}


def test_the_nearest_and_latest_mount_counts() -> None:
    mounts = "\n".join(
        [
            ON_DISK,
            "32 31 0:1 / /data rw - xfs /dev/b rw",
            "33 31 0:2 / /data rw,noatime shared:1 - tmpfs none rw",
            r"34 31 0:3 / /my\040data rw - nfs4 host:/x rw",
            "35 31 0:4 / /database rw - btrfs /dev/c rw",
        ]
    )
    assert file_system_of(Path("/data/x"), mounts) == ("/data", "tmpfs")
    assert file_system_of(Path("/my data"), mounts) == ("/my data", "nfs4")
    assert file_system_of(Path("/datax"), mounts) == ("/", "ext4")


def test_this_machine_is_examined_and_nothing_is_left_behind(settings: Settings) -> None:
    report = examine(settings)
    assert report["limits"]["in_use"] in ("cgroup2", "cgroup1", "watchdog")
    assert [one["rung"] for one in report["limits"]["rungs"]] == ["cgroup2", "cgroup1", "watchdog"]
    assert report["capacity"]["cpu_milli"]["bounds"]
    assert report["limits"]["yield_cpu_works"] in (True, False)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    assert not settings.data_dir.exists()
    groups = Path("/sys/fs/cgroup").glob(f"**/tidegate-doctor-{os.getpid()}*")
    assert list(groups) == []


def test_commands_are_warned_of_where_they_are_little_confined(tmp_path: Path) -> None:
    def codes(abi: int, **given: Any) -> set[str]:
        settings = Settings(data_dir=tmp_path, port=0, **given)
        return {problem["code"] for problem in examine(settings, FakeMachine(abi=abi))["problems"]}

    assert not codes(0) & {"commands_as_root", "commands_unconfined"}
    assert "commands_unconfined" in codes(0, enable_commands=True)
    assert "commands_unconfined" not in codes(7, enable_commands=True)
    assert ("commands_as_root" in codes(7, enable_commands=True)) == (os.getuid() == 0)
