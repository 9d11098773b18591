"""Each code that a user may be told of a kind of job stands on the page of that kind."""

from __future__ import annotations

import re

import pytest

from tests.pages import ROOT, page
from tidegate.workloads.tables.model import BAD_ROW_CODES
from tidegate.workloads.targets.fitting import Family, Holds, Source, carries_over, fit

SRC = ROOT / "src" / "tidegate"
# The pages of a kind, and the files whose errors its users meet.
RAISED_BY = {
    ("sql.md",): ("workloads/sql.py", "workloads/sql_run.py", "workloads/files.py", "workloads/inspect*.py",
                  "workloads/readers.py", "workloads/duckdb_errors.py", "server/looks.py"),
    ("ingest.md", "targets.md"): ("workloads/ingest*.py", "workloads/convert_run.py", "workloads/tables/*.py",
                                  "workloads/targets/*.py", "core/growing.py", "workloads/files.py", "server/looks.py"),
    ("functions.md",): ("workloads/function*.py", "core/values.py"),
    ("lint.md",): ("workloads/lint/*.py", "workloads/files.py", "server/looks.py"),
    ("executors.md",): ("runtime/executors/*.py",),
}  # fmt: skip
_CODE = re.compile(r'\bcode ?= ?"([a-z_]+)"')


@pytest.mark.parametrize("pages", RAISED_BY, ids="+".join)
def test_every_code_is_on_the_page_of_its_kind(pages: tuple[str, ...]) -> None:
    files = {file for pattern in RAISED_BY[pages] for file in SRC.glob(pattern)}
    raised = {code for file in files for code in _CODE.findall(file.read_text("utf-8"))}
    assert raised
    text = "".join(map(page, pages))
    assert sorted(code for code in raised if f"`{code}`" not in text) == []


def test_every_code_of_a_bad_row_is_documented() -> None:
    sources = [Source("a", kind) for kind in ("VARCHAR", "DOUBLE", "TIMESTAMP")]
    columns = [
        Holds(Family.TEXT, "VARCHAR", most_characters=5, no_nul=True),
        Holds(Family.NUMBER, "INTEGER", finite=True),
        Holds(Family.MOMENT, "TIMESTAMP", second_digits=0),
    ]
    pairs = [(source, holds) for source in sources for holds in columns]
    fitted = [fit(s, "a", holds) for s, holds in pairs if carries_over(s.family, holds.family)]
    of_targets = {check.code for one in fitted for check in one.checks} | {"null_key"}
    assert {"loses_digits", "too_long", "not_finite", "outside_years", "nul_character"} <= of_targets
    text = page("targets.md")
    assert sorted(code for code in {*BAD_ROW_CODES, *of_targets} if f"`{code}`" not in text) == []
