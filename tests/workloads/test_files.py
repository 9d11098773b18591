"""Which files a source may be made of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tidegate.core.resources import Resources
from tidegate.errors import InvalidInput
from tidegate.ports import IntakeContext
from tidegate.workloads import files
from tidegate.workloads.files import expand, format_of, roots_of
from tidegate.workloads.inspect import InspectWorkload


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A data directory with files, and a secret beside it."""
    for name in ("data/files/a.csv", "data/files/b.csv", "data/files/sub/c.csv", "data/files/sub/d.parquet",
                 "data/files/_tmp/e.csv", "data/results/1/1.1/r.parquet", "data/tidegate.db", "data/server.json",
                 "data/attempts/1/x.csv", "data/logs/1/x.csv", "secret/s.csv", "roots/r.csv"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x\n1\n")
    return tmp_path


def context(house: Path, *roots: str) -> IntakeContext:
    return IntakeContext(
        "ann",
        str(house / "data"),
        lambda names: [],
        Resources(1000, 2**30, 2**30),
        source_roots=tuple(str(house / root) for root in roots),
    )


def names(house: Path, path: str, *roots: str) -> list[str]:
    return [os.path.relpath(file.path, house) for file in expand(path, context(house, *roots))]


def test_a_file_a_glob_and_a_folder(house: Path) -> None:
    assert names(house, "files/a.csv") == ["data/files/a.csv"]
    assert names(house, str(house / "data/files/a.csv")) == ["data/files/a.csv"]
    assert names(house, "files/*.csv") == ["data/files/a.csv", "data/files/b.csv"]
    assert names(house, "files/**/*.csv") == [
        "data/files/_tmp/e.csv", "data/files/a.csv", "data/files/b.csv", "data/files/sub/c.csv"
    ]  # fmt: skip
    assert names(house, "files/sub") == ["data/files/sub/c.csv", "data/files/sub/d.parquet"]
    assert [file.path[-5:] for file in expand("files/sub", context(house), kind="csv")] == ["c.csv"]
    assert names(house, "results/1/1.1/r.parquet") == ["data/results/1/1.1/r.parquet"]


def test_a_source_keeps_the_folders_by_which_it_was_allowed(house: Path) -> None:
    within, outside = str(house / "roots/*.csv"), str(house / "secret/s.csv")
    found = expand(within, context(house, "roots", "secret"))
    assert roots_of(found, context(house, "roots", "secret")) == [str(house / "roots")]
    assert roots_of(expand("files/a.csv", context(house, ".")), context(house, ".")) == []
    kept = roots_of(found, context(house, "roots"))
    assert expand(within, context(house), roots=kept) == found
    for path in (outside, within):
        (house / "roots/link.csv").unlink(missing_ok=True)
        (house / "roots/link.csv").symlink_to(outside)
        with pytest.raises(InvalidInput) as refused:
            expand(path, context(house), roots=kept)
        assert refused.value.code == "path_outside"


@pytest.mark.parametrize("path", ["files/*.csv", "files", "files/**"])
def test_a_name_that_is_no_text_is_refused(house: Path, path: str) -> None:
    Path(os.fsdecode(os.fsencode(house / "data/files") + b"/caf\xe9.csv")).write_text("x\n1\n")
    with pytest.raises(InvalidInput, match=r"b'caf\\xe9.csv', whose name or folder is not UTF-8") as refused:
        expand(path, context(house))
    assert refused.value.code == "bad_file_name"
    refused.value.message.encode()
    assert names(house, "files/[ab].csv") == ["data/files/a.csv", "data/files/b.csv"]


def test_a_name_with_glob_characters_is_a_name_first(house: Path) -> None:
    (house / "data/files/x[1].csv").write_text("x\n")
    assert names(house, "files/x[1].csv") == ["data/files/x[1].csv"]


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "/etc/*", "{house}/secret/s.csv", "{house}/secret/*.csv", "{house}/*/s.csv", "{house}/data2/x.csv",
     "/proc/self/environ", "tidegate.db", "server.json", "attempts/1/x.csv", "attempts/*/x.csv", "logs", "/", "{house}",
     "files/out.csv", "files/outside/s.csv", "files/outside"],
)  # fmt: skip
def test_outside_is_refused(house: Path, path: str) -> None:
    (house / "data2").mkdir()
    (house / "data2/x.csv").write_text("x\n")
    (house / "data/files/out.csv").symlink_to(house / "secret/s.csv")
    (house / "data/files/outside").symlink_to(house / "secret")
    with pytest.raises(InvalidInput) as refused:
        expand(path.format(house=house), context(house))
    assert refused.value.code == "path_outside"


def test_what_is_outside_is_not_told_to_exist(house: Path) -> None:
    def said(path: str) -> str:
        with pytest.raises(InvalidInput) as refused:
            expand(path, context(house))
        return str(refused.value).replace(path, "")

    assert said(f"{house}/secret/s.csv") == said(f"{house}/secret/t.csv") == said(f"{house}/secret/?.csv")


@pytest.mark.parametrize(
    "path",
    ["../secret/s.csv", "files/../../secret/s.csv", "files/..", "..", "a\0b", "", " ", 7, None, "x" * 5000,
     "https://example.com/x.csv", "s3://bucket/x", "file:///etc/passwd"],
)  # fmt: skip
def test_what_is_no_path_is_refused(house: Path, path: object) -> None:
    with pytest.raises(InvalidInput):
        expand(path, context(house))


@pytest.mark.parametrize("path", ["files/no.csv", "files/no*.csv", "files/no/x.csv", "nowhere"])
def test_nothing_there_is_said(house: Path, path: str) -> None:
    with pytest.raises(InvalidInput, match="names no file") as refused:
        expand(path, context(house))
    assert refused.value.code == "missing_file"


def test_other_roots_are_read_when_the_setting_names_them(house: Path) -> None:
    assert names(house, f"{house}/roots/r.csv", "roots") == ["roots/r.csv"]
    assert names(house, f"{house}/roots", "roots") == ["roots/r.csv"]
    with pytest.raises(InvalidInput):
        names(house, f"{house}/secret/s.csv", "roots")


def test_a_root_above_the_data_directory_opens_none_of_its_own_files(house: Path) -> None:
    assert names(house, f"{house}/secret/s.csv", ".") == ["secret/s.csv"]
    with pytest.raises(InvalidInput):
        names(house, "tidegate.db", ".")


def test_links_inside_are_followed(house: Path) -> None:
    (house / "data/files/link.csv").symlink_to(house / "data/files/a.csv")
    assert names(house, "files/link.csv") == ["data/files/a.csv"]


def test_a_pipe_is_no_file(house: Path) -> None:
    os.mkfifo(house / "data/files/pipe.csv")
    with pytest.raises(InvalidInput, match="names no file"):
        expand("files/pipe.csv", context(house))


def test_too_many_files_are_refused_with_the_number(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_FILES", 1)
    with pytest.raises(InvalidInput, match="more than 1 files"):
        expand("files/*.csv", context(house))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.csv", "csv"), ("A.CSV", "csv"), ("a.tsv", "csv"), ("a.csv.gz", "csv"), ("a.csv.zst", "csv"), ("a.parquet", "parquet"),
     ("a.json", "json"), ("a.jsonl", "json"), ("a.ndjson.gz", "json"), ("a.xlsx", "excel"), ("a.arrow", "arrow")],
)  # fmt: skip
def test_formats_by_ending(name: str, kind: str) -> None:
    assert format_of([f"/x/{name}"]) == kind


@pytest.mark.parametrize(
    ("paths", "part"),
    [(["a.docx"], "Excel"), (["a.db"], "not known"), (["a"], "not known"),
     (["a.csv", "b.parquet"], "several formats")],
)  # fmt: skip
def test_other_endings_are_refused_with_what_is_read(paths: list[str], part: str) -> None:
    with pytest.raises(InvalidInput, match=part):
        format_of(paths)


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"path": "files/a.csv", "format": "docx"}, "format must be one of"),
        ({"path": "files/a.csv", "options": {"ignore_errors": True}}, "no 'ignore_errors' for csv"),
        ({"path": "files/a.csv", "options": {"header": "yes"}}, "header` must be true or false"),
        ({"path": "files/a.csv", "options": {"types": {"x": 1}}}, "types"),
        ({"path": "files/a.csv", "options": [1]}, "object"),
        ({"path": "files/a.csv", "options": {"delim": "x\0"}}, "delim"),
        ({}, "path"),
    ],
)
def test_bad_fields_of_an_inspection_are_refused(house: Path, fields: dict[str, object], part: str) -> None:
    with pytest.raises(InvalidInput, match=part):
        InspectWorkload().order(fields, context(house))


def test_an_inspection_is_interactive_and_reads_only_its_files(house: Path) -> None:
    order = InspectWorkload().order({"path": "files/*.csv"}, context(house))
    assert (order.queue, order.request.cpu_milli, order.result_name) == ("interactive", 0, None)
    assert order.spec["readable_paths"] == [str(house / "data/files" / name) for name in ("a.csv", "b.csv")]
