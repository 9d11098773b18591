"""Files that jobs left behind are served, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.errors import NotFound
from tidegate.server.files import OutputFile, list_files, open_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "output-1.1.1"
    (made / "a" / "b").mkdir(parents=True)
    (made / "a" / "b" / "c").write_text("deep")
    (made / "top").write_text("x")
    (tmp_path / "secret").write_text("secret")
    (made / "link").symlink_to(tmp_path / "secret")
    (made / "folder").symlink_to(tmp_path)
    os.link(tmp_path / "secret", made / "hard")
    os.mkfifo(made / "pipe")
    return made


def test_plain_files_are_listed_in_order_and_in_pages(folder: Path):
    whole = [OutputFile("a/b/c", 4), OutputFile("top", 1)]
    assert list_files(folder, "", 10) == whole
    assert list_files(folder, "", 1) + list_files(folder, "a/b/c", 1) == whole


@pytest.mark.parametrize("name", ["a/b/c", "top"])
def test_plain_files_are_opened(folder: Path, name: str):
    fd = open_file(folder, name)
    assert os.read(fd, 10) == (folder / name).read_bytes()
    os.close(fd)


@pytest.mark.parametrize(
    "name",
    ["link", "folder/secret", "hard", "pipe", "a", "a/b", "../secret", "a/../top", "./top", "", "/", "/etc/passwd",
     "top/", "a//b/c", "missing", "a/missing", "top/x", "a\0", "\ud800", "..", "folder"],
)  # fmt: skip
def test_all_else_is_not_there(folder: Path, name: str):
    open_before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(NotFound):
        open_file(folder, name)
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_a_folder_that_is_gone_or_a_link_is_not_there(folder: Path, tmp_path: Path):
    (tmp_path / "other").symlink_to(folder)
    for missing in (tmp_path / "none", tmp_path / "other"):
        with pytest.raises(NotFound):
            list_files(missing, "", 10)
        with pytest.raises(NotFound):
            open_file(missing, "top")


@given(
    st.lists(
        st.sampled_from(["..", ".", "", "a", "b", "c", "top", "folder", "link", "secret", "\0"]), max_size=8
    )
)
def test_no_name_leads_out(tmp_path_factory: pytest.TempPathFactory, parts: list[str]):
    base = tmp_path_factory.getbasetemp() / "hypothesis-files"
    made = base / "output"
    if not base.exists():
        (made / "a" / "b").mkdir(parents=True)
        (made / "a" / "b" / "c").write_text("ours")
        (base / "secret").write_text("secret")
        (made / "folder").symlink_to(base)
        (made / "link").symlink_to(base / "secret")
    try:
        fd = open_file(made, "/".join(parts))
    except NotFound:
        return
    assert os.read(fd, 10) == b"ours"
    os.close(fd)
