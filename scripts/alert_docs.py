"""Writes the table of all rules of alerts into docs/alerts.md, between its markers."""

from __future__ import annotations

from pathlib import Path

from tidegate.core.alert_rules import Rule, default_rules
from tidegate.settings import Settings

BEGIN, END = "<!-- rules: written by scripts/alert_docs.py -->", "<!-- end of rules -->"
PAGE = Path(__file__).parents[1] / "docs" / "alerts.md"


def section() -> str:
    """The part of the page that is written here."""
    max_waiting = Settings.model_fields["max_waiting"].default
    lines = [
        "| rule | what | warning | severe | danger | hold | clear | slack | what to do |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [_line(rule) for rule in default_rules(max_waiting).values()]
    return "\n".join([BEGIN, *lines, END])


def _line(rule: Rule) -> str:
    cells = (
        f"`{rule.name}`",
        rule.what,
        _limit("> ", rule.warning, rule.unit),
        _limit("> ", rule.severe, rule.unit),
        _limit("≥ ", rule.danger, rule.unit),
        f"{rule.hold_s:g} s",
        f"{rule.clear_s:g} s",
        f"{rule.slack:.0%}",
        rule.advice,
    )
    return "| " + " | ".join(cells) + " |"


def _limit(sign: str, limit: float | None, unit: str) -> str:
    if limit is None:
        return ""
    return f"{sign}{limit:,.0f} {unit}" if unit else "it is so"


def with_section(page: str) -> str:
    """The page with its table as the rules are now."""
    head, _, rest = page.partition(BEGIN)
    return head + section() + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(with_section(PAGE.read_text("utf-8")), "utf-8")
