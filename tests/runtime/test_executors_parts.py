"""The executors' parts without processes: sizes, frames, and what the end of a process says to its call."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.core.attempt import Exit, Usage
from tidegate.core.job import AttemptKey
from tidegate.core.resources import GIB, MIB, Resources
from tidegate.core.states import ExitReason
from tidegate.errors import ExecutorDied, ExecutorMemoryLimit, SettingError
from tidegate.runtime.executors import verdicts, wire
from tidegate.runtime.executors.answers import Answer
from tidegate.runtime.executors.calls import Call, unpack
from tidegate.runtime.executors.folder import RootFolder
from tidegate.runtime.executors.sizes import MOST_CPU_WORKERS, sizes_of
from tidegate.runtime.sandbox import SandboxEnd

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
)


def machine(cpu_milli: int, memory_bytes: int = GIB) -> Resources:
    return Resources(cpu_milli, memory_bytes, 0)


@pytest.mark.parametrize(
    ("cpu_milli", "workers", "threads"),
    [(1, 1, 5), (999, 1, 5), (1000, 1, 5), (2500, 1, 10), (4000, 3, 20), (64000, 63, 20)],
)
def test_sizes_are_those_of_what_the_container_gives(cpu_milli: int, workers: int, threads: int) -> None:
    sizes = sizes_of(machine(cpu_milli), {})
    assert (sizes.cpu_workers, sizes.io_threads) == (workers, threads)
    assert sizes.memory_bytes == int(0.8 * GIB)


def test_the_environment_and_the_arguments_override_sizes() -> None:
    environment = {"CPU_EXECUTOR_WORKERS": "7", "IO_EXECUTOR_THREADS": " 9 "}
    assert sizes_of(machine(2000), environment)[:2] == (7, 9)
    assert sizes_of(machine(2000), environment, cpu_workers=3, io_threads=4)[:2] == (3, 4)
    assert sizes_of(machine(2000), {"CPU_EXECUTOR_WORKERS": ""})[:2] == (1, 10)


@pytest.mark.parametrize("name", ["CPU_EXECUTOR_WORKERS", "IO_EXECUTOR_THREADS"])
@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "99999999999", "٣", "0x2"])
def test_a_bad_size_is_refused_with_its_range(name: str, text: str) -> None:
    with pytest.raises(SettingError, match=rf"{name} must be a whole number from 1 to \d+, not '"):
        sizes_of(machine(2000), {name: text})


@pytest.mark.parametrize("given", [0, MOST_CPU_WORKERS + 1, True])
def test_a_bad_argument_is_refused_likewise(given: int) -> None:
    with pytest.raises(SettingError, match=f"from 1 to {MOST_CPU_WORKERS}, not {given}"):
        sizes_of(machine(2000), {}, cpu_workers=given)


@given(st.integers(1, 10**7), st.integers(0, 2**50))
def test_there_is_always_one_of_each(cpu_milli: int, memory_bytes: int) -> None:
    sizes = sizes_of(machine(cpu_milli, memory_bytes), {})
    assert 1 <= sizes.cpu_workers <= max(1, cpu_milli // 1000)
    assert 5 <= sizes.io_threads <= 20
    assert 0 <= sizes.memory_bytes <= memory_bytes


@given(st.lists(st.tuples(values, st.lists(st.binary(max_size=2000), max_size=3)), max_size=5))
def test_frames_arrive_whole_and_in_order_however_they_are_cut(
    frames: list[tuple[object, list[bytes]]],
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        line = wire.Line(ours)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sent = [
            wire.Frame(number, number * 3, wire.Kind.RESULT, [*wire.dump(value), *more])
            for number, (value, more) in enumerate(frames)
        ]
        for frame in sent:
            line.send(frame)
        for frame in sent:
            got = _receive_while_flushing(line, theirs)
            assert (got.number, got.kept_bytes, got.kind) == frame[:3]
            assert [bytes(part) for part in got.parts] == [bytes(part) for part in frame.parts]
            assert unpack(got.parts[:1]) == unpack(frame.parts[:1])


def _receive_while_flushing(line: wire.Line, theirs: socket.socket) -> wire.Frame:
    """What a process reads, byte by byte where the manager has to wait for room."""
    decoder = wire.decode()
    wanted = next(decoder)
    while True:
        line.flush()
        wanted = wanted[theirs.recv_into(wanted[:1000]) :]
        if wanted:
            continue
        try:
            wanted = next(decoder)
        except StopIteration as end:
            frame: wire.Frame = end.value
            return frame


@given(st.lists(values, min_size=1, max_size=4), st.integers(1, 50))
def test_answers_are_read_in_whatever_pieces_they_come(sent: list[object], piece: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        line, got = wire.Line(ours), []
        data = b"".join(
            bytes(view)
            for number, value in enumerate(sent)
            for view in wire.encode(wire.Frame(number, 0, wire.Kind.RESULT, wire.dump(value)))
        )
        for start in range(0, len(data), piece):
            theirs.sendall(data[start : start + piece])
            if (frame := line.receive()) is not None:
                got.append(unpack(frame.parts))
        while (frame := line.receive()) is not None:
            got.append(unpack(frame.parts))
        assert got == sent
        theirs.close()
        assert line.receive() is None
        assert line.closed


def end_with(exit_: Exit | None, peak: int | None = None) -> SandboxEnd:
    return SandboxEnd(
        AttemptKey(1, 1, 1), False, exit_, Usage(peak_memory_bytes=peak), None, True, "cgroup2", 0
    )


@given(
    st.sampled_from(ExitReason),
    st.none() | st.integers(0, 2**40),
    st.none() | st.sampled_from(["sigkill", "exit_code", "no_result", "keeper_died", "sandbox"]),
    st.none() | st.integers(1, 2**40),
)
def test_every_end_has_an_error_that_names_the_call_and_keeps_its_numbers(
    reason: ExitReason, observed: int | None, code: str | None, peak: int | None
) -> None:
    call = Call(1, sizes_of, (), {}, MIB, None, [], lambda value, error: None)
    error = verdicts.died(end_with(Exit(reason, "It ended.", None, observed, None, code), peak), call)
    assert "sizes.sizes_of" in error.message
    assert error.numbers["limit_bytes"] == MIB
    assert isinstance(error, ExecutorMemoryLimit if reason is ExitReason.MEMORY_LIMIT else ExecutorDied)
    if observed and reason is ExitReason.SIGNAL:
        assert error.numbers["signal"] == observed


def test_refused_memory_is_told_against_the_limit() -> None:
    call = Call(1, sizes_of, (), {}, MIB, None, [], lambda value, error: None)
    frame = wire.Frame(1, 0, wire.Kind.RAISED, wire.dump((MemoryError(), "the traceback")))
    _, error = verdicts.answer(call, frame, "watchdog")
    assert isinstance(error, ExecutorMemoryLimit)
    assert error.message == (
        f"{sizes_of.__module__}.sizes_of was refused more than its 1 MiB of memory (enforced by watchdog). Give it more "
        "with `memory`."
    )
    assert isinstance(error.__cause__, MemoryError)


def test_an_answer_for_a_closed_loop_is_dropped() -> None:
    async def make() -> Answer:
        return Answer()

    asyncio.run(make()).tell(1, None)


def test_folders_of_dead_managers_are_removed_and_those_of_living_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    dead = tmp_path / "tidegate-executors-dead"
    (dead / "1" / "staging").mkdir(parents=True)
    living = RootFolder()
    other = RootFolder()
    assert not dead.exists()
    assert living.path.exists()
    other.remove()
    living.remove()
    assert list(tmp_path.iterdir()) == []


MAIN = """
import asyncio, sys
from tidegate import ExecutorManager

class Point:
    def __init__(self, x): self.x = x
    def __eq__(self, other): return type(other) is type(self) and other.x == self.x

def move(point, by): return Point(point.x + by)

async def main():
    async with ExecutorManager(cpu_workers=1) as executors:
        moved = await executors.run_cpu_intensive(move, Point(1), 2)
        assert moved == Point(3), moved
        print("moved")
"""
GUARDED = MAIN + '\nif __name__ == "__main__":\n    asyncio.run(main())\n'


def run(*arguments: str, folder: Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        input=text,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_functions_and_classes_of_the_main_module_work(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(GUARDED)
    for arguments in (["program.py"], ["-m", "program"]):
        done = run(*arguments, folder=tmp_path)
        assert (done.stdout, done.returncode) == ("moved\n", 0), done.stderr


def test_a_main_module_that_no_process_can_load_is_named(tmp_path: Path) -> None:
    done = run("-", folder=tmp_path, text=GUARDED)
    assert "needs the main module, which was typed in or piped in" in done.stderr
    assert "NotPicklable" in done.stderr


def test_a_main_module_without_its_guard_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(MAIN + "\nasyncio.run(main())\n")
    done = run("program.py", folder=tmp_path)
    assert 'put what starts the program behind `if __name__ == "__main__":`' in done.stderr
    assert done.returncode == 1


def test_what_functions_print_goes_to_standard_error(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        GUARDED.replace("return Point(point.x + by)", "print('from inside'); return Point(point.x + by)")
    )
    done = run("program.py", folder=tmp_path)
    assert (done.stdout, done.stderr) == ("moved\n", "from inside\n")


def test_nothing_is_left_of_an_application_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        GUARDED.replace("return Point(point.x + by)", "import os, time; print(os.getpid()); time.sleep(60)")
    )
    with subprocess.Popen(
        [sys.executable, "program.py"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stderr is not None
        inside = int(program.stderr.readline())
        program.kill()
        assert program.stderr.read() == ""  # its end comes when the last process that has it is gone
    assert not Path(f"/proc/{inside}").exists()
