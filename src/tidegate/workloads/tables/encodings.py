"""Which encoding a text file has, by its first bytes and samples of the rest, and that file in UTF-8."""

from __future__ import annotations

import codecs
import gzip
import os
from collections.abc import Iterable
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import IO

from tidegate.core.resources import KIB, MIB
from tidegate.workloads.errors import TaskError

_HEAD_BYTES = MIB
_SAMPLE_BYTES = 64 * KIB
_SAMPLES = 16
_CHUNK_BYTES = MIB
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def detect(path: str) -> str:
    """`utf-8`, `utf-16`, `gb18030` or `latin-1`. Raises TaskError `not_text` for what is none of them."""
    samples = list(_samples(path))
    head = samples[0]
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    if b"\0" in head:
        raise TaskError(
            f"The file {os.path.basename(path)!r} is no text: its beginning holds NUL bytes. If it is UTF-16 without a "
            "byte order mark, say so with `options.encoding`.",
            code="not_text",
        )
    for name in ("utf-8", "gb18030"):
        if all(_decodes(sample, name) for sample in samples) and (name == "utf-8" or _looks_chinese(samples)):
            return name
    return "latin-1"


def _samples(path: str) -> Iterable[bytes]:
    """The beginning, and of files that are not packed pieces of the rest, cut at ends of lines."""
    if path.lower().endswith(".zst"):
        yield b""  # unpacked by DuckDB alone
        return
    with _opened(path) as file:
        yield file.read(_HEAD_BYTES)
        if path.lower().endswith(".gz"):
            return
        size = os.stat(path).st_size
        for place in range(_HEAD_BYTES, size, max(_SAMPLE_BYTES, size // _SAMPLES)):
            file.seek(place)
            yield file.read(_SAMPLE_BYTES).partition(b"\n")[2]


def _opened(path: str) -> IO[bytes]:
    return gzip.open(path) if path.lower().endswith(".gz") else Path(path).open("rb")  # type: ignore[return-value]


def _decodes(sample: bytes, name: str) -> bool:
    try:
        codecs.getincrementaldecoder(name)().decode(sample)
    except UnicodeDecodeError:
        return False
    return True


def _looks_chinese(samples: Iterable[bytes]) -> bool:
    """Whether most of what is not ASCII are common Chinese characters: Latin-1 read so gives rare ones among letters."""
    texts = [codecs.getincrementaldecoder("gb18030")("replace").decode(sample) for sample in samples]
    foreign = [letter for text in texts for letter in text if letter > "\x7f"]
    common = [
        letter
        for letter in foreign
        if "\u4e00" <= letter <= "\u9fff" or "\u3000" <= letter <= "\u303f" or letter > "\uff00"
    ]
    pairs = sum(1 for text in texts for a, b in pairwise(text) if a > "\x7f" and b > "\x7f")
    return len(common) > 0.9 * len(foreign) and pairs > 0.3 * len(foreign)


def to_utf8(path: str, name: str, target: str) -> None:
    """Write the file anew in UTF-8, a piece at a time. Raises TaskError `not_text` where bytes are none of the encoding."""
    decoder = codecs.getincrementaldecoder(name)()
    done = 0
    with closing(_opened(path)) as file, Path(target).open("wb") as out:
        while True:
            chunk = file.read(_CHUNK_BYTES)
            try:
                out.write(decoder.decode(chunk, not chunk).encode())
            except UnicodeError as error:
                raise TaskError(
                    f"The file {os.path.basename(path)!r} is not {name}: near byte {done} it holds what that encoding "
                    f"does not have ({error}). Say its encoding with `options.encoding`.",
                    code="not_text",
                    numbers={"near_byte": done},
                ) from None
            done += len(chunk)
            if not chunk:
                return
