"""The lines above the tables: which server, how it stands, and how its machine does."""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.core.resources import format_bytes
from tidegate.ui.tui.cells import (
    Cell,
    Glyphs,
    Span,
    Tone,
    bar,
    cell,
    fitted,
    of_bytes,
    percent,
    sparkline,
    width_of,
)
from tidegate.ui.tui.history import History
from tidegate.ui.tui.picture import NORMAL, Picture

_LEVEL_TONES: dict[str, Tone] = {
    "normal": "good",
    "warn": "warn",
    "ramp": "warn",
    "critical": "bad",
    "emergency": "bad",
    "safe": "bad",
}
_LEVEL_OF_SIGNAL: dict[str, Tone] = {"warn": "warn", "critical": "bad", "emergency": "bad"}
_LEAST_CHART = 8
_MOST_CHART = 60
_NAME_CELLS = 8
_FIGURE_CELLS = 6


def server(picture: Picture) -> Cell:
    """Its version and address."""
    version = f" {picture.version}" if picture.version else ""
    return (Span("Tidegate", "accent"), Span(f"{version}  "), *cell(picture.url, "strong"))


def title_line(picture: Picture, width: int, glyphs: Glyphs) -> Cell:
    """Which server, who asks, and when it was asked."""
    left = server(picture)
    who = f"{picture.owner}, {picture.role}  " if picture.owner else ""
    clock = f"{picture.taken_at.astimezone():%H:%M:%S}"
    right = next((text for text in (f"{who}{clock}", clock) if width_of(left) + len(text) + 2 <= width), "")
    return (*fitted(left, width - len(right), glyphs.more), *cell(right, "dim")) if right else left


def state_line(picture: Picture, width: int, glyphs: Glyphs) -> Cell:
    """Mode, pressure, trouble, what is committed, health: as many as there is room for, the most telling first."""
    states = _states(picture)
    wide = _side_by_side(states, f"  {glyphs.dot}  ")
    if width_of(wide) <= width:
        return wide
    while len(states) > 1 and width_of(_side_by_side(states, f" {glyphs.dot} ")) > width:
        states.pop()
    return _side_by_side(states, f" {glyphs.dot} ")


def _side_by_side(states: Sequence[Cell], gap: str) -> Cell:
    line: list[Span] = []
    for told in states:
        line += [Span(gap, "dim"), *told] if line else told
    return tuple(line)


def _states(picture: Picture) -> list[Cell]:
    alerts, checks = picture.items("alerts"), picture.checks()
    failing = [name for name, wrong in checks.items() if wrong is not None]
    states: list[Cell] = []
    if picture.mode is not None:
        states.append(_level("mode", picture.mode))
    if picture.level is not None:
        states.append(_level("pressure", picture.level))
    if failing:
        states.append((Span(f"fails: {', '.join(failing)}", "bad"),))
    if alerts:
        states.append(_alerts(alerts))
    states.append(_committed(picture))
    if picture.late:
        states.append((Span(f"too busy to tell: {', '.join(picture.late)}", "warn"),))
    if checks and not failing:
        states.append((Span("healthy", "good"),))
    if "alerts" in picture.parts and not alerts:
        states.append((Span("no alerts", "dim"),))
    return states


def _level(name: str, word: str) -> Cell:
    return (Span(f"{name} ", "dim"), Span(word, _LEVEL_TONES.get(word, "plain")))


def _committed(picture: Picture) -> Cell:
    (cpus, all_cpus), (memory, all_memory) = picture.committed("cpus"), picture.committed("memory_bytes")
    if not all_cpus or not all_memory:
        return (Span("nothing can be committed", "bad"),)
    told = f"{percent(cpus / all_cpus)} CPU, {percent(memory / all_memory)} memory"
    return (Span("committed ", "dim"), Span(told))


def _alerts(alerts: Sequence[dict[str, str]]) -> Cell:
    grave = any(alert["level"] in ("severe", "danger") for alert in alerts)
    return (Span(f"{len(alerts)} alert{'' if len(alerts) == 1 else 's'}", "bad" if grave else "warn"),)


def machine_lines(picture: Picture, history: History, width: int, glyphs: Glyphs) -> list[Cell]:
    """CPU, memory and disk of the server's machine: how much is in use, how it went, and of what."""
    system = picture.part("system")
    if not system:
        return [cell(picture.missing.get("system", "The server does not tell how its machine does."), "dim")]
    processor, memory, disk = system["cpu"], system["memory"], system["disk"]
    tones = _tones(picture)
    cpus = processor["limit_cpus"]
    figures = (
        (
            "CPU",
            processor["percent"],
            history.cpu,
            f"load {processor['load_average'][0]:.2f} on {cpus:g} CPUs",
        ),
        ("Memory", memory["percent"], history.memory, of_bytes(memory["used_bytes"], memory["total_bytes"])),
        ("Disk", disk["percent"], None, f"{format_bytes(disk['free_bytes'])} free"),
    )
    told_cells = max(len(told) for _, _, _, told in figures)
    chart = min(width - _NAME_CELLS - _FIGURE_CELLS - told_cells - 4, _MOST_CHART)
    return [
        _machine_line(name, used / 100.0, trend, told, chart, tones.get(name.lower(), "accent"), glyphs)
        for name, used, trend, told in figures
    ]


def _tones(picture: Picture) -> dict[str, Tone]:
    """By resource, whether it is short: as its signal of pressure says. A machine that is filled is as it should be."""
    told = {signal["signal"]: signal["level"] for signal in picture.part("pressure").get("signals", ())}
    levels = {name: told.get(name, NORMAL) for name in ("cpu", "memory", "disk")}
    return {name: _LEVEL_OF_SIGNAL.get(level, "accent") for name, level in levels.items()}


def _machine_line(
    name: str,
    share: float,
    trend: Sequence[float] | None,
    told: str,
    chart: int,
    tone: Tone,
    glyphs: Glyphs,
) -> Cell:
    figure = Span(f"{percent(share):>{_FIGURE_CELLS}}", "strong" if tone == "accent" else tone)
    head: Cell = (Span(f"{name:<{_NAME_CELLS}}", "dim"), figure, Span("  "))
    if chart < _LEAST_CHART:
        return (*head, Span(told, "dim"))
    drawn = bar(share, chart, glyphs, tone) if trend is None else sparkline(trend, chart, glyphs, tone)
    return (*head, *drawn, Span(f"  {told}", "dim"))
