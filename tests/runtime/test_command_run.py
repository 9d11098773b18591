"""Commands in real sandboxes, on every rung that works here: how they end, what they see, and that nothing of them is left."""

from __future__ import annotations

import os
import signal
import socket
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.lab import Lab, eventually, is_started
from tidegate.core.resources import GIB, MIB, Resources
from tidegate.core.states import ExitReason
from tidegate.ports import IntakeContext, KindRules
from tidegate.runtime.limits import landlock
from tidegate.runtime.pipes import LOG_END_BYTES, MAX_LOG_BYTES
from tidegate.runtime.sandbox import SandboxEnd, SandboxOrder
from tidegate.workloads.command import CommandWorkload
from tidegate.workloads.command_run import PASSED

confined = pytest.mark.skipif(landlock.abi() < 1, reason="this kernel has no Landlock")
EXACT = {
    "HOME", "LANG", "OMP_NUM_THREADS", "PATH", "PWD", "TIDEGATE_ATTEMPT", "TIDEGATE_CPUS", "TIDEGATE_JOB_ID",
    "TIDEGATE_MEMORY_BYTES", "TIDEGATE_OUTPUT_DIR", "TIDEGATE_TASK_ID", "TMPDIR",
}  # fmt: skip


def order_of(lab: Lab, argv: list[str], roots: tuple[str, ...] = (), **given: Any) -> SandboxOrder:
    """The order of a command as intake and worker make it. Fields of the submission besides those of the sandbox."""
    of_sandbox = ("cpu_milli", "memory_mib", "disk_mib", "timeout_s")
    rules = KindRules(commands=True, readable_roots=roots, writable_roots=roots)
    context = IntakeContext("ann", "/nowhere", lambda names: [], Resources(8000, 8 * GIB, GIB), kinds=rules)
    fields = {"argv": argv, **{name: value for name, value in given.items() if name not in of_sandbox}}
    spec = CommandWorkload().order(fields, context).spec
    plain = lab.order("answer", **{name: given[name] for name in of_sandbox if name in given})
    return replace(plain, runner=CommandWorkload.runner, spec=spec)


def run(lab: Lab, *argv: str, **given: Any) -> tuple[SandboxEnd, bytes]:
    """The end of a command and what it printed."""
    order = order_of(lab, list(argv), **given)
    lab.sandboxes.start(order)
    end = lab.end_of(order.key)
    assert end.tree_gone
    return end, printed(order)


def sh(lab: Lab, script: str, **given: Any) -> tuple[SandboxEnd, bytes]:
    return run(lab, "sh", "-c", script, **given)


def printed(order: SandboxOrder) -> bytes:
    log = Path(order.folder, "log")
    return log.read_bytes() if log.exists() else b""


def ended(end: SandboxEnd) -> tuple[ExitReason, str | None]:
    assert end.exit is not None, end.result
    return end.exit.reason, end.exit.code


def test_a_command_prints_and_ends_with_zero(lab: Lab) -> None:
    end, text = run(lab, "echo", "hello", "two words")
    assert (end.succeeded, end.result) == (True, {"exit_code": 0})
    assert text == b"hello two words\n"
    assert end.usage.wall_seconds is not None
    assert end.enforced_by == lab.sandboxes.rungs.in_use


def test_both_outputs_come_in_their_order_and_bytes_stay_bytes(lab: Lab) -> None:
    _, text = sh(
        lab, r"printf 'one\n'; printf 'two\n' >&2; printf '\000\377\200three'; echo four > /dev/stdout"
    )
    assert text == b"one\ntwo\n\x00\xff\x80threefour\n"


def test_standard_input_is_the_text_that_was_sent_or_nothing(lab: Lab) -> None:
    assert run(lab, "cat", stdin="grün\nlast")[1] == "grün\nlast".encode()
    assert run(lab, "cat")[1] == b""


@pytest.mark.parametrize("code", [1, 3, 125, 255])
def test_an_exit_code_fails_with_the_number(lab: Lab, code: int) -> None:
    end, _ = sh(lab, f"exit {code}")
    assert ended(end) == (ExitReason.ERROR, "exit_code")
    assert end.exit is not None
    assert end.exit.observed == code
    assert f"exit code {code}." in end.exit.message


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGUSR1])
def test_a_signal_fails_with_its_number(lab: Lab, number: signal.Signals) -> None:
    end, _ = sh(lab, f"kill -{number.value} $$; sleep 30")
    assert ended(end) == (ExitReason.SIGNAL, number.name.lower())
    assert end.exit is not None
    assert end.exit.observed == number


@pytest.mark.parametrize(
    ("argv", "files", "code", "says"),
    [
        (["no-such-program"], {}, "program_not_found", "no-such-program"),
        (["./missing.sh"], {}, "program_not_found", "not there"),
        (["./script"], {"script": "#!/no/such/interpreter\n"}, "program_not_found", "interpreter"),
        (["./script"], {"script": "echo no first line\n"}, "program_not_executable", "#!/bin/sh"),
        (["/etc/passwd"], {}, "program_not_executable", "not executable"),
        (["./."], {}, "program_not_executable", "not executable"),
    ],
)
def test_a_program_that_cannot_be_started_says_why(
    lab: Lab, argv: list[str], files: Mapping[str, str], code: str, says: str
) -> None:
    end, _ = run(lab, *argv, files=files)
    assert ended(end) == (ExitReason.ERROR, code)
    assert end.exit is not None
    assert says in end.exit.message


def test_the_longest_argument_reaches_the_program(lab: Lab) -> None:
    end, text = run(lab, "printf", "%s", "x" * (128 * 1024 - 1))
    assert end.succeeded, end.exit
    assert text == b"x" * (128 * 1024 - 1)


def test_more_arguments_than_the_kernel_takes_are_told(lab: Lab) -> None:
    order = order_of(lab, ["true"])
    lab.sandboxes.start(replace(order, spec={**order.spec, "argv": ["true", *["x" * 100_000] * 80]}))
    assert ended(lab.end_of(order.key)) == (ExitReason.ERROR, "argv_too_long")


def test_files_that_came_along_are_there_and_run(lab: Lab) -> None:
    files = {"run.sh": '#!/bin/sh\ncat data/in.txt "$1"\n', "data/in.txt": "in ", "more": {"base64": "AP8="}}
    _, text = run(lab, "./run.sh", "more", files=files)
    assert text == b"in \x00\xff"


def test_a_command_begins_in_a_folder_of_its_own(lab: Lab) -> None:
    order = order_of(lab, ["sh", "-c", "pwd; ls -A; touch here; cd $HOME; ls"])
    lab.sandboxes.start(order)
    assert lab.end_of(order.key).succeeded
    assert printed(order).decode().split() == [os.path.realpath(f"{order.folder}/staging/work"), "here"]
    _, text = run(lab, "pwd", cwd="deeper/still")
    assert text.decode().strip().endswith("/work/deeper/still")


def test_the_environment_is_clean_but_for_what_was_given(
    monkeypatch: pytest.MonkeyPatch, own_lab: Lab
) -> None:
    end, text = run(own_lab, "env", env={"SEED": "7", "PATH": "/usr/bin"})
    assert end.succeeded, end.exit
    seen = dict(line.partition("=")[::2] for line in text.decode().splitlines())
    assert {name for name in seen if not name.startswith("LC_")} - set(PASSED) == (EXACT | {"SEED"}) - {
        "LANG"
    }
    assert (seen["SEED"], seen["PATH"]) == ("7", "/usr/bin")
    assert (seen["TIDEGATE_CPUS"], seen["TIDEGATE_ATTEMPT"]) == ("1", "1")


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Secrets in the environment of this process, which plays the server."""
    names = ("DATABASE_URL", "TIDEGATE_API_KEY", "CELERY_BROKER_URL", "REDIS_URL", "AWS_SECRET_ACCESS_KEY")
    values = [f"s3cr3t-of-{name.lower()}" for name in names]
    for name, value in zip(names, values, strict=True):
        monkeypatch.setenv(name, value)
    return values


@confined
def test_no_secret_of_the_server_reaches_a_command(secrets: list[str], own_lab: Lab) -> None:
    script = (
        f"env; cat /proc/{os.getpid()}/environ /proc/$PPID/environ /proc/self/environ /proc/1/environ; "
        "for p in /proc/[0-9]*/environ; do cat $p; done; ls /proc; true"
    )
    end, text = sh(own_lab, script)
    assert end.succeeded, end.exit
    assert [secret for secret in secrets if secret.encode() in text] == []
    assert b"HOME=" in text


@confined
def test_a_command_reads_and_writes_only_what_is_its_own(lab: Lab, other_file: Path, tmp_path: Path) -> None:
    for script in (
        f"cat {other_file}",
        f"echo x > {tmp_path}/made",
        f"ls {tmp_path}",
        f"cp {other_file} .",
        f"ln {other_file} ./linked",
        f"ln -s {other_file} ./link && cat ./link",
        "echo x > /usr/made",
        "cat /etc/shadow",
    ):
        end, text = sh(lab, script)
        assert ended(end) == (ExitReason.ERROR, "exit_code"), script
        assert b"secret" not in text.replace(b"secret.txt", b"")
    assert list(tmp_path.iterdir()) == [other_file.parent]


@confined
def test_paths_that_were_allowed_can_be_read_run_and_written(lab: Lab, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (root / "out").mkdir()
    script = root / "in" / "tool.sh"
    script.write_text(f"#!/bin/sh\ncat {root}/in/data; echo made > {root}/out/made; echo no > {root}/in/no\n")
    script.chmod(0o755)
    (root / "in" / "data").write_text("data\n")
    end, text = run(
        lab, "./tool.sh", cwd=str(root / "in"), writable_paths=[str(root / "out")], roots=(str(root),)
    )
    assert text.startswith(b"data\n")
    assert (root / "out" / "made").read_text() == "made\n"
    assert not (root / "in" / "no").exists()
    assert ended(end) == (ExitReason.ERROR, "exit_code")


@confined
def test_a_path_that_became_a_link_is_not_granted(lab: Lab, other_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "inputs"
    folder.mkdir()
    order = order_of(
        lab, ["cat", f"{folder}/secret.txt"], readable_paths=[str(folder)], roots=(str(tmp_path),)
    )
    folder.rmdir()
    folder.symlink_to(other_file.parent)
    lab.sandboxes.start(order)
    assert ended(lab.end_of(order.key)) == (ExitReason.ERROR, "exit_code")
    assert b"secret\n" not in printed(order)


@pytest.mark.skipif(landlock.abi() < 4, reason="this kernel's Landlock knows no TCP")
def test_a_command_has_no_network(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        script = f"import socket; socket.create_connection(('127.0.0.1', {port}))"
        end, text = run(lab, "python3", "-c", script)
    assert ended(end) == (ExitReason.ERROR, "exit_code")
    assert b"PermissionError" in text


def test_privileges_are_gone(lab: Lab) -> None:
    _, text = run(
        lab, "python3", "-c", "import ctypes; print(ctypes.CDLL(None).prctl(39, 0, 0, 0, 0))"
    )  # PR_GET_NO_NEW_PRIVS
    assert text == b"1\n"


EAT = "import mmap, os, time\ndef eat():\n    blocks = []\n    while True: blocks.append({}); time.sleep(0.003)\n"


# Slowly, so that the watchdog sees it before RLIMIT_DATA refuses the memory.
@pytest.mark.parametrize(
    "bomb",
    [
        EAT.format("bytearray(2**20)") + "eat()",
        EAT.format("bytearray(2**20)") + "if os.fork() == 0: eat()\nos.wait()",
        EAT.format("(lambda m: (m.write(bytes(2**20)), m))(mmap.mmap(-1, 2**20))") + "eat()",
    ],
    ids=["itself", "child", "shared"],
)
def test_memory_is_held_to_the_request(lab: Lab, bomb: str) -> None:
    end, _ = run(lab, "python3", "-c", bomb, memory_mib=96)
    assert ended(end) == (ExitReason.MEMORY_LIMIT, "memory_limit")


def test_a_fork_bomb_is_contained(lab: Lab) -> None:
    end, _ = sh(lab, "while true; do sleep 100 & done", timeout_s=10.0, memory_mib=512)
    assert not end.succeeded
    assert end.exit is not None
    assert end.exit.code in ("exit_code", "process_limit", "memory_limit", "time_limit")
    assert lab.strays() == []


def test_orphans_are_taken_in_while_the_command_runs(lab: Lab) -> None:
    script = "i=0; while [ $i -lt 700 ]; do (true &); i=$((i+1)); done; echo whole"
    end, text = sh(lab, script)
    assert (end.succeeded, text) == (True, b"whole\n"), end.exit


@pytest.mark.parametrize(
    "script",
    [
        "(setsid sleep 100 &); setsid sleep 100 & echo done",
        "nohup sh -c '(sleep 100 &) & sleep 100' > /dev/null 2>&1 & echo done",
        "trap '' TERM HUP INT; sleep 100 & echo done",
    ],
)
def test_what_a_command_detaches_ends_with_it(lab: Lab, script: str) -> None:
    end, text = sh(lab, script)
    assert (end.succeeded, text) == (True, b"done\n")
    assert lab.strays() == []


def test_the_time_limit_ends_the_whole_tree(lab: Lab) -> None:
    end, _ = sh(lab, "sleep 100 | sleep 100 & trap '' TERM; sleep 100; sleep 100", timeout_s=0.5)
    assert ended(end) == (ExitReason.TIME_LIMIT, "time_limit")
    assert lab.strays() == []


def cancelled(lab: Lab, script: str) -> tuple[SandboxEnd, bytes]:
    """Cancel a script once it has said that it is ready."""
    order = order_of(lab, ["sh", "-c", script])

    def cancel(_: SandboxOrder) -> None:
        assert eventually(lambda: b"ready" in printed(order), folders=lambda: [order.folder])
        lab.sandboxes.cancel(order.key)

    lab.sandboxes.start(order)
    events = iter(lambda: lab.sandboxes.poll(10.0), None)
    for batch in events:
        for event in batch:
            if is_started(event):
                cancel(order)
            if isinstance(event, SandboxEnd):
                return event, printed(order)
    raise AssertionError("unreachable")


def test_a_cancel_asks_before_it_kills(lab: Lab) -> None:
    end, text = cancelled(lab, "trap 'echo bye; exit 0' TERM; echo ready; while true; do sleep 0.01; done")
    assert ended(end) == (ExitReason.CANCELLED, "cancelled")
    assert text.startswith(b"ready\n")
    assert text.endswith(b"bye\n")


def test_a_cancel_reaches_the_children_of_a_shell(lab: Lab) -> None:
    inner = "trap 'echo inner; exit 0' TERM; echo ready; while true; do sleep 0.01; done"
    end, text = cancelled(lab, f'sh -c "{inner}"; echo after')
    assert ended(end) == (ExitReason.CANCELLED, "cancelled")
    assert b"inner" in text


def test_a_command_that_will_not_hear_is_killed(lab: Lab) -> None:
    end, _ = cancelled(lab, "trap '' TERM INT HUP; echo ready; while true; do sleep 0.01; done")
    assert ended(end) == (ExitReason.CANCELLED, "cancelled")
    assert end.tree_gone
    assert lab.strays() == []


@pytest.mark.parametrize(
    "script",
    [
        "cat /dev/zero > $TMPDIR/one",
        "exec cat /dev/zero > one",
        "i=0; while true; do head -c 8388608 /dev/zero > $i; i=$((i+1)); done",
    ],
    ids=["a file of a shell", "a file", "many files"],
)
def test_disk_is_held_to_the_request(lab: Lab, script: str) -> None:
    end, _ = sh(lab, script, disk_mib=80)
    assert ended(end) == (ExitReason.DISK_LIMIT, "disk_limit")


def test_a_flood_of_output_is_cut_and_does_no_harm(lab: Lab) -> None:
    end, text = sh(lab, "yes 0123456789abcde | head -c 31457280; echo the end", memory_mib=96)
    assert end.succeeded, end.exit
    assert len(text) < MAX_LOG_BYTES + LOG_END_BYTES + 200
    assert b"bytes left out here" in text[MAX_LOG_BYTES:]
    assert text.endswith(b"the end\n")


def test_a_pipe_that_nobody_reads_ends_the_writer(lab: Lab) -> None:
    end, text = sh(lab, "yes | head -n 1")  # with SIGPIPE ignored, as Python has it, `yes` would complain
    assert (end.succeeded, text) == (True, b"y\n")


def test_plain_files_of_the_output_folder_are_named_with_their_sizes(lab: Lab) -> None:
    order = order_of(
        lab, ["sh", "-c", "cd $TIDEGATE_OUTPUT_DIR; mkdir -p a/b; printf 12345 > a/b/c; touch empty"]
    )
    lab.sandboxes.start(order)
    end = lab.end_of(order.key)
    assert end.result == {
        "exit_code": 0,
        "folder": "output",
        "file_count": 2,
        "size_bytes": 5,
        "files": [{"name": "a/b/c", "size_bytes": 5}, {"name": "empty", "size_bytes": 0}],
        "files_truncated": False,
    }
    assert Path(order.folder, "staging", "output", "a", "b", "c").read_bytes() == b"12345"


def test_what_is_no_plain_file_is_not_kept_and_is_told(lab: Lab) -> None:
    script = (
        "cd $TIDEGATE_OUTPUT_DIR; echo x > kept; ln -s /etc/passwd link; ln -s / folder; mkfifo pipe; "
        "echo y > one; ln one two; printf z > \"$(printf 'bad\\377name')\"; printf z > \"$(printf 'two\\nlines')\""
    )
    order = order_of(lab, ["sh", "-c", script])
    lab.sandboxes.start(order)
    result = lab.end_of(order.key).result
    assert result is not None
    assert {each["name"]: each["reason"] for each in result["skipped"]} == {
        "bad?name": "a name with bytes or characters that cannot be shown",
        "two\nlines": "a name with bytes or characters that cannot be shown",
        "link": "a link",
        "folder": "a link",
        "pipe": "not a plain file",
        "one": "one of several hard links",
    }
    left = Path(order.folder, "staging", "output")
    assert {path.name for path in left.iterdir()} == {"kept", "two"}
    assert all(stat.S_ISREG(path.lstat().st_mode) for path in left.iterdir())


def test_usage_is_that_of_the_whole_tree(lab: Lab) -> None:
    burn = "import time; x = bytearray(60 * 2**20); t = time.process_time()\nwhile time.process_time() - t < 0.4: pass"
    end, _ = sh(lab, f'python3 -c "{burn}"')
    assert end.succeeded, end.exit
    assert end.usage.cpu_seconds is not None
    assert end.usage.cpu_seconds > 0.3
    assert end.usage.peak_memory_bytes is not None
    assert 50 * MIB < end.usage.peak_memory_bytes <= 128 * MIB
