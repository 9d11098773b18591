from __future__ import annotations

import subprocess
import sys

from tidegate.core.resources import MIB

PROGRAM = """
import os
from tidegate.core.resources import MIB
from tidegate.runtime.limits.group import GroupLimits
from tidegate.runtime.limits.watchdog import WatchdogGroup

inherited = bytearray(b"x") * (80 * MIB)
group = WatchdogGroup("two", GroupLimits(200 * MIB, 1000))
told, tell = os.pipe()
stay, leave = os.pipe()

def hold(mib):
    own = bytearray(b"y") * (mib * MIB)
    os.write(tell, b".")
    os.read(stay, 1)

first = os.fork()
if first == 0:
    os.close(leave)
    if os.fork() == 0:
        hold(20)
        os._exit(0)
    hold(40)
    os.wait()
    os._exit(0)
assert os.read(told, 1) == os.read(told, 1) == b"."
print(group.usage().memory_bytes)
os.close(leave)
os.waitpid(first, 0)
"""


def test_what_was_inherited_is_not_taken_off_more_than_once() -> None:
    """60 MiB in two processes, beside 80 MiB that both share with the keeper."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=50
    )
    assert 55 * MIB <= int(done.stdout) <= 70 * MIB
