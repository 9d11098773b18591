"""Keeps the figures of all benchmarks in `results.json` and writes `docs/performance.md` from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.figures import Asked, Figure, number

GIB = 1024**3
QUIET = 0.15
"""Share of the CPUs that others may use while something is measured."""

_HEAD = """\
# Performance

Written by `make bench BENCH=--write`; do not edit by hand. Each figure stands beside what was asked of it. *Short* is
a figure that was missed. *Broken* would be a claim about correctness that does not hold; the benchmark command then fails.

Absolute figures move with the machine and the hour, by tens of percent. Ratios are taken within one run,
alternating (A B A B), from medians.
"""

_REPEAT = """\
## Measure it yourself

```
make bench                                    # everything, in less than 20 minutes
make bench BENCH=--quick                      # smaller numbers, in less than 5
make bench BENCH="machinery responsive"       # some of them
make bench BENCH="spill --write"              # one, and this page anew from it and what was kept of the others
```

Leave the machine alone meanwhile. The raw figures of the last runs are in `benchmarks/results.json`.
"""


class Measured(NamedTuple):
    """One benchmark's last run."""

    title: str
    about: str
    figures: list[Figure]
    facts: Mapping[str, Any]
    """`at`, `quick`, `took_s`, `picture` (its file, if it makes one), `load` (of the minute before), `busy` (share of the CPUs
    in use just before), `machine`."""

    def as_json(self) -> dict[str, Any]:
        figures = [figure.as_json() for figure in self.figures]
        return {"title": self.title, "about": self.about, **self.facts, "figures": figures}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Measured:
        facts = {name: value for name, value in values.items() if name not in ("title", "about", "figures")}
        figures = [Figure.from_json(figure) for figure in values["figures"]]
        return cls(values["title"], values["about"], figures, facts)


def read_results(path: Path) -> dict[str, Measured]:
    """What earlier runs left, by benchmark; nothing when there was none."""
    if not path.exists():
        return {}
    return {name: Measured.from_json(values) for name, values in json.loads(path.read_text()).items()}


def write_results(path: Path, results: Mapping[str, Measured]) -> None:
    text = json.dumps(
        {name: measured.as_json() for name, measured in results.items()}, indent=1, ensure_ascii=False
    )
    path.write_text(text + "\n", encoding="utf-8")


def page(results: Mapping[str, Measured], order: list[str]) -> str:
    """The whole page, benchmarks in the order given; those without results are left out."""
    known = [name for name in order if name in results]
    parts = [
        _HEAD,
        _machine(results[known[-1]]) if known else "",
        _summary([results[name] for name in known]),
    ]
    parts += [_section(results[name], name) for name in known]
    return "\n".join(part for part in [*parts, _REPEAT] if part)


def table(figures: list[Figure]) -> str:
    """Figures as a Markdown table."""
    rows = ["| figure | asked | measured | | note |", "| --- | --- | --- | --- | --- |"]
    rows += [f"| {' | '.join(map(_cell, _columns(figure)))} |" for figure in figures]
    return "\n".join(rows) + "\n"


def lines(figures: list[Figure]) -> str:
    """Figures for a terminal."""
    return "\n".join(_line(figure) for figure in figures)


def _line(figure: Figure) -> str:
    name, asked, measured, verdict, note = _columns(figure)
    return (
        f"  {verdict:>8}  {name}: {measured}"
        + (f" (asked {asked})" if asked else "")
        + (f"; {note}" if note else "")
    )


def _columns(figure: Figure) -> tuple[str, str, str, str, str]:
    verdict = {"met": "met", "short": "**short**", "broken": "**broken**"}.get(figure.verdict, "")
    asked = _asked(figure.asked, figure) if figure.asked else ""
    return figure.name, asked, f"{number(figure.measured)} {figure.unit}".strip(), verdict, figure.note


def _asked(asked: Asked, figure: Figure) -> str:
    return "none" if figure.claim and asked.value == 0 else f"{asked} {figure.unit}".strip()


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _machine(newest: Measured) -> str:
    machine = newest.facts["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"Machine: {machine['cpus']} CPUs ({machine['cpu_model']}), {machine['memory_bytes'] / GIB:.1f} GiB of memory, "
        f"Linux {machine['kernel']}, Python {machine['python']}; {versions}.\n"
    )


def _summary(all_measured: list[Measured]) -> str:
    figures = [figure for measured in all_measured for figure in measured.figures if figure.asked]
    if not figures:
        return ""
    missed = [figure for figure in figures if figure.verdict != "met"]
    head = f"{len(figures) - len(missed)} of the {len(figures)} figures and claims asked for are met"
    return head + (".\n" if not missed else "; missed: " + "; ".join(f.name for f in missed) + ".\n")


def _section(measured: Measured, name: str) -> str:
    facts = measured.facts
    day = datetime.fromisoformat(facts["at"]).date().isoformat()
    when = f"`{name}`, {day}, {'quick run, ' if facts['quick'] else ''}{facts['took_s']:.0f} s"
    busy = f"before it {facts['busy']:.0%} of the CPUs were in use (load {facts['load']:.1f})"
    busy += ": not quiet enough for its figures to be trusted" if facts["busy"] > QUIET else ""
    picture = f"![{measured.title}]({facts['picture']})\n\n" if "picture" in facts else ""
    return f"## {measured.title}\n\n{measured.about}\n\n{picture}{table(measured.figures)}\n{when}; {busy}.\n"
