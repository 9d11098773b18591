"""What a sandbox may touch, tried from inside."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.runtime.lab import Lab
from tidegate.runtime.limits import landlock

pytestmark = pytest.mark.skipif(landlock.abi() == 0, reason="this kernel has no Landlock")


def test_a_job_reads_its_inputs_and_writes_its_staging_and_nothing_else(
    lab: Lab, tmp_path: Path, other_file: Path
) -> None:
    given = tmp_path / "given.csv"
    given.write_text("a,b\n")
    with socket.create_server(("127.0.0.1", 0)) as server:
        end = lab.run(
            "look_around",
            readable_paths=[str(given)],
            input=str(given),
            other=str(other_file),
            port=server.getsockname()[1],
            server_pid=os.getpid(),
        )
    assert end.result is not None
    outcome = dict(end.result)
    assert [name for name, what in outcome.items() if what == "allowed"] == [
        "read_input",
        "write_staging",
    ] + ([] if landlock.abi() >= 4 else ["connect", "listen"]) + (
        [] if landlock.abi() >= 6 else ["signal_server"]
    )
    assert outcome["write_input"] == outcome["read_other"] == outcome["delete_other"] == "PermissionError"
    assert given.read_text() == "a,b\n"
    assert other_file.read_text() == "secret"


def test_connections_go_to_the_allowed_ports_alone(lab: Lab, other_file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as allowed, socket.create_server(("127.0.0.1", 0)) as other:
        ports = [server.getsockname()[1] for server in (allowed, other)]
        ends = [
            lab.run(
                "look_around", connect_ports=[ports[0], True, "5432", -1, 65536], input=str(other_file),
                other=str(other_file), port=port, server_pid=os.getpid(),
            )
            for port in ports
        ]  # fmt: skip
    outcomes = [dict(end.result or {}) for end in ends]
    assert outcomes[0]["connect"] == "allowed"
    assert outcomes[1]["connect"] == ("PermissionError" if landlock.abi() >= 4 else "allowed")
    assert (
        outcomes[0]["listen"]
        == outcomes[1]["listen"]
        == ("PermissionError" if landlock.abi() >= 4 else "allowed")
    )


def test_a_readable_path_that_is_missing_is_no_error(lab: Lab) -> None:
    assert lab.run("answer", readable_paths=["/no/such/file", 7, None]).succeeded


def test_an_input_that_has_become_a_link_is_not_followed(lab: Lab, tmp_path: Path, other_file: Path) -> None:
    swapped = tmp_path / "swapped.csv"
    swapped.symlink_to(other_file)
    (tmp_path / "folder").symlink_to(other_file.parent)
    for given in (swapped, tmp_path / "folder" / other_file.name):
        end = lab.run(
            "look_around",
            readable_paths=[str(given)],
            input=str(given),
            other=str(other_file),
            port=1,
            server_pid=os.getpid(),
        )
        assert end.result is not None
        assert end.result["read_input"] == end.result["read_other"] == "PermissionError"


def test_a_folder_given_to_read_can_be_listed(lab: Lab, other_file: Path) -> None:
    end = lab.run(
        "look_around",
        readable_paths=[str(other_file.parent)],
        input=str(other_file),
        other=str(other_file),
        port=1,
        server_pid=os.getpid(),
    )
    assert end.result is not None
    assert end.result["list_other"] == end.result["read_other"] == "allowed"
    assert end.result["delete_other"] == "PermissionError"


def test_system_paths_hold_the_interpreter_and_no_root() -> None:
    paths = landlock.system_paths()
    assert "/" not in paths
    assert any(os.path.realpath(os.__file__).startswith(f"{path}/") for path in paths)
    assert not any(path.startswith(("/home/", "/etc/shadow")) for path in paths)


@pytest.mark.parametrize(
    ("version", "words"),
    [(0, "no Landlock"), (1, "files"), (4, "files, TCP"), (6, "files, TCP, signals, abstract sockets")],
)
def test_coverage_is_told_in_words(version: int, words: str) -> None:
    text = landlock.coverage(version)
    assert text.endswith(words) or version == 0
    assert words in text
