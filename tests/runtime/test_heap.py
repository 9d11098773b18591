"""Filling the holes of the C heap, in a process of its own, since what it takes is never given back."""

from __future__ import annotations

import subprocess
import sys

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


def test_holes_are_filled_once() -> None:
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    first, second = map(int, done.stdout.split())
    assert first > 2_500_000
    assert second < 100_000
