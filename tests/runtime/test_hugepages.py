from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

PROGRAM = """
import _duckdb, hashlib, json, mmap, sys
from tidegate.runtime import hugepages
from tidegate.runtime.processes import PR_SET_THP_DISABLE, prctl, read_file

def code():
    "What stands where the engine's code was, and how much of it is in huge pages."
    huge = 0
    for line in read_file("/proc/self/smaps").splitlines():
        word, _, rest = line.partition(" ")
        if not word.endswith(":"):
            start, end = (int(one, 16) for one in word.split("-"))
        elif word == "AnonHugePages:" and first <= start < last:
            huge += int(rest.split()[0]) * 1024
    with open("/proc/self/mem", "rb") as memory:
        memory.seek(first)
        return [hashlib.sha256(memory.read(last - first)).hexdigest(), huge]

con = _duckdb.connect(":memory:", config={"threads": 1, "async_threads": 0})
ask = "SELECT sum(hash(range) % 100), count(DISTINCT range || 'x') FROM range(100000)"
answer = con.execute(ask).fetchall()
first, last = next(
    (one.start, one.end) for one in hugepages.mappings() if one.rights == "r-xp" and "_duckdb" in one.name
)
if "thp-off" in sys.argv:
    prctl(PR_SET_THP_DISABLE, 1)
before = code()
moved = hugepages.use_huge_pages()
again = hugepages.use_huge_pages()
after = code()
assert con.execute(ask).fetchall() == answer
print(json.dumps([before, after, moved.code_bytes, again.code_bytes]))
"""


def run(*arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True, timeout=50
    )
    return json.loads(done.stdout)


def test_code_is_the_same_in_huge_pages_and_runs_on() -> None:
    before, after, moved_bytes, again_bytes = run()
    if not moved_bytes:
        pytest.skip("this kernel gives no huge pages on request (MADV_COLLAPSE)")
    assert before[1] == 0
    assert after == [before[0], moved_bytes]
    assert moved_bytes > 20 * 1024 * 1024
    assert again_bytes == 0


def test_without_huge_pages_all_stays_as_it_is() -> None:
    before, after, moved_bytes, _ = run("thp-off")
    assert moved_bytes == 0
    assert after == before
