"""Pieces of text with a meaning, and figures drawn with characters. Nothing here knows how a terminal shows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from rich.cells import cell_len, set_cell_size

from tidegate.core.resources import format_bytes
from tidegate.ui.cli.output import clean

Tone: TypeAlias = Literal["plain", "dim", "strong", "accent", "good", "warn", "bad"]


class Span(NamedTuple):
    """A piece of text and what it means. The text says it too: a tone may be shown as a colour, or not at all."""

    text: str
    tone: Tone = "plain"


Cell: TypeAlias = tuple[Span, ...]
NOTHING: Cell = (Span("-", "dim"),)


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters that figures are drawn with."""

    full: str
    rest: str
    levels: str
    """From nothing to all."""
    ok: str
    fault: str
    more: str
    """Stands for what was cut off."""
    up: str
    down: str
    rule: str
    dot: str
    """Between two things that stand side by side."""


UNICODE = Glyphs("━", "─", "▁▂▃▄▅▆▇█", "●", "✗", "…", "▲", "▼", "─", "·")
ASCII = Glyphs("#", "-", "_.:-=+*#", "*", "x", "~", "^", "v", "-", "|")


def cell(value: object, tone: Tone = "plain") -> Cell:
    """A cell of one piece; None is shown as nothing. Control characters are made harmless."""
    return NOTHING if value is None or value == "" else (Span(clean(value), tone),)


def text_of(spans: Iterable[Span]) -> str:
    return "".join(span.text for span in spans)


def width_of(spans: Iterable[Span]) -> int:
    """Columns of a terminal; some characters take two."""
    return sum(cell_len(span.text) for span in spans)


def fitted(spans: Sequence[Span], width: int, more: str, *, right: bool = False) -> Cell:
    """Exactly so many columns: cut at the end, or filled with blanks, in front of it when it stands right."""
    blank = width - width_of(spans)
    if blank >= 0:
        fill = (Span(" " * blank),) if blank else ()
        return (*fill, *spans) if right else (*spans, *fill)
    return (*_head(spans, width - cell_len(more)), Span(more, "dim")) if width > 0 else ()


def _head(spans: Sequence[Span], width: int) -> Cell:
    kept: list[Span] = []
    for span in spans:
        kept.append(Span(set_cell_size(span.text, min(cell_len(span.text), width)), span.tone))
        width -= cell_len(kept[-1].text)
        if width <= 0:
            break
    return tuple(kept)


def bar(share: float, cells: int, glyphs: Glyphs, tone: Tone = "accent") -> Cell:
    """A share from 0 to 1 as a bar. Something is never drawn as nothing, and not everything never as everything."""
    bounded = min(max(share, 0.0), 1.0)
    done = round(bounded * cells)
    if 0.0 < bounded < 1.0:
        done = min(max(done, 1), cells - 1)
    return (Span(glyphs.full * done, tone), Span(glyphs.rest * (cells - done), "dim"))


def sparkline(shares: Sequence[float], cells: int, glyphs: Glyphs, tone: Tone = "accent") -> Cell:
    """The last of a row of shares from 0 to 1, the newest at the right end."""
    top = len(glyphs.levels) - 1
    drawn = "".join(glyphs.levels[min(max(round(share * top), 0), top)] for share in shares[-cells:] if cells)
    return (Span(" " * (cells - len(drawn))), Span(drawn, tone))


def load_tone(share: float) -> Tone:
    """What a share in use means: much is worth a look, almost all of it is trouble."""
    return "bad" if share >= 0.95 else "warn" if share >= 0.8 else "accent"


def percent(share: float) -> str:
    return f"{min(max(share, 0.0), 9.99):.0%}".replace("%", " %")


def of_bytes(part: int, whole: int) -> str:
    """`312 of 400 MiB`; both have their unit where those differ."""
    small, large = format_bytes(part), format_bytes(whole)
    return f"{small.split()[0] if small.split()[1] == large.split()[1] or not part else small} of {large}"


def span_of_time(seconds: float) -> str:
    """How long, in at most six columns: `42 s`, `12 min`, `3.5 h`, `12 d`."""
    seconds = max(seconds, 0.0)
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 72 * 3600:
        hours = seconds / 3600
        return f"{hours:.1f} h" if hours < 9.95 else f"{hours:.0f} h"
    return f"{seconds / 86400:.0f} d"
