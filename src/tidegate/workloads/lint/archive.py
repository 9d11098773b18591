"""Reads the members of an untrusted ZIP archive without trusting a word of it.

Nothing is ever written under a name that the archive chose: the wanted members are appended to one file, and a member is known
by its place there. So names that climb out (`../`), absolute names, links, duplicates and odd encodings have nothing to
act on; they are reported. Sizes are counted while reading, never believed.

The format: PKWARE's APPNOTE.TXT, sections 4.3.12 to 4.3.16 and 4.4.4.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal

from tidegate.core.resources import GIB, MIB
from tidegate.workloads.errors import TaskError

Problem = Literal["too_large", "unreadable", "skipped"]

_BLOCK_BYTES = 256 * 1024
_MAX_NAME_CHARACTERS = 1_000
_ENCRYPTED, _UTF8 = 0x1, 0x800  # bits of a member's flags
_NESTED = frozenset({".zip", ".jar", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar"})
_ENTRY_BYTES = 46  # an entry of the directory without its name, extra field and comment,
_ENTRY_LENGTHS = struct.Struct("<3H")  # whose lengths stand at its byte 28
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_LONGEST_COMMENT = 0xFFFF


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of an archive is read at most."""

    entries: int = 50_000
    """Of all kinds, also folders and what nobody wants. Each costs about 1 KB of memory while the archive is open."""
    directory_bytes: int = 32 * MIB
    member_bytes: int = 16 * MIB
    """Of one wanted member, unpacked."""
    total_bytes: int = 4 * GIB
    """Of all wanted members together, unpacked."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file of the archive that was wanted, or that its owner should hear about.

    `offset` and `size_bytes` say where it stands in the unpacked file; with a `problem` it does not stand there, and `reason`
    says why.
    """

    name: str
    offset: int = 0
    size_bytes: int = 0
    problem: Problem | None = None
    reason: str = ""


def unpack(
    archive: Path,
    into: BinaryIO,
    wanted: Callable[[str], bool],
    limits: Limits = Limits(),
    progress: Callable[[float], None] = lambda share: None,
) -> Iterator[Member]:
    """Append the members whose names are `wanted` to `into`, and tell of each, in the order of the archive.

    Others are passed over in silence, except archives within the archive, which are told of and never opened.
    Raises TaskError: `archive_unreadable` when it is no ZIP or damaged as a whole, `archive_too_many_entries`,
    `archive_too_large`.
    """
    with archive.open("rb") as file:
        _check_directory(file, limits)
        try:
            with zipfile.ZipFile(file) as opened:
                yield from _members(opened, into, wanted, limits, progress)
        except (
            zipfile.BadZipFile,
            NotImplementedError,
            EOFError,
            IndexError,  # of an extra field that is cut short
            ValueError,
            struct.error,
        ) as error:
            raise TaskError(
                f"The archive {archive.name} cannot be read: {error}.", code="archive_unreadable"
            ) from error


def _members(
    opened: zipfile.ZipFile,
    into: BinaryIO,
    wanted: Callable[[str], bool],
    limits: Limits,
    progress: Callable[[float], None],
) -> Iterator[Member]:
    entries, seen, at = opened.infolist(), set[str](), 0
    for count, entry in enumerate(entries, 1):
        name = _name_of(entry)
        if entry.is_dir() or not (wanted(name) or _is_archive(name)):
            continue
        member = _refusal(entry, name, seen, limits) or _copied(opened, entry, name, into, at, limits)
        seen.add(_plain(name))
        if member.problem is None:
            at += member.size_bytes
            _check_total(at, limits)
        yield member
        progress(count / len(entries))


def _refusal(entry: zipfile.ZipInfo, name: str, seen: set[str], limits: Limits) -> Member | None:
    """Why a member is not read at all; None when it may be."""

    def refused(problem: Problem, reason: str) -> Member:
        return Member(name[:_MAX_NAME_CHARACTERS], problem=problem, reason=reason)

    kind = stat.S_IFMT(entry.external_attr >> 16)
    if len(name) > _MAX_NAME_CHARACTERS:
        return refused(
            "unreadable", f"Its name has {len(name)} characters, at most {_MAX_NAME_CHARACTERS} are taken."
        )
    if _leaves(name):
        return refused("unreadable", "Its name points outside the archive.")
    if kind not in (0, stat.S_IFREG):
        return refused("unreadable", "It is a link or a special file, not a file with text.")
    if _is_archive(name):
        return refused("skipped", "An archive within the archive is not opened. Send it by itself.")
    if _plain(name) in seen:
        return refused("unreadable", "The archive has this name twice; the first one was taken.")
    if entry.flag_bits & _ENCRYPTED:
        return refused("unreadable", "It is encrypted. Send the archive without a password.")
    if entry.file_size > limits.member_bytes:
        return refused(
            "too_large", f"It has {entry.file_size} bytes unpacked, at most {limits.member_bytes} are taken."
        )
    return None


def _copied(
    opened: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str, into: BinaryIO, at: int, limits: Limits
) -> Member:
    """The member, appended; what was appended of one that turns out bad is taken back."""
    size = 0
    try:
        for block in _blocks(opened, entry):
            size += len(block)
            if size > limits.member_bytes:
                reason = f"It unpacks to more than {limits.member_bytes} bytes."
                return _taken_back(into, at, name, "too_large", reason)
            into.write(block)
    except _Damaged as error:
        return _taken_back(into, at, name, "unreadable", f"It cannot be unpacked: {error}.")
    return Member(name, at, size)


class _Damaged(Exception):
    """A member's bytes do not make sense."""


def _blocks(opened: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """Raises _Damaged for all that `zipfile` raises on bad bytes; a seek to a place before the file is an OSError."""
    try:
        with opened.open(entry) as content:
            while block := content.read(_BLOCK_BYTES):
                yield block
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        RuntimeError,
        ValueError,
        struct.error,
    ) as error:
        raise _Damaged(error) from error


def _taken_back(into: BinaryIO, at: int, name: str, problem: Problem, reason: str) -> Member:
    into.seek(at)
    into.truncate()
    return Member(name, problem=problem, reason=reason)


def _check_total(size: int, limits: Limits) -> None:
    if size > limits.total_bytes:
        raise TaskError(
            f"The archive's files have more than {limits.total_bytes} bytes unpacked, as many as it may have. Send it in "
            "parts.",
            code="archive_too_large",
            numbers={"limit": limits.total_bytes, "observed": size},
        )


def _name_of(entry: zipfile.ZipInfo) -> str:
    """The name as its author meant it: UTF-8, else what Chinese systems write, else the format's own code page.

    Without the flag for UTF-8, `zipfile` reads code page 437, in which any bytes are some name.
    """
    if entry.flag_bits & _UTF8 or entry.filename.isascii():
        return entry.filename.replace("\\", "/")
    try:
        raw = entry.filename.encode("cp437")
    except UnicodeEncodeError:
        return entry.filename.replace("\\", "/")
    for encoding in ("utf-8", "gb18030"):
        try:
            return raw.decode(encoding).replace("\\", "/")
        except UnicodeDecodeError:
            continue
    return entry.filename.replace("\\", "/")


def _leaves(name: str) -> bool:
    path = PurePosixPath(name)
    drive = len(name) > 1 and name[1] == ":"
    return path.is_absolute() or drive or ".." in path.parts or "\0" in name or not path.parts


def _is_archive(name: str) -> bool:
    return PurePosixPath(name.lower()).suffix in _NESTED


def _plain(name: str) -> str:
    """Equal for names of one file. `a.sql` and `A.sql` are two, as they are to the linter: nothing is written under a name, so
    it does not matter that some file systems would take them for one."""
    return str(PurePosixPath(name))


def _check_directory(file: BinaryIO, limits: Limits) -> None:
    """Refuse a long directory before `zipfile` makes an object of each entry."""
    start, size = _directory_of(file)
    if size > limits.directory_bytes:
        raise TaskError(
            f"The archive's directory has {size} bytes, at most {limits.directory_bytes} are taken. Send it in parts.",
            code="archive_too_many_entries",
            numbers={"limit": limits.directory_bytes, "observed": size},
        )
    if _more_entries(file, start, size, limits.entries):
        raise TaskError(
            f"The archive has more than {limits.entries} entries. Send it in parts.",
            code="archive_too_many_entries",
            numbers={"limit": limits.entries},
        )
    file.seek(0)


def _more_entries(file: BinaryIO, start: int, size: int, most: int) -> bool:
    """Whether the directory has more entries than that, counted: the number that the archive states may be a lie."""
    file.seek(start)
    directory = file.read(size)
    at = count = 0
    while at + _ENTRY_BYTES <= len(directory):
        name, extra, comment = _ENTRY_LENGTHS.unpack_from(directory, at + 28)
        at += _ENTRY_BYTES + name + extra + comment
        count += 1
        if count > most:
            return True
    return False


def _directory_of(file: BinaryIO) -> tuple[int, int]:
    """Where the central directory starts and how many bytes it has; as `zipfile` finds it, from the end backwards."""
    length = file.seek(0, 2)
    tail_at = max(0, length - _END.size - _LONGEST_COMMENT)
    file.seek(tail_at)
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise TaskError(
            f"This is no ZIP archive, or its end is missing: {length} bytes without an end record.",
            code="archive_unreadable",
        )
    end_at = tail_at + at
    size = _END.unpack_from(tail, at)[5]
    end_at, size = _directory_64(file, end_at) or (end_at, size)
    return max(end_at - size, 0), size


def _directory_64(file: BinaryIO, end_at: int) -> tuple[int, int] | None:
    """The same of an archive in the 64-bit form: where its end record stands, and the directory's bytes."""
    if end_at < _LOCATOR_64.size:
        return None
    file.seek(end_at - _LOCATOR_64.size)
    signature, _, record_at, _ = _LOCATOR_64.unpack(file.read(_LOCATOR_64.size))
    if signature != b"PK\x06\x07" or end_at < _LOCATOR_64.size + _END_64.size:
        return None
    record_at = end_at - _LOCATOR_64.size - _END_64.size
    file.seek(record_at)
    record = _END_64.unpack(file.read(_END_64.size))
    return (record_at, record[8]) if record[0] == b"PK\x06\x06" else None
