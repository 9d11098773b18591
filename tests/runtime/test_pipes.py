"""What an attempt prints, on its way into a file."""

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate.runtime import pipes
from tidegate.runtime.pipes import LogPipe
from tidegate.runtime.reporter import LOG_MARK


@contextlib.contextmanager
def full_disk(at_bytes: int) -> Iterator[None]:
    """No file of this process may grow beyond so many bytes: writes fail as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (at_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def log_into(*paths: Path) -> LogPipe:
    log = LogPipe()
    log.write_to(*map(str, paths))
    return log


def say(log: LogPipe, text: bytes) -> None:
    os.write(log.writer, text)
    assert log.read()


def test_a_log_on_a_full_disk_is_cut_with_a_note_and_keeps_its_end(tmp_path: Path) -> None:
    log = log_into(tmp_path / "logs" / "1.log")
    with full_disk(10):
        say(log, b"0123456789abc")
        say(log, b"x" * pipes.LOG_END_BYTES)
        say(log, b"the end")
    log.close()
    kept = (tmp_path / "logs" / "1.log").read_bytes()
    assert kept.startswith(
        b"0123456789\n[tidegate: 10 bytes left out here, since the log could not be written: File too large]\n"
    )
    assert kept.endswith(b"xthe end")
    assert log.written_bytes == len(kept)


def test_a_log_on_a_disk_that_stays_full_ends_as_it_is(tmp_path: Path) -> None:
    log = log_into(tmp_path / "1.log")
    with full_disk(10):
        say(log, b"0123456789abc")
        log.drain()
        log.close()
    assert (tmp_path / "1.log").read_bytes() == b"0123456789"


def test_a_log_that_cannot_be_made_is_no_reason_to_stop(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("in the way")
    log = log_into(tmp_path / "logs" / "1.log")
    say(log, b"lost")
    log.close()
    assert log.written_bytes == 0


def test_a_long_log_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    log = log_into(tmp_path / "1.log")
    log._logs[0].written_bytes = pipes.MAX_LOG_BYTES - 4
    say(log, b"headmiddle")
    say(log, b"x" * (pipes.LOG_END_BYTES - 1))
    say(log, b".")
    log.close()
    kept = (tmp_path / "1.log").read_bytes()
    assert kept.startswith(
        b"head\n[tidegate: 6 bytes left out here; of output beyond 10 MiB only the end is kept]\n"
    )
    assert kept.endswith(b"x.")


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_mark_divides_what_a_batch_prints_wherever_it_is_cut(tmp_path: Path, size: int) -> None:
    paths = [tmp_path / name for name in "abc"]
    pipe = log_into(*paths)
    said = b"one\n" + LOG_MARK + LOG_MARK[:5] + b"three" + LOG_MARK[:3]
    for at in range(0, len(said), size):
        os.write(pipe.writer, said[at : at + size])
        pipe.read()
    assert [pipe.ended(), pipe.ended()] == [4, 0]
    pipe.drain()
    pipe.close()
    assert paths[0].read_bytes() == b"one\n"
    assert paths[1].read_bytes() == LOG_MARK[:5] + b"three" + LOG_MARK[:3]
    assert not paths[2].exists()
