"""What docs/metrics.md says is what the program does."""

from __future__ import annotations

from scripts import metric_docs

PAGE = metric_docs.PAGE.read_text("utf-8")


def test_the_table_of_metrics_is_that_of_the_program():
    assert metric_docs.with_section(PAGE) == PAGE, "run scripts/metric_docs.py"
