"""What docs/metrics.md says is what the program does."""

from __future__ import annotations

import re

from scripts import metric_docs
from tests.pages import all_pages
from tidegate.telemetry.catalogue import CATALOGUE

PAGE = metric_docs.PAGE.read_text("utf-8")


def test_the_table_of_metrics_is_that_of_the_program():
    assert metric_docs.with_section(PAGE) == PAGE, "run scripts/metric_docs.py"


def test_the_metrics_that_pages_ask_for_are_there():
    """In the expressions of guides and alerts, which nothing else would find wrong."""
    series = (
        {name.removesuffix("_total") for name in CATALOGUE}
        | {f"{name}_bucket" for name in CATALOGUE}
        | set(CATALOGUE)
    )
    text = "\n".join(page.read_text("utf-8") for page in all_pages())
    asked = set(re.findall(r"(?:by \(\w[\w, ]*\) )?\((tidegate_\w+)[{)\[]", text))
    assert asked
    assert asked - series == set()
