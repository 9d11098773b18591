"""Processes that keepers fork before there is an order for them."""

from __future__ import annotations

import os
import secrets
import signal
from pathlib import Path

from tests.runtime.lab import Lab, all_gone, eventually
from tidegate.core.states import ExitReason


def waiting(lab: Lab) -> int:
    """The one that waits, once there is one after two orders alike."""
    for _ in range(2):
        assert pid_of_run(lab)
    assert eventually(lambda: len(lab.ahead_pids()) == 1)
    return lab.ahead_pids()[0]


def pid_of_run(lab: Lab, **options: object) -> int:
    end = lab.run("as_told", does="pid", **options)
    assert end.succeeded, end.exit
    assert end.result is not None
    return int(end.result["pid"])


def test_the_third_order_alike_runs_in_a_process_that_was_there_before(own_lab: Lab) -> None:
    ahead = waiting(own_lab)
    assert pid_of_run(own_lab) == ahead
    assert eventually(lambda: own_lab.ahead_pids() not in ([], [ahead]))


def test_one_order_alone_has_none_forked_ahead(own_lab: Lab) -> None:
    pid_of_run(own_lab)
    pid_of_run(own_lab, memory_mib=64)
    pid_of_run(own_lab)
    assert own_lab.ahead_pids() == []


def test_other_limits_take_another_process(own_lab: Lab) -> None:
    ahead = waiting(own_lab)
    assert pid_of_run(own_lab, memory_mib=64) != ahead
    assert ahead not in own_lab.ahead_pids()


def test_an_order_does_not_get_a_process_that_died_waiting(own_lab: Lab) -> None:
    ahead = waiting(own_lab)
    os.kill(ahead, signal.SIGKILL)
    assert eventually(lambda: ahead not in own_lab.ahead_pids(), pids=lambda: [ahead])
    assert pid_of_run(own_lab) != ahead


def test_limits_hold_for_one_that_was_forked_ahead(own_lab: Lab) -> None:
    ahead = waiting(own_lab)
    end = own_lab.run("as_told", does="eat")
    assert end.exit is not None
    assert end.exit.reason is ExitReason.MEMORY_LIMIT
    assert end.exit.limit == 128 * 1024 * 1024
    assert eventually(lambda: ahead not in own_lab.ahead_pids())
    assert pid_of_run(own_lab)


def test_it_waits_for_so_long_and_not_for_ever(tmp_path: Path) -> None:
    lab = Lab(f"test{secrets.token_hex(4)}", tmp_path, "watchdog", ahead_s=0.2)
    ahead = waiting(lab)
    assert eventually(lambda: lab.ahead_pids() == [], pids=lambda: [ahead])
    assert pid_of_run(lab) != ahead
    lab.close()


def test_none_is_forked_when_none_may_wait(tmp_path: Path) -> None:
    lab = Lab(f"test{secrets.token_hex(4)}", tmp_path, "watchdog", ahead_s=0.0)
    pids = [pid_of_run(lab) for _ in range(4)]
    assert len(set(pids)) == 4
    assert lab.ahead_pids() == []
    lab.close()


def test_it_leaves_with_its_keeper(own_lab: Lab) -> None:
    ahead = waiting(own_lab)
    for pid in own_lab.keeper_pids():
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: ahead not in own_lab.ahead_pids(), pids=lambda: [ahead])
    own_lab.sandboxes.poll(5.0)  # hears of it
    assert pid_of_run(own_lab)


def test_it_leaves_with_its_server(tmp_path: Path) -> None:
    lab = Lab(f"test{secrets.token_hex(4)}", tmp_path, "watchdog")
    waiting(lab)
    lab.close()
    assert all_gone(lab.instance)


def test_an_order_larger_than_a_pipe_holds_arrives_whole(own_lab: Lab) -> None:
    waiting(own_lab)
    end = own_lab.run("answer", answer="x" * 500_000)
    assert end.result == {"answer": "x" * 500_000}
