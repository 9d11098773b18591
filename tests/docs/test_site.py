"""The documentation builds as a site without network, and has every page in its menu."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pages import DOCS, ROOT

CONFIG = ROOT / "mkdocs.yml"
# Where a page may send its reader; everything that a page needs to be shown comes from the site itself.
LOADED = re.compile(
    r"<(?:script|img|iframe)[^>]*\ssrc=\"?(https?:)?//|<link[^>]*\brel=\"?(?:stylesheet|preconnect|preload)[^>]*https?://"
)


def menu(entries: list[Any]) -> Iterator[str]:
    """The pages of a menu, in its order."""
    for entry in entries:
        for inner in entry.values() if isinstance(entry, dict) else [entry]:
            yield from menu(inner) if isinstance(inner, list) else [inner]


class Plain(yaml.SafeLoader):
    """Reads the site's settings without the Python objects that they name."""


Plain.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def test_every_page_is_in_the_menu_once():
    listed = Counter(menu(yaml.load(CONFIG.read_text("utf-8"), Plain)["nav"]))
    assert listed == Counter(str(page.relative_to(DOCS)) for page in DOCS.glob("**/*.md"))


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site as `make site` builds it, in a folder of its own; a link or anchor that leads nowhere fails the build."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(DOCS, folder / "docs")
    (folder / "mkdocs.yml").write_text(CONFIG.read_text("utf-8"))
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--clean", "--strict"],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "NO_COLOR": "1", "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def test_it_builds_with_every_page(site):
    made = {str(page.relative_to(site)) for page in site.glob("**/*.html")}
    pages = {str(page.relative_to(DOCS).with_suffix(".html")) for page in DOCS.glob("**/*.md")}
    assert {re.sub(r"README\.html$", "index.html", page) for page in pages} <= made


def test_it_loads_nothing_from_elsewhere(site):
    assert [str(page) for page in site.glob("**/*.html") if LOADED.search(page.read_text("utf-8"))] == []
    assert [
        str(sheet)
        for sheet in site.glob("**/*.css")
        if re.search(r"url\([\"']?https?://|@import", sheet.read_text("utf-8"))
    ] == []
