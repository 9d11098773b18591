"""What a submission of kind `command` may say."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.core.resources import GIB, MIB, Resources
from tidegate.errors import InvalidInput, TidegateError
from tidegate.ports import IntakeContext, KindRules, WorkOrder
from tidegate.workloads.command import (
    DEFAULT_REQUEST,
    MAX_ARGUMENT_BYTES,
    MAX_ARGV_BYTES,
    MAX_ENV_BYTES,
    MAX_FILES_BYTES,
    MAX_STDIN_BYTES,
    CommandWorkload,
)

ON = KindRules(commands=True)


def order(rules: KindRules = ON, data_dir: str = "/nowhere/data", **fields: Any) -> WorkOrder:
    context = IntakeContext(
        "ann", data_dir, lambda names: [], Resources(8000, 8 * GIB, 50 * GIB), kinds=rules
    )
    return CommandWorkload().order(fields, context)


def refused(code: str, rules: KindRules = ON, **fields: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        order(rules, **fields)
    assert caught.value.code == code
    return caught.value.message


def test_commands_are_off_unless_they_are_turned_on():
    message = refused("commands_off", KindRules(), argv=["true"])
    assert "TIDEGATE_ENABLE_COMMANDS=1" in message
    assert "enable_commands" in message


def test_a_command_asks_for_a_little_by_default_and_is_called_as_it_is_typed():
    made = order(argv=["./simulate.sh", "--n", "4", "two words"])
    assert made.request == DEFAULT_REQUEST
    assert made.name == "./simulate.sh --n 4 'two words'"
    assert (made.max_attempts, made.timeout_s, made.queue) == (1, 0.0, "default")
    assert order(argv=["sh", "-c", "echo a\necho b" * 50]).name.isprintable()


def test_no_worker_is_asked_for_more_than_it_has():
    context = IntakeContext("ann", "/d", lambda names: [], Resources(500, 128 * MIB, 10 * GIB), kinds=ON)
    request = CommandWorkload().order({"argv": ["true"]}, context).request
    assert request == Resources(500, 128 * MIB, GIB)


@pytest.mark.parametrize("argv", [None, [], "ls -l", {}, [""], ["  "], 5])
def test_argv_is_a_list_that_begins_with_a_program(argv: object):
    refused("argv_missing", argv=argv)


@pytest.mark.parametrize("argv", [["ls", 5], ["ls", None], ["ls", "a\0b"], [["ls"]]])
def test_arguments_are_texts_without_nul(argv: object):
    refused("invalid_input", argv=argv)


@pytest.mark.parametrize(
    "fields",
    [
        {"argv": ["true", "x" * (MAX_ARGUMENT_BYTES + 1)]},
        {"argv": ["true", *["x" * 100_000] * (MAX_ARGV_BYTES // 100_000 + 1)]},
        {"argv": ["true"] * 10_001},
        {"argv": ["true"], "env": {"A": "x" * MAX_ENV_BYTES}},
        {"argv": ["true"], "stdin": "x" * (MAX_STDIN_BYTES + 1)},
        {"argv": ["true"], "files": {"a": "x" * (MAX_FILES_BYTES + 1)}},
    ],
)
def test_sizes_are_bounded_and_told(fields: dict[str, Any]):
    with pytest.raises(InvalidInput) as caught:
        order(**fields)
    assert caught.value.code == "too_long"
    asked, limit = caught.value.numbers["asked"], caught.value.numbers["limit"]
    assert int(asked) > int(limit)
    assert f"{limit}" in caught.value.message


@pytest.mark.parametrize(
    "env",
    [
        ["A"],
        {"1A": "x"},
        {"": "x"},
        {"A B": "x"},
        {"A": 5},
        {"A": "a\0"},
        {"TIDEGATE_INSTANCE": "x"},
        {"Ä": "x"},
    ],
)
def test_variables_have_names_and_texts_and_none_is_the_service_s(env: object):
    refused("invalid_input", argv=["true"], env=env)


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a/../../b", "", "a\nb", "x" * 501, ".."])
def test_files_stay_in_the_folder_of_the_job(name: str):
    refused("invalid_input", argv=["true"], files={name: "x"})


@pytest.mark.parametrize(
    "content", [5, None, {"base64": "?"}, {"base64": 5}, {"base64": "AA==", "more": 1}, ["x"]]
)
def test_files_are_texts_or_base64(content: object):
    refused("invalid_input", argv=["true"], files={"a": content})


def test_files_are_kept_as_they_were_sent():
    files = order(argv=["true"], files={"./a//b": "grün", "c": {"base64": "AP8="}}).spec["files"]
    assert {name: base64.b64decode(content) for name, content in files.items()} == {
        "a/b": "grün".encode(),
        "c": b"\x00\xff",
    }


def test_paths_outside_the_roots_are_refused_by_the_name_of_the_setting(tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "out").symlink_to("/etc")
    rules = KindRules(commands=True, readable_roots=(f"{tmp_path}/in",))
    assert order(rules, argv=["true"], readable_paths=[f"{tmp_path}/in/x"]).spec["runnable_paths"] == [
        f"{tmp_path}/in/x"
    ]
    for path in ("/etc/passwd", f"{tmp_path}/in/../x", f"{tmp_path}/in/out/passwd", f"{tmp_path}/inner"):
        message = refused("path_outside", rules, argv=["true"], readable_paths=[path])
        assert "command_readable_roots" in message
    assert "command_writable_roots" in refused(
        "path_outside", rules, argv=["true"], writable_paths=[f"{tmp_path}/in"]
    )
    assert "command_readable_roots" in refused("path_outside", argv=["true"], cwd="/")
    refused("invalid_input", rules, argv=["true"], readable_paths=["relative"])
    refused("invalid_input", rules, argv=["true"], cwd="../up")


def test_the_service_s_own_data_is_never_given(tmp_path: Path):
    rules = KindRules(commands=True, writable_roots=(str(tmp_path),))
    data = tmp_path / "data"
    for path in (data, data / "tidegate.db", tmp_path):
        with pytest.raises(InvalidInput, match="own data"):
            order(rules, data_dir=str(data), argv=["true"], writable_paths=[str(path)])
    assert (
        order(rules, data_dir=str(data), argv=["true"], cwd=f"{tmp_path}/work").spec["cwd"]
        == f"{tmp_path}/work"
    )


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(st.sampled_from(sorted(CommandWorkload.fields)), anything),
    st.lists(st.text(max_size=5), min_size=1, max_size=3) | anything,
)
def test_whatever_is_sent_is_an_order_or_a_clear_refusal(fields: dict[str, Any], argv: Any):
    try:
        made = order(**{**fields, "argv": argv})
    except TidegateError:
        return
    assert made.name
    assert json.loads(json.dumps(made.spec)) == made.spec
    assert "runnable_paths" in made.spec
