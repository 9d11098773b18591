"""The life of the processes around an attempt: servers that die, what they leave, and who clears up."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.lab import (
    RUNNERS_PATH,
    Lab,
    all_gone,
    eventually,
    group_parents,
    groups_of,
    is_started,
    rungs_to_try,
)
from tidegate.core.states import KEEPER_DIED
from tidegate.errors import SettingError, Unavailable
from tidegate.runtime.processes import marked_processes, memory_of
from tidegate.runtime.sandbox import Sandboxes, SandboxOrder

ROOT = Path(__file__).parents[2]
NOBODY = 65534


def as_nobody() -> dict[str, Any]:
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []}


def python_of_others() -> str:
    """An interpreter that user NOBODY can run, with the package; the one of the tests may be in root's home."""
    if os.getuid() != 0:
        pytest.skip("needs to be root, to become somebody else")
    for python in (os.path.realpath(sys.executable), "/usr/bin/python3", "/usr/local/bin/python3"):
        try:
            tried = subprocess.run(
                [python, "-c", "import tidegate.runtime.sandbox"],
                env={"PYTHONPATH": str(ROOT / "src")},
                capture_output=True,
                check=False,
                **as_nobody(),
            )
        except OSError:
            continue
        if tried.returncode == 0:
            return python
    pytest.skip("user 65534 can run no suitable interpreter here")


@pytest.fixture
def instance() -> Iterator[str]:
    """A name of its own; nothing of it may be left in the end."""
    name = f"test{secrets.token_hex(4)}"
    yield name
    assert all_gone(name)
    assert groups_of(name) == []


def start_driver(
    instance: str, folder: Path, runner: str, *, rung: str = "auto", python: str = sys.executable, **spec: Any
) -> subprocess.Popen[str]:
    """A server in a process of its own: with another interpreter than ours it is one of user NOBODY."""
    return subprocess.Popen(
        [python, "-m", "tests.runtime.driver", instance, str(folder), runner, json.dumps(spec)],
        cwd=ROOT,
        env={**os.environ, "DRIVER_RUNG": rung, "PYTHONPATH": str(ROOT / "src")},
        **(as_nobody() if python != sys.executable else {}),
        stdout=subprocess.PIPE,
        text=True,
    )


def hear(driver: subprocess.Popen[str], what: str) -> dict[str, Any]:
    """The next message of this kind."""
    assert driver.stdout is not None
    for line in driver.stdout:
        message: dict[str, Any] = json.loads(line)
        if message["is"] == what:
            return message
    raise AssertionError(f"the driver ended without {what!r}, status {driver.wait()}")


def kill(driver: subprocess.Popen[str]) -> None:
    with driver:
        driver.kill()


@pytest.mark.parametrize("rung", rungs_to_try())
@pytest.mark.parametrize("runner", ["escape", "ignore"])
def test_nothing_is_left_of_a_server_that_was_killed(
    instance: str, tmp_path: Path, rung: str, runner: str
) -> None:
    driver = start_driver(instance, tmp_path, runner, stay=True, rung=rung)
    working = hear(driver, "working")
    assert working["keepers"]
    assert working["strays"]
    kill(driver)
    assert all_gone(instance)
    assert eventually(lambda: groups_of(instance) == [], folders=lambda: group_parents(instance))


@pytest.mark.parametrize("rung", rungs_to_try())
def test_the_next_server_ends_what_a_massacre_left(instance: str, tmp_path: Path, rung: str) -> None:
    """Server, zygote and keepers are killed together, so that nobody clears up; daemons of the job live on."""
    driver = start_driver(instance, tmp_path / "first", "escape", stay=True, rung=rung)
    hear(driver, "working")
    guards = [pid for pid in marked_processes(instance) if _is_guard(pid)]
    assert len(guards) == 2
    for pid in guards:
        os.kill(pid, signal.SIGSTOP)
    kill(driver)
    for pid in guards:
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not any(map(_is_guard, marked_processes(instance))), pids=lambda: guards)
    assert marked_processes(instance) != {}, "there must be something to sweep"
    lab = Lab(instance, tmp_path / "second", rung)
    processes, groups = lab.sandboxes.sweep_leftovers()
    assert processes >= 5
    assert groups == (0 if rung == "watchdog" else 1)
    assert lab.strays() == []
    assert lab.sandboxes.sweep_leftovers() == (0, 0)
    lab.close()
    assert groups_of(instance) == []


def _is_guard(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() in ("tidegate-zygote", "tidegate-keeper")
    except OSError:
        return False


@pytest.mark.parametrize("runner", ["answer", "eat", "escape", "look_around"])
def test_a_service_without_privileges_uses_the_watchdog(instance: str, runner: str) -> None:
    python = python_of_others()
    folder = Path(tempfile.mkdtemp(prefix="tidegate-test-"))
    try:
        shutil.chown(folder, 65534)
        spec: dict[str, Any] = {"input": "/etc/hostname", "other": "/etc/passwd", "port": 1, "server_pid": 1}
        driver = start_driver(instance, folder, runner, python=python, **spec)
        opened = hear(driver, "open")
        assert opened["rung"] == "watchdog"
        assert all(opened["why"].values())
        end = hear(driver, "end")
        with driver:
            assert driver.wait(20) == 0
    finally:
        shutil.rmtree(folder)
    expected = {
        "answer": (None, {"answer": 42}),
        "eat": ("memory_limit", None),
        "escape": (None, {"left": 5}),
    }
    if runner in expected:
        assert (end["reason"], end["result"]) == expected[runner]
    else:
        assert end["result"]["write_staging"] == "allowed"
        assert end["result"]["read_other"] == "PermissionError"


def test_a_runner_that_starts_threads_is_refused(instance: str, tmp_path: Path) -> None:
    (tmp_path / "threaded.py").write_text(
        "import threading\nevent = threading.Event()\nthreading.Thread(target=event.wait, daemon=True).start()\n"
    )
    sandboxes = Sandboxes(
        instance=instance, rung="watchdog", preload=["threaded"], python_path=[str(tmp_path)]
    )
    with pytest.raises(Unavailable, match="2 threads after loading threaded"):
        sandboxes.open()
    sandboxes.close()


def test_a_runner_that_cannot_be_loaded_does_not_stop_the_others(
    instance: str, caplog: pytest.LogCaptureFixture
) -> None:
    sandboxes = Sandboxes(
        instance=instance, rung="watchdog", preload=["no_such_module", "runners"], python_path=[RUNNERS_PATH]
    )
    sandboxes.open()
    assert [text.split(":")[0] for text in sandboxes.warnings] == ["no_such_module"]
    assert "could not load a module: no_such_module" in caplog.text
    sandboxes.close()


def test_a_module_is_warmed_once_before_the_forks(instance: str, tmp_path: Path) -> None:
    (tmp_path / "warmed.py").write_text(
        "import os\npid = 0\ndef warm():\n    global pid\n    pid = os.getpid()\n"
        "def run(context):\n    return {'warmed_by': pid}\n"
    )
    lab = Lab(instance, tmp_path, "watchdog")
    lab.close()
    lab.sandboxes = Sandboxes(
        instance=instance, rung="watchdog", preload=["warmed"], python_path=[str(tmp_path)]
    )
    lab.sandboxes.open()
    order = lab.order("x")
    lab.sandboxes.start(_with_runner(order, "warmed:run"))
    end = lab.end_of(order.key)
    assert end.result == {"warmed_by": lab.zygote_pid()}
    lab.close()


def _with_runner(order: Any, runner: str) -> Any:
    return replace(order, runner=runner)


def test_a_rung_that_does_not_work_is_a_setting_error(instance: str) -> None:
    sandboxes = Sandboxes(instance=instance, rung="cgroup3")
    with pytest.raises(SettingError, match="cgroup3"):
        sandboxes.open()
    sandboxes.close()


def test_before_it_is_open_nothing_is_known(instance: str) -> None:
    sandboxes = Sandboxes(instance=instance)
    with pytest.raises(Unavailable, match="not open"):
        _ = sandboxes.rungs
    assert sandboxes.close() == []


def test_a_zygote_that_stands_still_is_killed_and_another_one_serves(instance: str, tmp_path: Path) -> None:
    lab = Lab(instance, tmp_path, "watchdog", answers_within_s=3.0)
    seen: list[str] = []
    lab.sandboxes.when_zygote_died = seen.append
    first = lab.zygote_pid()
    os.kill(first, signal.SIGSTOP)
    lost = lab.run("answer")  # a keeper for it is never forked
    assert lost.exit is not None
    assert lost.exit.code == KEEPER_DIED
    assert seen == ["The process that forks attempts did not answer within 3 s and was killed"]
    assert lab.run("answer").succeeded
    assert lab.zygote_pid() != first
    lab.close()


def test_a_zygote_that_does_not_tell_of_a_dead_keeper_stands_still(instance: str, tmp_path: Path) -> None:
    lab = Lab(instance, tmp_path, "watchdog", answers_within_s=3.0)
    seen: list[str] = []
    lab.sandboxes.when_zygote_died = seen.append

    def harm(order: SandboxOrder) -> None:
        os.kill(lab.zygote_pid(), signal.SIGSTOP)
        for pid in lab.keeper_pids():
            os.kill(pid, signal.SIGKILL)

    end = lab.run_until("sleep", is_started, harm, seconds=60.0)
    assert (end.exit and end.exit.code, len(seen)) == (KEEPER_DIED, 1)
    assert lab.run("answer").succeeded
    lab.close()


def test_an_interrupt_from_the_terminal_does_not_reach_a_job(instance: str, tmp_path: Path) -> None:
    """Zygote and keepers are in a session of their own and deaf to what a terminal or a service manager sends."""
    lab = Lab(instance, tmp_path, "watchdog")
    lab.run("answer")
    for pid in (lab.zygote_pid(), *lab.keeper_pids()):
        assert os.getsid(pid) != os.getsid(0)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, number)
    assert lab.run("answer").succeeded
    lab.close()


def test_zygote_and_keeper_are_small(instance: str, tmp_path: Path) -> None:
    lab = Lab(instance, tmp_path, "watchdog")
    lab.run("answer")
    assert memory_of(lab.zygote_pid()).anonymous_bytes < 24 * 1024 * 1024
    lab.close()


WARMED = (
    "import os\npid = 0\ndef warm():\n    global pid\n    pid = os.getpid()\n"
    "def run(context):\n    return {'warmed_by': pid, 'pid': os.getpid()}\n"
)


def lab_on_demand(instance: str, tmp_path: Path, module: str, **options: Any) -> Lab:
    lab = Lab(instance, tmp_path, "watchdog")
    lab.close()
    lab.sandboxes = Sandboxes(
        instance=instance,
        rung="watchdog",
        preload=["runners"],
        on_demand=[module],
        python_path=[str(tmp_path), RUNNERS_PATH],
        **options,
    )
    lab.sandboxes.open()
    return lab


def run_as(lab: Lab, runner: str) -> Any:
    order = replace(lab.order("x"), runner=runner)
    lab.sandboxes.start(order)
    return lab.end_of(order.key)


def test_a_module_on_demand_is_loaded_with_the_first_attempt_that_needs_it(
    instance: str, tmp_path: Path
) -> None:
    (tmp_path / "warmed.py").write_text(WARMED + f"open({str(tmp_path / 'loaded')!r}, 'a').write('x')\n")
    lab = lab_on_demand(instance, tmp_path, "warmed")
    assert lab.run("answer").succeeded
    assert not (tmp_path / "loaded").exists()
    for _ in range(3):
        assert run_as(lab, "warmed:run").result["warmed_by"] == lab.zygote_pid()
        assert lab.run("answer").succeeded
    assert (tmp_path / "loaded").read_text() == "x"
    assert len(lab.keeper_pids()) == 2  # one from before, one from after: each serves again
    lab.close()


def test_a_module_that_nobody_has_needed_for_long_is_let_go_of(instance: str, tmp_path: Path) -> None:
    (tmp_path / "warmed.py").write_text(WARMED)
    lab = lab_on_demand(instance, tmp_path, "warmed", forgotten_after_s=0.0)
    first = lab.zygote_pid()
    assert run_as(lab, "warmed:run").result["warmed_by"] == first
    assert eventually(lambda: lab.sandboxes.poll(0.01) == [] and lab.zygote_pid() != first)
    assert lab.run("answer").succeeded
    assert run_as(lab, "warmed:run").succeeded
    lab.close()


def test_a_module_on_demand_that_cannot_be_loaded_fails_its_own_attempts(
    instance: str, tmp_path: Path
) -> None:
    lab = lab_on_demand(instance, tmp_path, "no_such_module")
    end = run_as(lab, "no_such_module:run")
    assert end.exit is not None
    assert "no_such_module" in end.exit.message
    assert lab.run("answer").succeeded
    assert [text.split(":")[0] for text in lab.sandboxes.warnings] == ["no_such_module"]
    lab.close()
