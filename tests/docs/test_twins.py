"""Pages in Chinese say what the English ones say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.pages import ROOT, fences

TWINS = [("README.md", "README.zh.md"), ("docs/deployment.md", "docs/zh/deployment.md")]
twins = pytest.mark.parametrize(("english", "chinese"), TWINS, ids=[english for english, _ in TWINS])


def outline(page: str) -> list[int]:
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [len(marks) for marks in re.findall(r"^(#+) ", text, re.MULTILINE)]


def said(page: str) -> list[tuple[str, str]]:
    """The blocks with their languages, without drawings and comments, which are words, and so are those in brackets."""
    blocks = [fence for fence in fences(ROOT / page) if "──►" not in fence.text]
    return [(fence.language, re.sub(r"\s*#.*", "", fence.text)) for fence in blocks]


def literals(page: str) -> set[str]:
    """What stands in code font in the sentences: names, commands, numbers of versions."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    return set(re.findall(r"`([^`]+)`", text))


@twins
def test_headings_are_as_many_and_as_deep(english, chinese):
    assert outline(english) == outline(chinese)


@twins
def test_blocks_are_the_same_but_for_what_is_said_about_them(english, chinese):
    assert said(english) == said(chinese)


@twins
def test_names_and_commands_in_sentences_are_the_same(english, chinese):
    assert literals(english) == literals(chinese)


@twins
def test_each_names_the_other(english, chinese):
    here, there = ROOT / english, ROOT / chinese
    for page, other in ((here, there), (there, here)):
        links = re.findall(r"\]\(([^)#]+)", page.read_text("utf-8"))
        assert other in {Path(page.parent / link).resolve() for link in links if "://" not in link}, page.name
