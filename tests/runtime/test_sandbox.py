"""What becomes of an attempt, on every rung that works here."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.runtime.lab import Lab, eventually, is_progress, is_started, with_parents
from tidegate.core.resources import MIB
from tidegate.core.states import ExitReason
from tidegate.errors import BrokenInvariant
from tidegate.runtime.pipes import LOG_END_BYTES, MAX_LOG_BYTES
from tidegate.runtime.sandbox import SandboxEnd, SandboxGone, SandboxOrder, SandboxProgress


def test_a_result_comes_back_with_what_was_used(lab: Lab) -> None:
    end = lab.run("answer", answer="yes")
    assert end.succeeded
    assert end.exit is None
    assert end.result == {"answer": "yes"}
    assert end.tree_gone
    assert end.enforced_by == lab.sandboxes.rungs.in_use
    assert end.usage.wall_seconds is not None
    assert 0 < end.usage.wall_seconds < 30
    assert end.usage.cpu_seconds is not None
    assert 0 < end.usage.cpu_seconds < 5


def test_a_keeper_is_used_again(lab: Lab) -> None:
    lab.run("answer")
    before = lab.keeper_pids()
    for _ in range(5):
        lab.run("answer")
    assert lab.keeper_pids() == before


def test_progress_is_relayed_in_order(lab: Lab) -> None:
    order = lab.order("steps")
    lab.sandboxes.start(order)
    shares: list[float] = []
    while True:
        for event in lab.sandboxes.poll(20.0):
            if isinstance(event, SandboxProgress) and event.progress is not None:
                shares.append(event.progress)
            if isinstance(event, SandboxEnd):
                assert shares == sorted(shares)
                assert shares[-1] == 0.75
                return


def test_output_goes_to_the_log(lab: Lab) -> None:
    order = lab.order("talk")
    lab.sandboxes.start(order)
    end = lab.end_of(order.key)
    text = Path(order.folder, "log").read_text()
    assert sorted(text.split()) == ["complained", "logged", "printed"]
    assert end.log_bytes == len(text)


def test_an_attempt_that_prints_nothing_has_no_log(lab: Lab) -> None:
    order = lab.order("answer")
    lab.sandboxes.start(order)
    assert lab.end_of(order.key).log_bytes == 0
    assert not Path(order.folder, "log").exists()


def test_a_log_is_cut_at_its_limit(lab: Lab) -> None:
    order = lab.order("babble", mib=12)
    lab.sandboxes.start(order)
    end = lab.end_of(order.key)
    assert end.succeeded
    log = Path(order.folder, "log").read_bytes()
    assert end.log_bytes == len(log)
    assert log[:MAX_LOG_BYTES] == b"x" * MAX_LOG_BYTES
    assert log.endswith(b"x" * LOG_END_BYTES)
    left_out = 12 * MIB - MAX_LOG_BYTES - LOG_END_BYTES
    assert f"[tidegate: {left_out} bytes left out here".encode() in log[MAX_LOG_BYTES:]
    assert len(log) < MAX_LOG_BYTES + LOG_END_BYTES + 200


def test_a_log_that_is_a_little_longer_is_kept_whole(lab: Lab) -> None:
    order = lab.order("babble", mib=10, more=LOG_END_BYTES)
    lab.sandboxes.start(order)
    assert lab.end_of(order.key).log_bytes == MAX_LOG_BYTES + LOG_END_BYTES
    assert set(Path(order.folder, "log").read_bytes()) == {ord("x")}


def test_output_is_in_its_file_while_the_attempt_runs(lab: Lab, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "of a job" / "1.1.log"
    seen: list[str] = []

    def look(order: SandboxOrder) -> None:
        assert eventually(log.exists, folders=with_parents(log))
        seen.append(log.read_text())
        lab.sandboxes.cancel(order.key)

    end = lab.run_until("talk_and_wait", is_progress, look, log_path=str(log))
    assert end.exit is not None
    assert end.exit.reason is ExitReason.CANCELLED
    assert seen == ["printed\n"]


def test_a_log_that_cannot_be_written_does_not_end_the_attempt(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("in the way")
    order = lab.order("talk", log_path=str(tmp_path / "logs" / "1.1.log"))
    lab.sandboxes.start(order)
    end = lab.end_of(order.key)
    assert (end.succeeded, end.log_bytes) == (True, 0)


@pytest.mark.parametrize(
    ("runner", "options", "reason", "code", "in_message"),
    [
        ("fail", {}, ExitReason.ERROR, "unknown_column", "The column 'x' is not there."),
        ("crash", {}, ExitReason.ERROR, "exception", "RuntimeError: out of ideas"),
        ("refuse_memory", {}, ExitReason.MEMORY_LIMIT, "memory_limit", "128 MiB"),
        ("segfault", {}, ExitReason.SIGNAL, "sigsegv", "SIGSEGV"),
        ("exit_with", {"code": 3}, ExitReason.ERROR, "exit_code", "exit code 3"),
        ("exit_with", {"code": 0}, ExitReason.ERROR, "no_result", "without a result"),
        ("kill_itself", {"signal": signal.SIGKILL}, ExitReason.SIGNAL, "sigkill", "SIGKILL"),
        ("report_much", {}, ExitReason.ERROR, "result_too_large", "1048576"),
        ("report_nonsense", {}, ExitReason.ERROR, "broken_report", "report"),
        ("no_such_function", {}, ExitReason.ERROR, "exception", "no_such_function"),
    ],
)
def test_how_it_ended_is_told(
    lab: Lab, runner: str, options: dict[str, int], reason: ExitReason, code: str, in_message: str
) -> None:
    end = lab.run(runner, **options)
    assert not end.succeeded
    assert end.result is None
    assert end.exit is not None
    assert (end.exit.reason, end.exit.code) == (reason, code)
    assert in_message in end.exit.message


@pytest.mark.parametrize("runner", ["sleep", "ignore", "stop_itself"])
def test_a_cancelled_attempt_ends_within_two_seconds(lab: Lab, runner: str) -> None:
    end = lab.cancel_once_working(runner)
    assert end.exit is not None
    assert end.exit.reason is ExitReason.CANCELLED
    assert end.tree_gone
    assert end.usage.wall_seconds is not None
    assert end.usage.wall_seconds < 10


def test_an_eviction_keeps_its_reason_and_message(lab: Lab) -> None:
    end = lab.run_until(
        "sleep",
        is_progress,
        lambda order: lab.sandboxes.cancel(order.key, ExitReason.EVICTED, "Memory is short."),
    )
    assert end.exit is not None
    assert (end.exit.reason, end.exit.message) == (ExitReason.EVICTED, "Memory is short.")


def test_a_cancel_at_once_after_the_start_is_obeyed(lab: Lab) -> None:
    order = lab.order("sleep")
    lab.sandboxes.start(order)
    assert lab.sandboxes.cancel(order.key)
    end = lab.end_of(order.key)
    assert end.exit is not None
    assert end.exit.reason is ExitReason.CANCELLED


def test_a_cancel_of_what_does_not_run_is_refused(lab: Lab) -> None:
    order = lab.order("answer")
    assert not lab.sandboxes.cancel(order.key)
    lab.sandboxes.start(order)
    lab.end_of(order.key)
    assert not lab.sandboxes.cancel(order.key)


def test_the_same_attempt_cannot_run_twice(lab: Lab) -> None:
    order = lab.order("sleep")
    lab.sandboxes.start(order)
    with pytest.raises(BrokenInvariant, match="already running"):
        lab.sandboxes.start(order)
    lab.sandboxes.cancel(order.key)
    lab.end_of(order.key)


def test_the_time_limit_holds(lab: Lab) -> None:
    end = lab.run("sleep", timeout_s=0.3)
    assert end.exit is not None
    assert end.exit.reason is ExitReason.TIME_LIMIT
    assert end.exit.limit == 0.3
    assert end.exit.observed is not None
    assert end.exit.observed >= 0.3


def test_what_an_attempt_leaves_behind_is_ended_with_it(lab: Lab) -> None:
    end = lab.run("escape")
    assert end.succeeded
    assert end.result == {"left": 5}
    assert end.tree_gone
    assert lab.strays() == []


def test_daemons_of_a_cancelled_attempt_are_ended_with_it(lab: Lab) -> None:
    end = lab.cancel_once_working("escape", stay=True)
    assert end.tree_gone
    assert lab.strays() == []


def test_an_attempt_cannot_kill_its_keeper(lab: Lab) -> None:
    if "signals" not in lab.sandboxes.rungs.landlock:
        pytest.skip("this kernel's Landlock does not confine signals")
    assert lab.run("attack_keeper").result == {"refused": True}


def test_only_the_first_process_speaks_for_the_attempt(lab: Lab) -> None:
    assert lab.run("return_twice").result == {"by": "parent", "status_of_child": 1}


def test_neighbours_do_not_notice_a_death(lab: Lab) -> None:
    quiet = lab.order("hold", mib=30, seconds=0.5)
    doomed = lab.order("eat", memory_mib=64)
    lab.sandboxes.start(quiet)
    lab.sandboxes.start(doomed)
    ends = lab.ends_of({quiet.key, doomed.key})
    assert ends[quiet.key].succeeded
    assert not ends[doomed.key].succeeded


def test_many_at_once_all_end(lab: Lab) -> None:
    orders = [lab.order("answer", answer=number) for number in range(12)]
    for order in orders:
        lab.sandboxes.start(order)
    ends = lab.ends_of({order.key for order in orders})
    assert [ends[order.key].result for order in orders] == [{"answer": number} for number in range(12)]


def test_a_large_order_arrives(lab: Lab) -> None:
    text = "x" * (3 * MIB)
    end = lab.run("answer", padding=text, answer=1)
    assert end.result == {"answer": 1}


def test_an_owner_can_register_a_wake_up_of_its_own(lab: Lab) -> None:
    reader, writer = os.pipe()
    woken: list[bytes] = []
    lab.sandboxes.selector.register(reader, 1, lambda: woken.append(os.read(reader, 1)))
    try:
        os.write(writer, b"!")
        assert lab.sandboxes.poll(20.0) == []
        assert woken == [b"!"]
    finally:
        lab.sandboxes.selector.unregister(reader)
        os.close(reader)
        os.close(writer)


def test_an_attempt_whose_keeper_dies_fails_and_leaves_nothing(own_lab: Lab) -> None:
    lab = own_lab
    end = lab.run_until("escape", is_progress, lambda _: _kill(lab.keeper_pids()), stay=True)
    assert end.exit is not None
    assert end.exit.code == "keeper_died"
    assert end.tree_gone
    assert lab.strays() == []
    assert lab.run("answer").succeeded


def test_a_keeper_that_hangs_is_replaced(own_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.runtime.sandbox._STUCK_AFTER_S", 0.2)
    lab = own_lab

    def hang_and_cancel(order: object) -> None:
        for pid in lab.keeper_pids():
            os.kill(pid, signal.SIGSTOP)
        lab.sandboxes.cancel(order.key)  # type: ignore[attr-defined]

    end = lab.run_until("sleep", is_started, hang_and_cancel)
    assert end.exit is not None
    assert end.exit.reason is ExitReason.CANCELLED
    assert end.tree_gone
    assert lab.run("answer").succeeded


def test_an_attempt_survives_the_zygote_and_a_new_one_follows(own_lab: Lab) -> None:
    lab = own_lab
    first = lab.zygote_pid()
    end = lab.run_until("sleep", is_progress, lambda _: _kill([first]), seconds=0.5)
    assert end.succeeded
    assert lab.run("answer").succeeded
    assert lab.zygote_pid() != first


def test_running_attempts_are_evicted_when_the_sandboxes_close(own_lab: Lab) -> None:
    order = own_lab.order("ignore")
    own_lab.sandboxes.start(order)
    while not any(map(is_progress, own_lab.sandboxes.poll(20.0))):
        pass
    ends = [event for event in own_lab.sandboxes.close(0.1) if isinstance(event, SandboxEnd)]
    assert [(end.key, end.exit and end.exit.reason) for end in ends] == [(order.key, ExitReason.EVICTED)]


def _kill(pids: list[int]) -> None:
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_cancel_at_any_moment_leaves_nothing(lab: Lab) -> None:
    """300 attempts, each cancelled at another moment of its life, from before the fork until after the end."""
    for number in range(300):
        order = lab.order("escape" if number % 3 == 0 else "answer")
        lab.sandboxes.start(order)
        lab.sandboxes.poll(number % 50 / 1000)
        lab.sandboxes.cancel(order.key)
        if order.key in lab.sandboxes.running:
            end = lab.end_of(order.key)
            assert end.tree_gone
            assert end.succeeded or (end.exit is not None and end.exit.reason is ExitReason.CANCELLED)
    assert lab.strays() == []


def test_what_lost_keeper_and_zygote_is_swept_by_the_next_zygote(own_lab: Lab) -> None:
    lab = own_lab

    def kill_both(_: object) -> None:
        keepers = lab.keeper_pids()
        _kill([lab.zygote_pid()])
        _kill(keepers)

    end = lab.run_until("escape", is_progress, kill_both, stay=True)
    assert end.exit is not None
    assert end.exit.code == "keeper_died"
    assert end.tree_gone or eventually(lambda: SandboxGone(end.key) in lab.sandboxes.poll(0.2))
    assert lab.strays() == []
    assert lab.run("answer").succeeded
