"""What a submission of kind `function` may say."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.core.resources import GIB, MIB, Resources
from tidegate.errors import InvalidInput
from tidegate.ports import FunctionDefaults, IntakeContext, KindRules, WorkOrder
from tidegate.workloads.command import DEFAULT_REQUEST
from tidegate.workloads.function import MAX_ARGUMENTS_BYTES, FunctionWorkload

RULES = KindRules(
    function_modules=("pkg.mod", "elsewhere"),
    functions={
        "pkg.mod:plain": FunctionDefaults(),
        "pkg.mod:costly": FunctionDefaults(2000, 2 * GIB, None, 60.0, 3),
    },
    unseen_modules=frozenset({"elsewhere"}),
)


def order(function: object, rules: KindRules = RULES, **fields: Any) -> WorkOrder:
    context = IntakeContext("ann", "/d", lambda names: [], Resources(8000, 8 * GIB, 50 * GIB), kinds=rules)
    return FunctionWorkload().order({"function": function, **fields}, context)


def refused(code: str, function: object, rules: KindRules = RULES, **fields: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        order(function, rules, **fields)
    assert caught.value.code == code
    return caught.value.message


def test_a_call_asks_for_what_its_function_says():
    made = order("pkg.mod:costly", args=[1], kwargs={"b": 2})
    assert made.request == Resources(2000, 2 * GIB, DEFAULT_REQUEST.disk_bytes)
    assert (made.timeout_s, made.max_attempts, made.name) == (60.0, 3, "pkg.mod:costly")
    assert (made.spec["args"], made.spec["kwargs"]) == ([1], {"b": 2})
    plain = order("pkg.mod:plain")
    assert (plain.request, plain.timeout_s, plain.max_attempts) == (DEFAULT_REQUEST, 0.0, 1)


def test_what_no_worker_has_is_not_asked_for():
    context = IntakeContext("ann", "/d", lambda names: [], Resources(500, 128 * MIB, 10 * GIB), kinds=RULES)
    request = FunctionWorkload().order({"function": "pkg.mod:plain"}, context).request
    assert (request.cpu_milli, request.memory_bytes) == (500, 128 * MIB)


def test_only_modules_of_the_settings_may_be_used():
    assert "none" in refused("function_not_allowed", "pkg.mod:plain", KindRules())
    for key in ("os:system", "pkg:mod", "pkg.mod.inner:plain", "subprocess:run"):
        assert "pkg.mod, elsewhere" in refused("function_not_allowed", key)


@pytest.mark.parametrize("key", [None, 5, "", "plain", "pkg.mod", "pkg.mod:", ":plain", "pkg mod:x", "pkg.mod:a.b",
                                 "pkg.mod:__import__('os')", "pkg..mod:x", "pkg.mod:x\n", "ä:x", "x" * 600])  # fmt: skip
def test_a_name_is_a_module_and_a_function(key: object):
    refused("function_missing", key)


def test_a_function_that_is_not_registered_is_refused_with_the_nearest():
    assert "Did you mean 'pkg.mod:plain'?" in refused("unknown_function", "pkg.mod:plian")
    assert "pkg.mod:costly, pkg.mod:plain" in refused("unknown_function", "pkg.mod:zzzzzzzzzz")


def test_a_module_that_only_workers_have_is_looked_into_there():
    assert order("elsewhere:anything").spec["function"] == "elsewhere:anything"


@pytest.mark.parametrize(
    "fields",
    [{"args": {}}, {"args": "x"}, {"kwargs": []}, {"kwargs": {"a b": 1}}, {"args": [{"$type": "code", "value": ""}]},
     {"kwargs": {"a": {"$type": "bytes", "value": "?"}}}, {"args": ["\ud800"]}],
)  # fmt: skip
def test_arguments_are_values(fields: dict[str, Any]):
    refused("bad_value", "pkg.mod:plain", **fields)


def test_arguments_are_bounded_and_the_sizes_told():
    message = refused("too_long", "pkg.mod:plain", args=["x" * MAX_ARGUMENTS_BYTES])
    assert str(MAX_ARGUMENTS_BYTES) in message
