"""Two files have one digest exactly when they must have one answer."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.workloads.lint import digest
from tidegate.workloads.lint.digest import Digests, programs
from tidegate.workloads.lint.engine import Engine
from tidegate.workloads.lint.options import LintOptions

RAW = b"SELECT 1\n"
CONFIG = "[sqlfluff]\ndialect = duckdb\n"
PLAIN = Digests(LintOptions()).of(RAW)


@pytest.mark.parametrize(
    "options",
    [
        {"dialect": "postgres"},
        {"rules": ("LT01",)},
        {"exclude_rules": ("LT01",)},
        {"templater": "raw"},
        {"context": {"a": 1}},
        {"config": CONFIG},
        {"fix": True},
        {"max_file_bytes": 10},
        {"disable_noqa": True},
    ],
)
def test_every_option_that_may_change_the_answer_has_a_say(options: dict[str, Any]) -> None:
    assert Digests(LintOptions(**options)).of(RAW) != PLAIN


def test_time_has_no_say_since_what_it_ends_is_not_kept() -> None:
    assert Digests(LintOptions(file_timeout_s=1.0)).of(RAW) == PLAIN


def test_the_order_in_the_context_has_a_say_since_templates_see_it() -> None:
    contexts = {"d": {"a": "SELECT", "b": "1"}}, {"d": {"b": "1", "a": "SELECT"}}
    text = b"{{ d.values() | join(' ') }}\n"
    options = [LintOptions(context=context) for context in contexts]
    assert [Engine(each).lint("q.sql", text).clean for each in options] == [True, False]
    assert len({Digests(each).of(text) for each in options}) == 2
    for each in options:
        assert Digests(LintOptions.from_json(json.loads(json.dumps(each.to_json())))).of(text) == Digests(
            each
        ).of(text)


def test_content_and_the_settings_on_the_way_have_a_say_and_names_of_folders_have_none() -> None:
    made = Digests(LintOptions())
    distinct = {
        made.of(RAW),
        made.of(RAW + b"\n"),
        made.of(RAW, [("", CONFIG)]),  # of the top alone the templater is taken
        made.of(RAW, [("a", CONFIG)]),
        made.of(RAW, [("a", CONFIG), ("a/b", "")]),
        made.of(RAW, [("a", ""), ("a/b", CONFIG)]),
    }
    assert len(distinct) == 6
    assert made.of(RAW, [("a", CONFIG)]) == made.of(RAW, [("b/c", CONFIG)])


PARTS = st.lists(st.tuples(st.sampled_from(["", "a"]), st.text("ab", max_size=3)), max_size=3)


@given(PARTS, st.binary(max_size=3), PARTS, st.binary(max_size=3))
def test_no_two_lists_of_parts_look_alike(one: Any, raw: bytes, other: Any, content: bytes) -> None:
    made = Digests(LintOptions())
    assert (made.of(raw, one) == made.of(content, other)) == ((one, raw) == (other, content))


@pytest.mark.parametrize("name", ["tidegate", "sqlfluff", "sqlfluffrs", "jinja2", "chardet"])
def test_another_version_of_a_program_is_another_digest(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    known = digest._version
    monkeypatch.setattr(digest, "_version", lambda asked: "9" if asked == name else known(asked))
    monkeypatch.setattr(digest, "programs", programs.__wrapped__)
    assert Digests(LintOptions()).of(RAW) != PLAIN


def test_it_is_the_same_in_every_process_and_made_without_the_linter() -> None:
    code = (
        "import sys; from tidegate.workloads.lint.digest import Digests; from tidegate.workloads.lint.options import *; "
        f"print(Digests(LintOptions()).of({RAW!r}), 'sqlfluff' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.split() == [PLAIN, "False"]
