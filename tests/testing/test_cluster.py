"""Members of a cluster: their clocks, and how they are started again where somebody stands for whoever supervises them."""

import os
import subprocess
import sys
import time

import pytest

from tidegate.testing.cluster import FAKETIME, Member


@pytest.fixture
def member(tmp_path):
    member = Member("server-0", ["serve"], tmp_path, os.environ, None, clocks=False)
    yield member
    member.kill()


def comes_up_at_the_second_try(folder):
    return [
        "sh",
        "-c",
        f"mkdir {folder}/tried 2>/dev/null && exit 1; echo up at http://127.0.0.1:7; exec sleep 600",
    ]


def test_a_member_that_ends_before_it_is_up_is_told_at_once(member, tmp_path):
    member.command = ["sh", "-c", "echo no database >&2; exit 1"]
    member.start()
    with pytest.raises(RuntimeError, match=r"ended before it was up.\nno database"):
        member.wait_ready()
    assert not member.ready


def test_a_supervised_member_is_started_again_until_it_is_up(member, tmp_path):
    member.command = comes_up_at_the_second_try(tmp_path)
    member.start()
    member.wait_ready(supervised=True)
    assert member.ready
    assert member.url == "http://127.0.0.1:7"


SLEEPS = """
import time
from tidegate.testing.clocked import mend_sleep
mend_sleep()
began = time.monotonic()
time.sleep(0.02)
assert time.monotonic() - began >= 0.02
print(time.time())
"""


@pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed")
def test_a_member_whose_clock_is_wrong_can_sleep_all_the_same(tmp_path):
    member = Member("server-0", ["serve"], tmp_path, os.environ, None)
    member.step_clock(-3600)
    done = subprocess.run(
        [sys.executable, "-c", SLEEPS], env=member.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(time.time() - 3600, abs=60)
