"""What a runner adds is what the worker reads, whatever it is."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.core.job import DIGEST, TaskOrder
from tidegate.core.resources import Resources
from tidegate.runtime import task_file
from tidegate.runtime.task_file import BadTasks, TaskFile, TaskWriter

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
OWNED = {*task_file._OWNED, DIGEST}
ORDERS = st.builds(
    TaskOrder,
    TEXTS.filter(bool),
    st.dictionaries(
        TEXTS.filter(lambda name: name not in OWNED),
        st.none() | st.integers() | TEXTS | st.lists(st.booleans()),
        max_size=3,
    ),
    st.none() | st.builds(Resources, *[st.integers(0, 2**52)] * 3),
    st.none() | st.floats(0.001, 1000),
    st.none() | st.dictionaries(TEXTS, st.integers() | TEXTS, max_size=2),
)


def written(folder: Path, orders: list[TaskOrder]) -> Path:
    writer = TaskWriter(str(folder))
    for order in orders:
        writer.add(order)
    writer.close()
    return folder / task_file.FILE_NAME


@given(st.lists(ORDERS, min_size=1, max_size=30))
def test_tasks_come_out_as_they_went_in_each_time(orders):
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), orders)
        tasks = TaskFile(str(path))
        path.unlink()
    assert len(tasks) == len(orders)
    assert list(tasks) == list(tasks) == orders
    assert orders[-1] in tasks


def test_lines_may_lie_across_the_pieces_in_which_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(task_file, "_CHUNK_BYTES", 7)
    orders = [TaskOrder(f"file {number}", {"n": number}) for number in range(50)]
    assert list(TaskFile(str(written(tmp_path, orders)))) == orders


def test_what_was_left_behind_is_named_in_each(tmp_path):
    (task,) = TaskFile(str(written(tmp_path, [TaskOrder("a", {"b": 1})])), "results/output-1.1.1")
    assert task.spec == {"b": 1, "input_folder": "results/output-1.1.1"}


def test_nothing_added_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        TaskFile(str(written(tmp_path, [])))


@pytest.mark.parametrize(
    "order",
    [
        TaskOrder(""),
        TaskOrder("x" * 1001),
        TaskOrder("a", {"readable_paths": ["/"]}),
        TaskOrder("a", {"connect_ports": [22]}),
        TaskOrder("a", {"text": "x" * 70_000}),
        TaskOrder("a", {"not json": {1, 2}}),
        TaskOrder("a", result={"not json": {1, 2}}),
        TaskOrder("a", {"not json": float("nan")}),
    ],
)
def test_what_cannot_be_a_task_is_refused_where_it_is_added(tmp_path, order):
    with pytest.raises((ValueError, TypeError)):
        TaskWriter(str(tmp_path)).add(order)


def test_links_pipes_and_giants_are_refused(tmp_path):
    path = tmp_path / "tasks.jsonl"
    path.symlink_to("/etc/passwd")
    with pytest.raises(BadTasks, match="cannot be opened"):
        TaskFile(str(path))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(BadTasks, match="no plain file"):
        TaskFile(str(path))
    path.unlink()
    with path.open("wb") as file:
        file.truncate(task_file.MOST_BYTES + 1)
    with pytest.raises(BadTasks, match="at most 67,108,864"):
        TaskFile(str(path))
