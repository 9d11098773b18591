"""What needs a package of an extra says which, where that is missing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from tidegate.workloads import convert_run, export_run
from tidegate.workloads.errors import TaskError

NONE_NEEDED = cast("Any", None)
"""Neither connection nor context is looked at before the package."""


@pytest.mark.parametrize(
    ("package", "work"),
    [
        ("pyarrow", lambda path: export_run.write_arrow(NONE_NEEDED, path)),
        ("pyarrow", lambda path: convert_run._arrow(NONE_NEEDED, NONE_NEEDED, path)),
        ("xlsxwriter", lambda path: export_run.write_xlsx(NONE_NEEDED, [], path, "")),
    ],
    ids=["arrow export", "arrow source", "xlsx export"],
)
def test_a_missing_package_names_the_extra(
    package: str, work: Callable[[str], object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        TaskError, match=rf"tidegate\[{package.removeprefix('py').removesuffix('writer')}\]"
    ) as raised:
        work(str(tmp_path / "file"))
    assert raised.value.code == "missing_package"
