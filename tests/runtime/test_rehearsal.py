"""Pages that a fork writes, found beforehand and copied beforehand."""

from __future__ import annotations

import ctypes
import mmap
import os
import resource

from tidegate.runtime.rehearsal import MOST_BYTES, Stretch, copy_pages, written_by

PAGE = mmap.PAGESIZE
PAGES = 64


def shared_area(pages: int = PAGES) -> mmap.mmap:
    """Private memory of which every page is there, so that a fork shares it."""
    area = mmap.mmap(-1, pages * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    area.madvise(mmap.MADV_NOHUGEPAGE)
    for page in range(pages):
        area[page * PAGE] = 1
    return area


def address_of(area: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(area))


def within(stretches: list[Stretch], start: int, size_bytes: int) -> list[tuple[int, int]]:
    """First page and count of those that lie in an area."""
    return [
        ((one.start - start) // PAGE, one.size_bytes // PAGE)
        for one in stretches
        if start <= one.start < start + size_bytes
    ]


def test_it_finds_the_pages_that_were_written_and_no_others() -> None:
    area = shared_area()
    start = address_of(area)

    def write() -> None:
        for page in (3, 4, 5, 20):
            area[page * PAGE] = 2
        assert area[40 * PAGE] == 1  # read alone

    assert within(written_by(write), start, len(area)) == [(3, 3), (20, 1)]
    assert area[3 * PAGE] == 1


def test_a_rehearsal_that_fails_finds_nothing_and_harms_nobody(capfd) -> None:
    def fail() -> None:
        raise RuntimeError("out of ideas")

    assert written_by(fail) == []
    assert "out of ideas" in capfd.readouterr().err


def test_it_finds_no_more_than_may_be_copied() -> None:
    pages = MOST_BYTES // PAGE + 100
    area = shared_area(pages)

    def write() -> None:
        for page in range(0, pages, 2):
            area[page * PAGE] = 2

    assert sum(one.size_bytes for one in written_by(write)) <= MOST_BYTES
    area.close()


def test_pages_that_were_copied_before_cost_nothing_when_they_are_written() -> None:
    area = shared_area()
    start = address_of(area)
    faults = [_faults_of_writing(area, stretches) for stretches in ([], [Stretch(start, PAGES * PAGE)])]
    assert faults[0] >= PAGES
    assert faults[1] < PAGES / 2


def _faults_of_writing(area: mmap.mmap, stretches: list[Stretch]) -> int:
    """Of a fork, after it has copied these."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        copy_pages(stretches)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for page in range(PAGES):
            area[page * PAGE] = 2
        os.write(writer, str(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as answer:
        faults = int(answer.read())
    os.waitpid(pid, 0)
    return faults


def test_what_is_not_there_cannot_be_copied_and_is_no_fault() -> None:
    copy_pages([Stretch(0, PAGE), Stretch(PAGE, PAGE)])
