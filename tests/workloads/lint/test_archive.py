"""Hostile archives are refused or contained, each with its reason; nothing is written under a name of theirs."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.workloads.errors import TaskError
from tidegate.workloads.lint.archive import Limits, Member, unpack

SMALL = Limits(entries=50, member_bytes=1000, total_bytes=5000)


def sql(name: str) -> bool:
    return name.endswith(".sql")


@pytest.fixture
def archive(tmp_path):
    def make(members: list[tuple[str | zipfile.ZipInfo, bytes]]) -> Path:
        path = tmp_path / "in" / "some.zip"
        path.parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in members:
                file.writestr(name, content)
        return path

    return make


def read(path: Path, limits: Limits = SMALL) -> tuple[list[Member], bytes]:
    into = io.BytesIO()
    return list(unpack(path, into, sql, limits)), into.getvalue()


def test_wanted_members_stand_one_after_the_other(archive):
    members, content = read(archive([("a.sql", b"select 1"), ("readme.md", b"#"), ("d/b.sql", b"select 22")]))
    assert [(m.name, content[m.offset : m.offset + m.size_bytes]) for m in members] == [
        ("a.sql", b"select 1"),
        ("d/b.sql", b"select 22"),
    ]
    assert content == b"select 1select 22"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../a.sql", "outside"),
        ("d/../../a.sql", "outside"),
        ("/etc/a.sql", "outside"),
        ("..\\a.sql", "outside"),
        ("C:\\a.sql", "outside"),
        ("n" * 1001 + ".sql", "1005 characters"),
    ],
)
def test_a_name_that_leaves_is_told_and_not_read(archive, name, says):
    (bad, good), content = read(archive([(name, b"x"), ("ok.sql", b"select 1")]))
    assert (bad.problem, good.problem, content) == ("unreadable", None, b"select 1")
    assert says in bad.reason


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_a_link_or_device_is_told_and_not_followed(archive, kind):
    entry = zipfile.ZipInfo("link.sql")
    entry.external_attr = (kind | 0o777) << 16
    ((member,), content) = read(archive([(entry, b"/etc/passwd")]))
    assert (member.problem, content) == ("unreadable", b"")
    assert "link" in member.reason


def test_archives_within_are_told_and_not_opened(archive):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as file:
        file.writestr("x.sql", "select 1")
    ((member,), content) = read(archive([("inner.zip", inner.getvalue())]))
    assert (member.name, member.problem, content) == ("inner.zip", "skipped", b"")


def test_a_bomb_is_too_large_by_name_and_the_others_go_on(archive):
    members, content = read(archive([("bomb.sql", bytes(10**6)), ("ok.sql", b"select 1")]))
    assert [(m.name, m.problem) for m in members] == [("bomb.sql", "too_large"), ("ok.sql", None)]
    assert "1000000 bytes" in members[0].reason
    assert "1000 are" in members[0].reason
    assert content == b"select 1"


def test_a_size_that_lies_is_found_out_while_reading(archive):
    path = archive([("liar.sql", bytes(5000)), ("ok.sql", b"select 1")])
    data = bytearray(path.read_bytes())
    for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<L", data, data.index(signature) + at, 10)
    path.write_bytes(data)
    members, content = read(path)
    assert [(m.name, m.problem) for m in members][1] == ("ok.sql", None)
    assert members[0].problem in ("too_large", "unreadable")
    assert content == b"select 1"


def test_all_together_are_bounded(archive):
    path = archive([(f"{i}.sql", bytes(900)) for i in range(10)])
    with pytest.raises(TaskError, match="5000 bytes") as caught:
        read(path)
    assert (caught.value.code, caught.value.numbers["limit"]) == ("archive_too_large", 5000)


def test_too_many_entries_are_refused_before_they_are_read(archive):
    with pytest.raises(TaskError, match="more than 50 entries") as caught:
        read(archive([(f"{i}.txt", b"") for i in range(51)]))
    assert caught.value.code == "archive_too_many_entries"


def test_a_count_that_lies_does_not_help(archive):
    path = archive([(f"{i}.txt", b"") for i in range(51)])
    data = bytearray(path.read_bytes())
    struct.pack_into("<HH", data, len(data) - 22 + 8, 1, 1)
    path.write_bytes(data)
    with pytest.raises(TaskError, match="more than 50 entries"):
        read(path)


def test_a_long_directory_is_refused_by_its_bytes(archive):
    with pytest.raises(TaskError, match="directory has") as caught:
        read(archive([("a.sql", b"")]), Limits(directory_bytes=10))
    assert caught.value.numbers["limit"] == 10


def test_the_same_name_twice_is_told(archive):
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = archive([("a.sql", b"1"), ("A.sql", b"2"), ("a.sql", b"3"), ("./a.sql", b"4")])
    members, content = read(path)
    assert [m.problem for m in members] == [None, None, "unreadable", "unreadable"]
    assert content == b"12"


def test_an_encrypted_member_is_told(archive):
    path = archive([("a.sql", b"select 1")])
    data = bytearray(path.read_bytes())
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        struct.pack_into("<H", data, data.index(signature) + at, 1)
    path.write_bytes(data)
    ((member,), _) = read(path)
    assert "encrypted" in member.reason


def test_a_damaged_member_is_told_and_taken_back(archive):
    path = archive([("a.sql", bytes(range(250)) * 3), ("ok.sql", b"select 1")])
    data = bytearray(path.read_bytes())
    data[60:70] = b"\xff" * 10
    path.write_bytes(data)
    members, content = read(path)
    assert [m.problem for m in members] == ["unreadable", None]
    assert content == b"select 1"


@pytest.mark.parametrize(
    ("raw", "name"),
    [("表.sql".encode(), "表.sql"), ("表.sql".encode("gb18030"), "表.sql"), (b"\x81.sql", "ü.sql")],
)
def test_names_without_the_flag_are_read_as_meant(archive, raw, name):
    path = archive([("x" * (len(raw) - 4) + ".sql", b"")])
    path.write_bytes(path.read_bytes().replace(b"x" * (len(raw) - 4) + b".sql", raw))
    ((member,), _) = read(path)
    assert member.name == name


@pytest.mark.parametrize(
    "content", [b"", b"select 1", b"PK\x03\x04" + bytes(100), b"PK\x05\x06" + b"\xff" * 18]
)
def test_what_is_no_archive_says_so(tmp_path, content):
    path = tmp_path / "no.zip"
    path.write_bytes(content)
    with pytest.raises(TaskError) as caught:
        read(path)
    assert caught.value.code in ("archive_unreadable", "archive_too_many_entries")


def test_a_64_bit_archive_is_read(tmp_path):
    path = tmp_path / "big.zip"
    with zipfile.ZipFile(path, "w") as file, file.open("a.sql", "w", force_zip64=True) as member:
        member.write(b"select 1")
    assert read(path)[1] == b"select 1"


@given(st.binary(max_size=300), st.integers(0, 400), st.binary(min_size=1, max_size=8))
def test_no_damage_leads_out_of_the_one_file(tmp_path_factory, content, at, noise):
    """Whatever the bytes: members that lie within what was written, or one of the stated errors."""
    folder = tmp_path_factory.mktemp("damaged")
    path = folder / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.sql", content)
        file.writestr("b.sql", b"select 1")
    data = bytearray(path.read_bytes())
    data[at : at + len(noise)] = noise
    path.write_bytes(data)
    refused = ""
    try:
        members, written = read(path)
        assert sum(m.size_bytes for m in members if m.problem is None) == len(written)
    except TaskError as error:
        refused = error.code
    assert refused in ("", "archive_unreadable", "archive_too_many_entries", "archive_too_large")
    assert [entry.name for entry in folder.iterdir()] == ["x.zip"]
