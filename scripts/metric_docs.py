"""Writes the table of all metrics into docs/metrics.md, between its markers."""

from __future__ import annotations

from pathlib import Path

from tidegate.telemetry.catalogue import CATALOGUE, Metric

BEGIN, END = "<!-- metrics: written by scripts/metric_docs.py -->", "<!-- end of metrics -->"
PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"


def section() -> str:
    """The part of the page that is written here."""
    lines = ["| metric | type | labels | what | told by |", "| --- | --- | --- | --- | --- |"]
    lines += [_line(metric) for metric in CATALOGUE.values()]
    return "\n".join([BEGIN, *lines, END])


def _line(metric: Metric) -> str:
    labels = "<br>".join(f"`{label.name}` (≤ {label.most}): {label.meaning}" for label in metric.labels)
    told = metric.teller.value
    return f"| `{metric.name}` | {metric.type} | {labels} | {metric.help} | {told} |"


def with_section(page: str) -> str:
    """The page with its table as the catalogue is now."""
    head, _, rest = page.partition(BEGIN)
    return head + section() + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(with_section(PAGE.read_text("utf-8")), "utf-8")
