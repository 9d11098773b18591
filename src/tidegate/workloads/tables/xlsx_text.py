"""Texts of an xlsx file: the escapes within them, and the shared strings, in memory or in a file."""

from __future__ import annotations

import mmap
import re
import zipfile
from array import array
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from tidegate.core.resources import KIB, MIB
from tidegate.workloads.tables.cells import text_cell
from tidegate.workloads.tables.xlsx_parts import UTF8_XML, corrupt, safe_parser

IN_MEMORY_BYTES = 16 * MIB
"""Largest part of shared strings that is kept as a list: in Python it takes two to three times as much."""
_CHUNK_BYTES = 256 * KIB
_REFERENCE = re.compile("&([^;&]*)(?:;|$)")
_NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_PLAIN_STRING = re.compile(r'<si><t(?: xml:space="preserve")?>([^<\r]*)</t></si>')
_END_OF_STRING = b"</si>"
_ESCAPE = re.compile("_x([0-9A-Fa-f]{4})_")


def unescaped(text: str) -> str:
    """Without the escapes `_x000D_` of what XML cannot hold (ECMA-376 part 1, 22.9.2.19)."""
    if "_x" not in text:
        return text
    plain = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def xml_text(raw: str) -> str:
    """Character data with its references undone. Raises ValueError for one that XML does not define."""
    return _REFERENCE.sub(_referred, raw) if "&" in raw else raw


def _referred(found: re.Match[str]) -> str:
    name = found[1]
    if name.startswith("#x"):
        return _character(int(name[2:], 16))  # noqa: FURB166  base 0 would take `#0x41` too
    if name.startswith("#"):
        return _character(int(name[1:]))
    if name not in _NAMED:
        raise ValueError(f"undefined reference {found[0][:20]!r}")
    return _NAMED[name]


def _character(number: int) -> str:
    if (number < 32 and number not in (9, 10, 13)) or 0xD800 <= number <= 0xDFFF:
        raise ValueError(f"reference to the character {number}, which XML does not have")
    return chr(number)


class Strings(Protocol):
    """Staged text cells by number. Raises IndexError for one that is not there."""

    def __getitem__(self, number: int) -> str: ...


def shared_strings(
    archive: zipfile.ZipFile, part: str, spill: str, *, in_memory_bytes: int = IN_MEMORY_BYTES
) -> Strings:
    """The shared strings; from `in_memory_bytes` on they are kept in the file `spill`, which must be in the staging folder."""
    if not part:
        return []
    size_bytes = archive.getinfo(part).file_size
    return kept_strings(_texts(archive, part), size_bytes, spill, in_memory_bytes=in_memory_bytes)


def kept_strings(
    texts: Iterator[str], size_bytes: int, spill: str, *, in_memory_bytes: int = IN_MEMORY_BYTES
) -> Strings:
    """Texts of a part of this size as staged cells, in memory or in the file `spill`."""
    if size_bytes <= in_memory_bytes:
        return list(map(text_cell, texts))
    return SpilledStrings(map(text_cell, texts), spill)


class SpilledStrings:
    """Texts in a file that is mapped into memory, with their ends in a second one: pages of both may go and come again."""

    def __init__(self, cells: Iterator[str], path: str) -> None:
        ends = array("Q", [0])
        size = 0
        with Path(path).open("wb") as texts, Path(f"{path}.ends").open("wb") as index:
            for cell in cells:
                data = cell.encode("utf-8", "replace")
                texts.write(data)
                size += len(data)
                ends.append(size)
                if len(ends) >= 65_536:
                    ends.tofile(index)
                    del ends[:]
            ends.tofile(index)
        self._texts = _mapped(path)
        self._ends = memoryview(_mapped(f"{path}.ends")).cast("Q")

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, number: int) -> str:
        if not 0 <= number < len(self):
            raise IndexError(number)
        return str(self._texts[self._ends[number] : self._ends[number + 1]], "utf-8")


def _mapped(path: str) -> Any:
    """The file in memory, and no longer in its folder. One that is empty cannot be mapped."""
    with Path(path).open("rb") as file:
        empty = not file.seek(0, 2)
        mapped = b"" if empty else mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    Path(path).unlink()
    return mapped


def _texts(archive: zipfile.ZipFile, part: str) -> Iterator[str]:
    """All texts in their order: by pattern while the part is plain, by the parser from the start once it is not."""
    given = 0
    with corrupt(part):
        for texts in _plain_texts(archive, part):
            if texts is None:
                yield from islice(_parsed_texts(archive, part), given, None)
                return
            given += len(texts)
            yield from texts


def _plain_texts(archive: zipfile.ZipFile, part: str) -> Iterator[list[str] | None]:
    """Pieces of texts; None, and no more, where one is not plain."""
    rest, given = b"", False
    with archive.open(part) as file:
        while chunk := file.read(_CHUNK_BYTES):
            rest += chunk
            end = rest.rfind(_END_OF_STRING) + len(_END_OF_STRING)
            if b"<!" in rest or not (given or UTF8_XML.match(rest)):
                yield None
                return
            if end < len(_END_OF_STRING):
                continue
            piece, rest = rest[:end], rest[end:]
            texts = _plain_piece(piece)
            yield texts
            if texts is None:
                return
            given = True
    if b"<si" in rest or b"<sst" in rest or not (given or b"/sst" in rest):
        yield None


def _plain_piece(piece: bytes) -> list[str] | None:
    text = piece.decode()
    found = _PLAIN_STRING.findall(text)
    if len(found) != text.count("</si>") + text.count("<si/>"):
        return None
    return [unescaped(xml_text(one)) for one in found]


def _parsed_texts(archive: zipfile.ZipFile, part: str) -> Iterator[str]:
    parser = safe_parser()
    reader = _StringsReader()
    parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
    parser.CharacterDataHandler = reader.text
    with archive.open(part) as file:
        while chunk := file.read(_CHUNK_BYTES):
            parser.Parse(chunk)
            yield from reader.take()
        parser.Parse(b"", True)
    yield from reader.take()


class _StringsReader:
    """Gathers the texts of `si`: plain or of rich runs, without the runs that say how to pronounce them."""

    def __init__(self) -> None:
        self._done: list[str] = []
        self._parts: list[str] = []
        self._in_text = False
        self._phonetic = False

    def take(self) -> list[str]:
        done, self._done = self._done, []
        return done

    def start(self, name: str, _: Any) -> None:
        if name.endswith(" t"):
            self._in_text = not self._phonetic
        elif name.endswith(" rPh"):
            self._phonetic = True

    def end(self, name: str) -> None:
        if name.endswith(" t"):
            self._in_text = False
        elif name.endswith(" rPh"):
            self._phonetic = False
        elif name.endswith(" si"):
            self._done.append(unescaped("".join(self._parts)))
            self._parts.clear()

    def text(self, data: str) -> None:
        if self._in_text:
            self._parts.append(data)
