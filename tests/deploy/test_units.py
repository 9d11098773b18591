"""The units for systemd: systemd itself takes them, and the sandbox gets what it needs."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
NAMES = ("tidegate.service", "tidegate-worker@.service")
LANDLOCK = {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"}


def options(name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for option, value in re.findall(r"^(\w+)=(.*)$", (UNITS / name).read_text(), re.MULTILINE):
        found.setdefault(option, []).append(value)
    return found


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("name", NAMES)
def test_systemd_has_nothing_against_it(name, tmp_path):
    """Unknown options and values are warnings to it, and left out; here they fail."""
    text = (
        (UNITS / name)
        .read_text()
        .replace("ExecStart=/opt/tidegate/scripts/start_", "ExecStart=/bin/true start_")
    )
    (tmp_path / name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / name],
        capture_output=True,
        text=True,
        check=False,
    )
    if "Failed to" in done.stderr and "verify" not in done.stderr and name not in done.stderr:
        pytest.skip(f"systemd-analyze does not work here: {done.stderr.strip()}")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", NAMES)
def test_what_fails_is_started_again_unless_a_variable_is_wrong(name):
    unit = options(name)
    assert unit["Restart"] == ["on-failure"]
    assert unit["RestartPreventExitStatus"] == ["2"]
    # A start without its database fails within a second, and it may be away for longer than any number of starts takes.
    assert unit["StartLimitIntervalSec"] == ["0"]
    assert unit["User"] == ["tidegate"]
    script = Path(unit["ExecStart"][0].split()[0])
    assert (UNITS.parents[1] / "scripts" / script.name).exists()


@pytest.mark.parametrize("name", NAMES)
def test_no_password_stands_in_the_environment(name):
    unit = options(name)
    credentials = {value.partition(":")[0] for value in unit["LoadCredential"]}
    assert credentials == {"database_url", "celery_broker_url", "redis_url"}
    named = re.findall(r"(\w+)_FILE=%d/(\w+)", " ".join(unit["Environment"]))
    assert {variable.lower() for variable, _ in named} == {file for _, file in named} == credentials


def test_the_worker_may_do_what_its_sandboxes_need():
    unit = options("tidegate-worker@.service")
    assert unit["Delegate"] == ["yes"]
    assert unit["ProtectControlGroups"] == ["no"]
    assert unit["OOMPolicy"] == ["continue"]  # a job that meets its limit does not end the unit
    assert unit["KillMode"] == ["mixed"]
    assert set(" ".join(unit["SystemCallFilter"]).split()) >= LANDLOCK
    assert "MemoryDenyWriteExecute" not in unit
    assert "ProcSubset" not in unit  # what the machine has is read from /proc/meminfo
