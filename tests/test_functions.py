"""Registered functions, without a server."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

import tidegate
from tidegate.errors import InvalidInput
from tidegate.functions import Context, Function, enter, registered


@tidegate.function
def plain(a: int, b: int = 2) -> int:
    """Adds."""
    return a + b


@tidegate.function(name="renamed", cpus=2, memory="1GiB", max_attempts=3)
def costly(rows: list[bytes]) -> int:
    return len(rows)


def test_a_registered_function_is_an_ordinary_one():
    assert plain(1) == 3
    assert (plain.__name__, plain.__doc__) == ("plain", "Adds.")
    assert isinstance(plain, Function)


def test_functions_are_found_by_the_module_that_defines_them():
    assert registered(__name__) == {"plain": plain, "renamed": costly}
    assert registered("os") == {}
    assert costly.key == f"{__name__}:renamed"


def test_a_submission_has_the_defaults_the_wishes_and_the_arguments():
    assert plain.submission(1, b=5) == {
        "kind": "function",
        "function": f"{__name__}:plain",
        "args": [1],
        "kwargs": {"b": 5},
    }
    wished = costly.options(cpus=1, priority="high", job_name="mine").submission([b"\xff"])
    assert wished == {
        "kind": "function",
        "function": f"{__name__}:renamed",
        "cpus": 1,
        "memory": "1GiB",
        "max_attempts": 3,
        "priority": "high",
        "name": "mine",
        "args": [[{"$type": "bytes", "value": "/w=="}]],
    }
    assert costly.defaults["cpus"] == 2


def test_arguments_that_cannot_be_sent_are_refused_by_their_place():
    with pytest.raises(InvalidInput, match=r"args\[1\] is a builtins.object"):
        plain.submission(1, object())  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="b is a"):
        plain.submission(1, b=object())  # type: ignore[arg-type]


def test_bad_options_and_names_are_refused_where_they_stand():
    with pytest.raises(TypeError, match="no option 'gpus'"):
        tidegate.function(gpus=1)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="no option 'gpus'"):
        plain.options(gpus=1)
    with pytest.raises(InvalidInput, match="memory"):
        tidegate.function(memory="much")
    with pytest.raises(InvalidInput, match="no name of a function"):
        tidegate.function(name="two words")(plain.call)
    with pytest.raises(InvalidInput, match="registered already"):
        tidegate.function(name="plain")(costly.call)


def test_a_function_inside_another_is_refused():
    with pytest.raises(InvalidInput, match="inside another function"):

        @tidegate.function
        def inner() -> None: ...


def test_a_function_of_the_program_itself_cannot_be_submitted():
    def call() -> None: ...

    call.__module__ = "__main__"
    with pytest.raises(InvalidInput, match="no worker can import"):
        Function(call, "call", {}).submission()


def test_outside_of_a_job_the_context_does_nothing(capfd: pytest.CaptureFixture[str]):
    job = tidegate.current()
    assert (job.job_id, job.key, job.attempt) == (None, None, 1)
    job.progress(0.5)
    job.log("said")
    assert capfd.readouterr().err == "said\n"
    assert job.output_dir.is_dir()
    assert tidegate.current() is job


def test_inside_it_speaks_for_the_job(tmp_path: Path, request: pytest.FixtureRequest):
    before = tidegate.current()
    request.addfinalizer(functools.partial(enter, before))
    told: list[float] = []
    enter(Context("7", "7.1", 2, 0.5, 1, 9.0, tmp_path, told.append))
    tidegate.current().progress(0.25)
    assert (told, tidegate.current().key) == ([0.25], "7.1")
    assert tidegate.current().output_dir == tmp_path / "output"
