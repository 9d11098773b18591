"""Kinds are found by entry point; a broken one is named."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from tidegate.errors import SettingError
from tidegate.workloads.inspect import InspectWorkload
from tidegate.workloads.registry import load_workloads
from tidegate.workloads.sql import SqlWorkload


class NoRunner:
    kind = "norunner"
    fields: frozenset[str] = frozenset()
    runner = "nowhere"


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name=name, value=value, group="tidegate.workloads")


def test_the_installed_kinds_are_found() -> None:
    found = load_workloads()
    assert isinstance(found["sql"], SqlWorkload)
    assert isinstance(found["inspect"], InspectWorkload)


@pytest.mark.parametrize(
    ("points", "part"),
    [
        ([point("x", "tidegate.nowhere:X")], "'x' cannot be loaded.*tidegate.nowhere:X"),
        ([point("x", "tidegate.workloads.sql:Nothing")], "'x' cannot be loaded"),
        ([point("x", "tidegate.workloads.sql:SqlWorkload")], "its `kind` is 'sql'"),
        ([point("norunner", f"{__name__}:NoRunner")], "norunner"),
        ([point("sql", "tidegate.workloads.sql:SqlWorkload")] * 2, "Two plugins offer the kind 'sql'"),
    ],
)
def test_a_broken_plugin_is_named(points: list[EntryPoint], part: str) -> None:
    with pytest.raises(SettingError, match=part):
        load_workloads(points)


def test_runners_bring_nothing_into_the_zygote_that_every_fork_would_copy():
    at_start = (one for one in load_workloads().values() if getattr(one, "preload", "") != "on_demand")
    runners = sorted({one.runner.partition(":")[0] for one in at_start})
    code = (
        "import sys, importlib, tidegate.runtime.zygote\n"
        f"for name in {runners!r}: importlib.import_module(name)\n"
        "print(*sys.modules)"
    )
    plain = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    loaded = subprocess.run(
        [sys.executable, "-c", code], env=plain, capture_output=True, text=True, check=True
    ).stdout
    heavy = {
        "asyncio",
        "bz2",
        "duckdb",
        "hashlib",
        "logging",
        "lzma",
        "random",
        "shutil",
        "ssl",
        "subprocess",
        "tempfile",
    }
    assert heavy & set(loaded.split()) == set()
