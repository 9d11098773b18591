"""The C heap: of the zygote before it forks, and of servers and workers, which live for long. glibc's malloc(3) is meant."""

from __future__ import annotations

import ctypes

MOST_ARENAS = 2
"""glibc makes as many as 8 for each CPU, and each keeps what its threads once needed. Few threads allocate at a time here:
most do so with the interpreter's lock."""
_M_ARENA_MAX = -8  # malloc.h

_SIZES = [1 << power for power in range(16, 6, -1)] + [96, 64, 48, 32, 24]


class _MallocInfo(ctypes.Structure):
    """`struct mallinfo2` of malloc.h (glibc 2.33)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    ]


def share_arenas() -> None:
    """Have all threads of this process allocate from at most `MOST_ARENAS` arenas. To be called before there are threads."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_ARENA_MAX, MOST_ARENAS)


def give_back() -> bool:
    """Give free pages back to the kernel, those between what is in use, too; whether there were any. Takes a millisecond.

    glibc by itself gives back what is free at the heap's end, so that one piece there keeps all below it: malloc_trim(3).
    """
    libc = ctypes.CDLL(None)
    return bool(hasattr(libc, "malloc_trim") and libc.malloc_trim(0))


def fill_holes() -> int:
    """Take all free memory between what the heap holds, for good; how many bytes that was. Does nothing without glibc.

    What forked processes allocate then comes from the heap's end, in a row and from untouched pages. Otherwise it comes
    from holes all over the heap, and the kernel has to copy a page for each: 350 of 1,700 page faults of an attempt. And
    there is nothing for DuckDB to give back when a memory limit is set (malloc_trim), which it would at once take anew.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        return 0
    libc.mallinfo2.restype = _MallocInfo
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.malloc.restype = ctypes.c_void_p
    return sum(_fill(libc, size) for size in _SIZES)


def _fill(libc: ctypes.CDLL, size: int) -> int:
    """Allocate pieces of this size until one has to be taken from the heap's end."""
    filled = 0
    before = libc.mallinfo2()
    while before.fordblks - before.keepcost >= size and libc.malloc(size):
        after = libc.mallinfo2()
        if after.keepcost < before.keepcost:
            break
        filled += size
        before = after
    return filled
