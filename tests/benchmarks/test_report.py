"""The page of figures, and what is kept between runs."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.figures import Figure, at_least, at_most, claim
from benchmarks.report import Measured, lines, page, read_results, table, write_results

MACHINE = {
    "cpus": 2,
    "cpu_model": "A fine processor",
    "memory_bytes": 24 * 1024**3,
    "kernel": "6.1",
    "python": "3.11.7",
    "versions": {"duckdb": "2.0.0"},
}
FACTS: dict[str, Any] = {
    "at": "2026-11-22T19:00:00+00:00",
    "quick": False,
    "took_s": 61.2,
    "load": 0.2,
    "busy": 0.03,
    "machine": MACHINE,
}


def measured(title: str, *figures: Figure) -> Measured:
    return Measured(title, "How it is measured.", list(figures), FACTS)


@pytest.fixture
def results():
    return {
        "slow": measured("Second", Figure("rate", 54.0, "jobs/s", at_least(150), "why it is short")),
        "good": measured("First", Figure("delay", 12.0, "ms", at_most(20)), claim("lost", [])),
    }


def test_the_page_has_each_figure_beside_what_was_asked(results):
    text = page(results, ["good", "slow"])
    assert "| rate | ≥ 150 jobs/s | 54 jobs/s | **short** | why it is short |" in text
    assert "| delay | ≤ 20 ms | 12 ms | met |  |" in text
    assert "2 of the 3 figures and claims asked for are met; missed: rate." in text


def test_the_page_says_on_what_machine_when_and_how_to_repeat(results):
    text = page(results, ["good", "slow"])
    for part in (
        "2 CPUs (A fine processor)",
        "24.0 GiB",
        "Linux 6.1",
        "duckdb 2.0.0",
        "2026-11-22",
        "make bench",
    ):
        assert part in text


def test_benchmarks_stand_in_their_order_and_unknown_ones_are_left_out(results):
    text = page(results, ["slow", "absent", "good"])
    assert text.index("## Second") < text.index("## First")


def test_a_page_without_results_still_says_how_to_get_some():
    assert "make bench" in page({}, ["good"])


def test_results_are_read_back_as_they_were_written(tmp_path, results):
    path = tmp_path / "results.json"
    write_results(path, results)
    again = read_results(path)
    assert {name: one.as_json() for name, one in again.items()} == {
        name: one.as_json() for name, one in results.items()
    }
    assert page(again, ["good", "slow"]) == page(results, ["good", "slow"])


def test_without_a_file_there_are_no_results(tmp_path):
    assert read_results(tmp_path / "none.json") == {}


def test_a_broken_claim_stands_out_and_cannot_break_the_table():
    text = table([claim("lost | found", ["job 7 | gone\nfor good"])])
    assert "| lost \\| found | none | 1 violations | **broken** | job 7 \\| gone for good |" in text
    assert len(text.splitlines()) == 3


def test_figures_for_the_terminal_are_one_a_line(results):
    text = lines(results["good"].figures)
    assert len(text.splitlines()) == 2
    assert "delay: 12 ms (asked ≤ 20 ms)" in text


@pytest.mark.parametrize(("busy", "warned"), [(0.03, False), (0.98, True)])
def test_figures_of_a_busy_machine_are_marked(results, busy, warned):
    noisy = {"good": results["good"]._replace(facts={**FACTS, "busy": busy})}
    assert ("not quiet enough" in page(noisy, ["good"])) is warned
