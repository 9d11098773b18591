"""Cut links, between processes that use them. Each test runs in a process of its own, since `enter` is for good."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tidegate.testing import network

pytestmark = pytest.mark.skipif(network.missing() is not None, reason=str(network.missing()))

_TALK = """
import socket, subprocess, sys
from tidegate.testing import network

network.enter()
listening = socket.socket()
listening.bind(("0.0.0.0", 0))
listening.listen()
ask = "import socket, sys; s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\\n" \\
      "for line in sys.stdin: s.sendall(line.encode())"
with network.Island(7) as island:
    speaker = subprocess.Popen(
        island.command([sys.executable, "-c", ask, island.hub_address, str(listening.getsockname()[1])]),
        stdin=subprocess.PIPE, text=True, bufsize=1,
    )
    heard, who = listening.accept()
    assert who[0] == island.address, who
    speaker.stdin.write("before\\n")
    assert heard.recv(100) == b"before\\n"
    island.cut()
    speaker.stdin.write("during\\n")
    heard.settimeout(0.3)
    try:
        heard.recv(100)
    except TimeoutError:
        print("nothing came")
    island.mend()
    heard.settimeout(20)
    assert heard.recv(100) == b"during\\n"
    speaker.stdin.close()
    assert speaker.wait() == 0
assert island.name not in subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
print("whole again")
"""


def test_a_cut_link_carries_nothing_and_a_mended_one_all():
    ran = subprocess.run(
        [sys.executable, "-c", _TALK], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.stdout.splitlines(), ran.stderr) == (["nothing came", "whole again"], "")
