"""What pages attempts of a runner write, found by a rehearsal in a fork; and the copying of them before there is an order.

A fork shares its parent's pages, and the kernel copies each when it is first written, which for Python is when an object is
first counted. Copying takes as long before as during an attempt, 2.5 µs a page, but nobody waits for it before.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, NoReturn

from tidegate.runtime.hugepages import Mapping, mappings

_MADV_POPULATE_WRITE = 23  # asm-generic/mman-common.h, since Linux 5.14
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_EXCLUSIVE = 1 << 56 | 1 << 63
"""A page that is there and that no other process maps, in /proc/PID/pagemap (kernel documentation, admin-guide/mm/pagemap)."""
MOST_BYTES = 16 * 1024 * 1024
"""Of what is copied before: a fork that waits holds it."""

_libc = ctypes.CDLL(None, use_errno=True)


class Stretch(NamedTuple):
    """Pages in a row."""

    start: int
    size_bytes: int


def written_by(rehearse: Callable[[], object]) -> list[Stretch]:
    """The pages of this process that a fork of it writes in this call, at most `MOST_BYTES` of them; none when the call fails.

    Call it with one thread.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _rehearse(rehearse, writer)
    os.close(writer)
    with open(reader, "rb") as answer:
        numbers = array("Q", answer.read())
    os.waitpid(pid, 0)
    return [Stretch(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]


def _rehearse(rehearse: Callable[[], object], writer: int) -> NoReturn:
    try:
        areas = [one for one in mappings() if one.rights == "rw-p"]
        rehearse()
        numbers = array("Q", itertools.chain.from_iterable(_at_most(MOST_BYTES, _written(areas))))
        with open(writer, "wb") as answer:
            answer.write(numbers.tobytes())
    except BaseException:  # noqa: BLE001  nothing may travel up into the zygote's code
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(0)


def _at_most(most_bytes: int, stretches: Iterable[Stretch]) -> Iterator[Stretch]:
    for stretch in stretches:
        most_bytes -= stretch.size_bytes
        if most_bytes < 0:
            return
        yield stretch


def _written(areas: Iterable[Mapping]) -> Iterator[Stretch]:
    """All pages in these areas that this process alone has."""
    fd = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    for area in areas:
        count = (area.end - area.start) // _PAGE_BYTES
        entries = memoryview(os.pread(fd, count * 8, area.start // _PAGE_BYTES * 8)).cast("Q")
        at = area.start
        for own, pages in itertools.groupby(entry & _EXCLUSIVE == _EXCLUSIVE for entry in entries):
            size_bytes = _PAGE_BYTES * sum(1 for _ in pages)
            if own:
                yield Stretch(at, size_bytes)
            at += size_bytes
    os.close(fd)


def copy_pages(stretches: Iterable[Stretch]) -> None:
    """Have these pages as this process's own. What cannot be copied now is copied when it is written."""
    for start, size_bytes in stretches:
        _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size_bytes), _MADV_POPULATE_WRITE)
