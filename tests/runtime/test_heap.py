"""The C heap, in processes of their own, since what is done to it stays."""

from __future__ import annotations

import subprocess
import sys

from tidegate.runtime.heap import MOST_ARENAS

HOLES = """
import ctypes
from tidegate.runtime.heap import fill_holes
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
pieces = [libc.malloc(3000) for _ in range(2000)]
for piece in pieces[::2]:
    libc.free(piece)
print(fill_holes(), fill_holes())
"""

KEPT = """
import ctypes
from tidegate.runtime.heap import give_back
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
def resident_bytes():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
pieces = [libc.malloc(30_000) for _ in range(1000)]
for piece in pieces:
    ctypes.memset(piece, 1, 30_000)
for piece in pieces[:-1]:
    libc.free(piece)
before = resident_bytes()
print(int(give_back()), before - resident_bytes())
"""
ARENAS = """
import ctypes, re, threading
from tidegate.runtime.heap import share_arenas
share_arenas()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
met = threading.Barrier(9)
def allocate():
    for size in range(1, 30_000, 100):
        libc.malloc(size)
    met.wait()
    met.wait()
threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads:
    thread.start()
met.wait()
ranges = re.findall("^([0-9a-f]+)-([0-9a-f]+) rw-p", open("/proc/self/maps").read(), re.MULTILINE)
print(sum(int(begin, 16) % (64 << 20) == 0 and int(end, 16) - int(begin, 16) < 64 << 20 for begin, end in ranges))
met.wait()
for thread in threads:
    thread.join()
"""


def run(program: str) -> list[int]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


def test_what_is_free_below_something_in_use_goes_back_to_the_kernel() -> None:
    gave, bytes_given = run(KEPT)
    assert gave == 1
    assert bytes_given > 20_000_000


def test_threads_share_few_arenas() -> None:
    # The first is the heap itself, which lies elsewhere.
    assert run(ARENAS)[0] < MOST_ARENAS
    assert run(ARENAS.replace("share_arenas()", "", 1).replace("share_arenas()", ""))[0] >= MOST_ARENAS


def test_holes_are_filled_once() -> None:
    first, second = run(HOLES)
    assert first > 2_500_000
    assert second < 100_000
