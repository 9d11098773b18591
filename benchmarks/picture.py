"""Line charts as SVG, one above the other, readable on light and on dark pages. For the pictures of docs/performance.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH = 760
_HEIGHT = 190
_LEFT, _RIGHT, _TOP, _GAP, _FOOT = 56, 16, 52, 64, 44
_COLOURS = (("#0969da", "#58a6ff"), ("#bc4c00", "#f0883e"), ("#1a7f37", "#3fb950"), ("#8250df", "#bc8cff"))
"""Of the lines, in their order: on light and on dark."""
_TICKS = 6


class Line(NamedTuple):
    """A line of points (x, y), and a level that is drawn dashed in its colour."""

    name: str
    points: Sequence[tuple[float, float]]
    dashed_at: float | None = None


class Panel(NamedTuple):
    title: str
    lines: Sequence[Line]
    logarithmic: bool = False


def picture_of(panels: Sequence[Panel], to_x: float, x_title: str) -> str:
    """The panels one above the other, over the same x from 0. Lines of one name have one colour in all of them."""
    names = list(dict.fromkeys(line.name for panel in panels for line in panel.lines))
    height = _TOP + len(panels) * (_HEIGHT + _GAP) - _GAP + _FOOT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape("; ".join(panel.title for panel in panels))}">',
        _style(len(names)),
        *_legend(names),
    ]
    for at, panel in enumerate(panels):
        parts += _panel(panel, names, to_x, _TOP + at * (_HEIGHT + _GAP))
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    parts += [_text(middle, height - 8, x_title, "m"), "</svg>"]
    return "\n".join(parts) + "\n"


def _style(count: int) -> str:
    light = "".join(
        f".c{n}{{stroke:{one[0]}}}.f{n}{{fill:{one[0]}}}" for n, one in enumerate(_COLOURS[:count])
    )
    dark = "".join(
        f".c{n}{{stroke:{one[1]}}}.f{n}{{fill:{one[1]}}}" for n, one in enumerate(_COLOURS[:count])
    )
    return (
        "<style>text{font:12px system-ui,sans-serif;fill:#1f2328}.t{font-weight:600}.m{text-anchor:middle}"
        ".e{text-anchor:end}.g{stroke:#8b949e55}.l{fill:none;stroke-width:2;stroke-linejoin:round}"
        f".d{{fill:none;stroke-width:1.5;stroke-dasharray:5 4}}.b{{fill:#ffffff}}{light}"
        f"@media (prefers-color-scheme:dark){{text{{fill:#e6edf3}}.b{{fill:#0d1117}}{dark}}}</style>"
        '<rect class="b" width="100%" height="100%" rx="6"/>'
    )


def _legend(names: Sequence[str]) -> list[str]:
    parts, x = [], float(_LEFT)
    for n, name in enumerate(names):
        parts.append(f'<rect class="f{n}" x="{x:.0f}" y="12" width="14" height="4"/>')
        parts.append(_text(x + 20, 19, name))
        x += 44 + 7.0 * len(name)
    return parts


def _panel(panel: Panel, names: Sequence[str], to_x: float, top: float) -> list[str]:
    values = [y for line in panel.lines for _, y in line.points]
    values += [line.dashed_at for line in panel.lines if line.dashed_at is not None]
    ticks = _log_ticks(values) if panel.logarithmic else _ticks(max(values, default=1.0))
    low, high = ticks[0], ticks[-1]

    def y_of(value: float) -> float:
        share = math.log(max(value, low) / low) / math.log(high / low) if panel.logarithmic else value / high
        return top + _HEIGHT * (1 - share)

    def x_of(value: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * value / to_x

    parts = [_text(_LEFT, top - 8, panel.title, "t")]
    for tick in ticks:
        y = y_of(tick)
        parts.append(f'<path class="g" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>')
        parts.append(_text(_LEFT - 6, y + 4, f"{tick:g}", "e"))
    below = top + _HEIGHT + 16
    parts += [_text(x_of(tick), below, f"{tick:g}", "m") for tick in _ticks(to_x) if tick <= to_x]
    for line in panel.lines:
        colour = names.index(line.name)
        points = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in line.points)
        parts.append(f'<polyline class="l c{colour}" points="{points}"/>')
        if line.dashed_at is not None:
            y = y_of(line.dashed_at)
            parts.append(f'<path class="d c{colour}" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>')
    return parts


def _ticks(most: float) -> list[float]:
    """From 0 by round steps to at least `most`."""
    rough = max(most, 1e-9) / (_TICKS - 1)
    scale = 10.0 ** math.floor(math.log10(rough))
    step = next(each * scale for each in (1, 2, 2.5, 5, 10) if each * scale >= rough)
    return [n * step for n in range(math.ceil(most / step - 1e-9) + 1)]


def _log_ticks(values: Sequence[float]) -> list[float]:
    """Powers of ten around all values."""
    low = math.floor(math.log10(max(min(values, default=1.0), 1e-3)))
    high = math.ceil(math.log10(max(max(values, default=10.0), 1e-3)))
    return [10.0**n for n in range(low, max(high, low + 1) + 1)]


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    shown = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.0f}" y="{y:.1f}"{shown}>{escape(text)}</text>'
