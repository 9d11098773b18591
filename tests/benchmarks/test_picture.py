from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from benchmarks.picture import Line, Panel, _log_ticks, _ticks, picture_of

WORK = Panel(
    "Work <b>",
    [Line("one & only", [(0.0, 0.0), (5.0, 8.0), (10.0, 4.0)], dashed_at=9.0), Line("other", [(1.0, 1.0)])],
)
TIMES = Panel("Times", [Line("one & only", [(0.0, 3.0), (10.0, 300.0)])], logarithmic=True)


def test_a_picture_is_whole_and_within_its_bounds():
    picture = picture_of([WORK, TIMES], 10.0, "seconds")
    root = ElementTree.fromstring(picture)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    points = [
        tuple(map(float, point.split(",")))
        for line in root.iter("{http://www.w3.org/2000/svg}polyline")
        for point in line.attrib["points"].split()
    ]
    assert len(points) == 6
    assert all(0 <= x <= width and 0 <= y <= height for x, y in points)
    assert points[0][1] > points[2][1] > points[1][1]  # upwards is more
    assert "prefers-color-scheme:dark" in picture


def test_lines_of_one_name_have_one_colour():
    picture = picture_of([WORK, TIMES], 10.0, "seconds")
    assert re.findall(r'class="l (c\d)"', picture) == ["c0", "c1", "c0"]


@pytest.mark.parametrize(("most", "ticks"), [(12.0, [0, 2.5, 5, 7.5, 10, 12.5]), (0.0, None), (120.0, None)])
def test_ticks_reach_the_most_by_round_steps(most: float, ticks: list[float] | None):
    made = _ticks(most)
    assert made[0] == 0
    assert made[-1] >= most
    assert len(made) <= 8
    assert ticks is None or made == ticks


def test_powers_of_ten_lie_around_all_values():
    assert _log_ticks([3.0, 300.0]) == [1, 10, 100, 1000]
    assert _log_ticks([]) == [1, 10]
