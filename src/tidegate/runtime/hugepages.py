"""Huge pages for what all forks of the zygote share: the code of large libraries, and the C heap.

A fork shares its parent's memory, but has to find it anew: each 64 KiB of a library's code costs a page fault, and each page
of the heap an entry that is copied at the fork and taken down at the exit. A huge page is one entry for all of its 2 MiB,
handed on by the fork. Code lives in files, and most file systems have no huge pages, so it is copied to anonymous memory
that takes its place. The same is done by V8 (`--use-largepages`) and others for the sake of the processor's TLB.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator
from typing import NamedTuple

from tidegate.runtime.processes import read_file

_MADV_HUGEPAGE, _MADV_COLLAPSE = 14, 25  # asm-generic/mman-common.h; the latter since Linux 6.1
_MREMAP_MAYMOVE, _MREMAP_FIXED = 1, 2
_MAP_FIXED = 0x10
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PRESENT = 1 << 63
_CODE_SHARE = 0.3
"""Least share of a stretch of code that must have been used. Of DuckDB's 50 MB that makes 34; a quarter would make 40 and save
nothing that could be measured."""
_HEAP_SHARE = 0.75

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = _libc.mremap.restype = ctypes.c_void_p
_FAILED = ctypes.c_void_p(-1).value


class Mapping(NamedTuple):
    """A line of /proc/self/maps."""

    start: int
    end: int
    rights: str
    offset: int
    name: str


class HugePages(NamedTuple):
    """How many bytes were moved to huge pages."""

    code_bytes: int
    heap_bytes: int


def use_huge_pages() -> HugePages:
    """Move hot code and the heap of this process to huge pages, as far as there are any; drop what else was read of files.

    Call it with one thread, when all that is to be shared has been loaded and used. Does nothing where it cannot: before
    Linux 6.1, where memory may not be made executable, and where the kernel counts copies at each fork as promised memory
    (`vm.overcommit_memory` 2). What is dropped is mapped anew from the page cache when it is used again; here it would only
    count as resident, since forks do not inherit it.
    """
    huge_bytes = _huge_page_bytes()
    if not huge_bytes or read_file("/proc/sys/vm/overcommit_memory").strip() == "2":
        return HugePages(0, 0)
    code = sum(
        _move(mapping, start, huge_bytes)
        for mapping, start in _stretches(huge_bytes, _CODE_SHARE)
        if mapping.rights == "r-xp" and mapping.name.startswith("/")
    )
    heap = sum(
        _collapse(start, huge_bytes)
        for mapping, start in _stretches(huge_bytes, _HEAP_SHARE)
        if mapping.rights == "rw-p" and mapping.name in ("", "[heap]")
    )
    _drop_files()
    return HugePages(code * huge_bytes, heap * huge_bytes)


def _huge_page_bytes() -> int:
    try:
        return int(read_file("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size"))
    except OSError:  # a kernel without them
        return 0


def mappings() -> list[Mapping]:
    found = []
    for line in read_file("/proc/self/maps").splitlines():
        area, rights, offset, _, _, *name = line.split(None, 5)
        start, _, end = area.partition("-")
        found.append(Mapping(int(start, 16), int(end, 16), rights, int(offset, 16), name[0] if name else ""))
    return found


def _stretches(huge_bytes: int, share: float) -> Iterator[tuple[Mapping, int]]:
    """All places for a huge page of which at least this share is in use now."""
    pages = huge_bytes // _PAGE_BYTES
    fd = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for mapping in mappings():
            first = -(-mapping.start // huge_bytes) * huge_bytes
            for start in range(first, mapping.end - huge_bytes + 1, huge_bytes):
                entries = memoryview(os.pread(fd, pages * 8, start // _PAGE_BYTES * 8)).cast("Q")
                if sum(entry >= _PRESENT for entry in entries) >= share * pages:
                    yield mapping, start
    finally:
        os.close(fd)


def _collapse(start: int, huge_bytes: int) -> bool:
    """Whether the stretch is one huge page now."""
    done: int = _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(huge_bytes), _MADV_COLLAPSE)
    return done == 0


def _move(mapping: Mapping, start: int, huge_bytes: int) -> bool:
    """Put a copy in a huge page in the place of this code; whether that was done.

    The last step is one system call: there is no moment in which the code is missing, should it be the interpreter's.
    """
    spare = _map(
        None, 2 * huge_bytes, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    )
    if spare is None:
        return False
    copy = -(-spare // huge_bytes) * huge_bytes
    size = ctypes.c_size_t(huge_bytes)
    _libc.madvise(ctypes.c_void_p(copy), size, _MADV_HUGEPAGE)
    ctypes.memmove(copy, start, huge_bytes)
    moved = (
        _collapse(copy, huge_bytes)
        and _libc.mprotect(ctypes.c_void_p(copy), size, mmap.PROT_READ | mmap.PROT_EXEC) == 0
        and _put(copy, mapping, start, huge_bytes)
    )
    _unmap(spare, copy)
    _unmap(copy + huge_bytes if moved else copy, spare + 2 * huge_bytes)
    return moved


def _put(copy: int, mapping: Mapping, start: int, huge_bytes: int) -> bool:
    """Move the copy over the code. Should that fail when the code is already gone, the file gives it back."""
    size = ctypes.c_size_t(huge_bytes)
    flags = _MREMAP_MAYMOVE | _MREMAP_FIXED
    if _libc.mremap(ctypes.c_void_p(copy), size, size, flags, ctypes.c_void_p(start)) == start:
        return True
    fd = os.open(mapping.name, os.O_RDONLY | os.O_CLOEXEC)
    offset = mapping.offset + start - mapping.start
    _map(start, huge_bytes, mmap.PROT_READ | mmap.PROT_EXEC, mmap.MAP_PRIVATE | _MAP_FIXED, fd, offset)
    os.close(fd)
    return False


def _map(start: int | None, size: int, rights: int, flags: int, fd: int = -1, offset: int = 0) -> int | None:
    answer: int = _libc.mmap(
        ctypes.c_void_p(start), ctypes.c_size_t(size), rights, flags, fd, ctypes.c_long(offset)
    )
    return None if answer == _FAILED else answer


def _unmap(start: int, end: int) -> None:
    if end > start:
        _libc.munmap(ctypes.c_void_p(start), ctypes.c_size_t(end - start))


def _drop_files() -> None:
    """Let go of the files' code and constants, but not where some of it was changed in memory (relocations, probes)."""
    starts = {one.start: one for one in mappings()}
    mapping: Mapping | None = None
    for line in read_file("/proc/self/smaps").splitlines():
        word, _, rest = line.partition(" ")
        if not word.endswith(":"):
            mapping = starts.get(int(word.partition("-")[0], 16))
        elif word == "Anonymous:" and mapping is not None and int(rest.split()[0]) == 0:
            _drop(mapping)


def _drop(mapping: Mapping) -> None:
    if mapping.rights in ("r-xp", "r--p") and mapping.name.startswith("/"):
        size = ctypes.c_size_t(mapping.end - mapping.start)
        _libc.madvise(ctypes.c_void_p(mapping.start), size, mmap.MADV_DONTNEED)
