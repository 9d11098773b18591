"""What a submission of kind `ingest` may ask for."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import xlwt
from hypothesis import given
from hypothesis import strategies as st

from tidegate.core.names import check_source_name
from tidegate.core.resources import GIB, MIB, Resources
from tidegate.core.source import Source, SourceColumn, SourcePart
from tidegate.errors import InvalidInput, NeverFits, TidegateError
from tidegate.ports import IntakeContext, KindRules, WorkOrder
from tidegate.workloads.ingest import IngestWorkload
from tidegate.workloads.ingest_names import TableNames

SECRET = "hunter2"
WAREHOUSE = f"postgresql://loader:{SECRET}@db.example:5433/sales"
GROWN = Source(
    "orders", "parquet", "results/parts/a.parquet", "ann", datetime(2026, 1, 1, tzinfo=UTC),
    (SourceColumn("a", "BIGINT"),), parts=(SourcePart("results/parts/a.parquet", 1, 1, 1, "abc", "a.csv"),),
)  # fmt: skip
FIXED = Source("fixed", "csv", "/data/a.csv", "ann", datetime(2026, 1, 1, tzinfo=UTC))


class Bench:
    """A data directory with files, and the judge."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "data" / "files").mkdir(parents=True)
        (folder / "out").mkdir()

    def file(self, name: str, text: str = "a,b\n1,2\n") -> str:
        path = self.folder / "data" / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return f"files/{name}"

    def order(
        self, *, memory_bytes: int | None = None, urls: bool = True, own: str = "", **fields: Any
    ) -> WorkOrder:
        rules = KindRules(
            targets={"warehouse": WAREHOUSE}, target_urls=urls, target_roots=(str(self.folder / "out"),)
        )
        context = IntakeContext(
            owner="ann",
            data_dir=str(self.folder / "data"),
            sources_named=lambda names: [s for s in (GROWN, FIXED) if s.name in names],
            largest=Resources(4000, 8 * GIB, 50 * GIB),
            kinds=rules,
            memory_bytes=memory_bytes,
            own_folder=own,
        )
        return IngestWorkload().order(fields, context)

    def refused(self, code: str, **fields: Any) -> TidegateError:
        with pytest.raises(TidegateError) as caught:
            self.order(**fields)
        assert caught.value.code == code, caught.value.message
        return caught.value


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path.resolve())


def test_each_file_is_a_task_that_asks_for_what_it_takes(bench: Bench):
    bench.file("one.csv")
    bench.file("two.csv", "a\n" + "1\n" * 1000)
    made = bench.order(files=["files/*.csv"])
    assert [task.name for task in made.tasks] == ["one.csv", "two.csv"]
    assert [task.spec["table"] for task in made.tasks] == ["one", "two"]
    assert all(task.resources and task.resources.memory_bytes >= 64 * MIB for task in made.tasks)
    assert made.spec["readable_paths"] == sorted(task.spec["path"] for task in made.tasks)


def test_a_file_that_is_named_twice_is_loaded_once(bench: Bench):
    name = bench.file("one.csv")
    assert len(bench.order(files=[name, "files/*.csv"], table="t").tasks) == 1


def test_all_sheets_begin_with_a_task_that_looks(bench: Bench):
    bench.file("book.xlsx", "no workbook at all")
    tasks = bench.order(files=["files/book.xlsx"], sheets="all").tasks
    assert [task.spec.get("all_sheets") for task in tasks] == [True]
    named = bench.order(files=["files/book.xlsx"], sheets=["Jan", 2]).tasks
    assert [(task.name, task.spec["sheet"], task.spec["table"]) for task in named] == [
        ("book.xlsx [Jan]", "Jan", "book_Jan"),
        ("book.xlsx [2]", 2, "book_2"),
    ]


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        ("files_missing", {"files": []}),
        ("files_missing", {"files": None}),
        ("missing_file", {"files": ["files/nothing.csv"]}),
        ("path_outside", {"files": ["/etc/passwd"]}),
        ("not_a_table", {"files": ["files/data.parquet"]}),
        ("invalid_input", {"mode": "swap"}),
        ("invalid_input", {"sheets": []}),
        ("invalid_input", {"sheets": 0}),
        ("invalid_input", {"again": "yes"}),
        ("invalid_input", {"table": "select"}),
        ("invalid_input", {"table": " "}),
        ("invalid_input", {"types": {"a": "money"}}),
        ("invalid_input", {"keys": [""], "into": "warehouse"}),
        ("not_for_sources", {"mode": "upsert", "keys": ["a"]}),
        ("not_for_sources", {"schema": "public"}),
        ("keys_missing", {"mode": "upsert", "into": "warehouse"}),
        ("unknown_target", {"into": "elsewhere"}),
        ("source_exists", {"table": "fixed"}),
        ("invalid_input", {"into": "oracle://db/x"}),
        ("path_outside", {"into": "sqlite:////etc/tidegate.db"}),
        ("many_replace", {"files": ["files/*.csv"], "mode": "replace", "into": "warehouse", "table": "t"}),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(bench: Bench, code: str, fields: dict[str, Any]):
    for name in ("one.csv", "two.csv", "data.parquet"):
        bench.file(name)
    bench.refused(code, **{"files": ["files/one.csv"], **fields})


def test_the_numbers_of_a_limit_that_is_too_small_are_told(bench: Bench):
    name = bench.file("one.csv")
    with pytest.raises(NeverFits) as caught:
        bench.order(files=[name], memory_bytes=70 * MIB)
    assert caught.value.numbers["limit"] == 70 * MIB
    assert int(caught.value.numbers["asked"]) > 70 * MIB
    task = bench.order(files=[name], memory_bytes=GIB).tasks[0]
    assert task.resources is not None
    assert task.resources.memory_bytes == GIB


def test_a_sparse_workbook_is_refused_before_it_starts_with_the_numbers(bench: Bench):
    """Looking which sheets it has takes as much, since the reader holds all of it."""
    book = xlwt.Workbook()
    sheet = book.add_sheet("Sparse")
    sheet.write(0, 0, "n")
    sheet.write(60_000, 255, 1)
    book.save(str(bench.folder / "data" / "files" / "sparse.xls"))
    for sheets in (None, "all"):
        with pytest.raises(NeverFits) as caught:
            bench.order(files=["files/sparse.xls"], sheets=sheets, memory_bytes=512 * MIB)
        assert int(caught.value.numbers["asked"]) > 60_000 * 256 * 64


def test_a_target_is_named_and_its_url_stays_with_the_settings(bench: Bench):
    made = bench.order(files=[bench.file("one.csv")], into="warehouse", table="t")
    assert made.spec["target"] == {"name": "warehouse"}
    assert 5433 in made.spec["connect_ports"]
    assert SECRET not in repr(made)


@pytest.mark.parametrize(
    "into", [WAREHOUSE, WAREHOUSE + "?sslmode=often", f"postgresql//x:{SECRET}@h/db", f"x://{SECRET}"]
)
def test_no_answer_shows_the_secret_of_a_url(bench: Bench, into: str):
    name = bench.file("one.csv")
    assert (
        SECRET
        not in bench.refused(
            "urls_off" if "://" in into else "unknown_target", urls=False, files=[name], into=into
        ).message
    )
    shown = []
    try:
        made = bench.order(files=[name], into=into)
        shown += [made.name, str(made.spec["into"])]
    except InvalidInput as error:
        shown.append(error.message)
    assert not any(SECRET in text for text in shown)


def test_a_sqlite_file_may_be_written_only_below_the_folders_for_that(bench: Bench):
    name = bench.file("one.csv")
    made = bench.order(files=[name], into=f"sqlite:///{bench.folder}/out/x.db")
    assert made.spec["writable_paths"] == [str(bench.folder / "out")]
    (bench.folder / "out" / "link").symlink_to(bench.folder / "data")
    bench.refused("path_outside", files=[name], into=f"sqlite:///{bench.folder}/out/link/tidegate.db")
    bench.refused("missing_folder", files=[name], into=f"sqlite:///{bench.folder}/out/none/x.db")


def test_what_a_source_has_already_is_told_to_the_task(bench: Bench):
    name = bench.file("one.csv")
    assert bench.order(files=[name], table="orders").spec["known_loads"] == {"orders": ["abc"]}
    assert bench.order(files=[name], table="orders", again=True).spec["known_loads"] == {}


def test_a_user_loads_only_its_own_uploads(bench: Bench):
    bench.file("others.csv")
    bench.file(".owners/ann/mine.csv")
    own = str(bench.folder / "data" / "files" / ".owners" / "ann")
    assert [task.name for task in bench.order(files=["mine.csv"], own=own).tasks] == ["mine.csv"]
    for path in ("files/others.csv", f"{bench.folder}/data/files/others.csv", "../../others.csv"):
        with pytest.raises(InvalidInput):
            bench.order(files=[path], own=own)


@given(st.lists(st.text(min_size=1, max_size=80), min_size=1, max_size=8, unique=True))
def test_sheets_go_to_different_sources_whatever_they_are_called(sheets: list[str]):
    names = TableNames.asked(None, of_source=True, many_sheets=True)
    filled = [names._filled("book", sheet) for sheet in sheets]
    made = [names.of("/data/book.xlsx", sheet) for sheet in sheets]
    assert len({name.casefold() for name in made}) == len(set(filled))
    for name in made:
        check_source_name(name)
