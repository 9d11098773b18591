"""docs/sql.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from tidegate.workloads.duckdb_errors import CODES
from tidegate.workloads.files import MAX_FILES
from tidegate.workloads.inspect_run import _READ_WHOLE_BYTES, _SAMPLE_ROWS
from tidegate.workloads.sql import MAX_SQL_BYTES

PAGE = (Path(__file__).parents[2] / "docs" / "sql.md").read_text()


def test_the_table_of_codes_is_the_one_of_the_code() -> None:
    assert dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", PAGE.split("## Errors")[1], re.MULTILINE)) == dict(
        CODES
    )


def test_numbers_are_those_of_the_code() -> None:
    assert f"{MAX_FILES:,} files" in PAGE
    assert f"{_SAMPLE_ROWS:,} rows" in PAGE
    assert f"{_READ_WHOLE_BYTES >> 20} MiB together" in PAGE
    assert f"at most {MAX_SQL_BYTES >> 20} MiB" in PAGE
