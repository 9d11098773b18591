"""Options of a lint job are judged before anything runs."""

from __future__ import annotations

import pytest

from tidegate.errors import InvalidInput
from tidegate.workloads.lint.options import LintOptions


@pytest.mark.parametrize(
    "fields",
    [
        {"dialect": 3},
        {"dialect": "no such; name"},
        {"rules": {"a": 1}},
        {"rules": ["LT01", 2]},
        {"rules": ["LT01;"]},
        {"exclude_rules": ["x"] * 501},
        {"templater": "python"},
        {"templater": "dbt"},
        {"context": ["a"]},
        {"context": {"a b": 1}},
        {"config": 1},
        {"config": "x" * 100_000},
        {"fix": "yes"},
        {"max_file_bytes": -1},
        {"max_file_bytes": True},
        {"max_file_bytes": 10**9},
        {"file_timeout_s": 0},
        {"file_timeout_s": "1"},
        {"disable_noqa": 1},
    ],
)
def test_a_wrong_option_is_named(fields):
    (name,) = fields
    with pytest.raises(InvalidInput, match=name):
        LintOptions.judged(fields)


def test_nothing_said_means_the_defaults():
    assert LintOptions.judged({}) == LintOptions()


def test_rules_may_be_a_list_or_one_text():
    assert (
        LintOptions.judged({"rules": "LT01, CP*"}).rules
        == LintOptions.judged({"rules": ["LT01", "CP*"]}).rules
    )
