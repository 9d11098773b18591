"""Members of a cluster are started again only where somebody stands for whoever supervises them."""

import os

import pytest

from tidegate.testing.cluster import Member


@pytest.fixture
def member(tmp_path):
    member = Member("server-0", ["serve"], tmp_path, os.environ, None, clocks=False)
    yield member
    member.kill()


def comes_up_at_the_second_try(folder):
    return [
        "sh",
        "-c",
        f"mkdir {folder}/tried 2>/dev/null && exit 1; echo up at http://127.0.0.1:7; exec sleep 600",
    ]


def test_a_member_that_ends_before_it_is_up_is_told_at_once(member, tmp_path):
    member.command = ["sh", "-c", "echo no database >&2; exit 1"]
    member.start()
    with pytest.raises(RuntimeError, match=r"ended before it was up.\nno database"):
        member.wait_ready()
    assert not member.ready


def test_a_supervised_member_is_started_again_until_it_is_up(member, tmp_path):
    member.command = comes_up_at_the_second_try(tmp_path)
    member.start()
    member.wait_ready(supervised=True)
    assert member.ready
    assert member.url == "http://127.0.0.1:7"
