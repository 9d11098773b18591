"""What every `Sensor` does, fakes included."""

from __future__ import annotations

import math
import threading

import pytest

from tidegate.core.readings import NAMES, Readings, readings_from
from tidegate.ports import Sensor


class SensorConformance:
    """Give it a fixture `sensor`."""

    def test_it_tells_numbers_by_the_names_of_readings(self, sensor: Sensor) -> None:
        told = sensor.read()
        assert set(told) <= set(NAMES)
        assert all(math.isfinite(value) and value >= 0 for value in told.values())
        assert all(value <= 100 for name, value in told.items() if name.endswith("_percent"))
        assert isinstance(readings_from(told), Readings)

    def test_it_may_be_asked_again_at_once(self, sensor: Sensor) -> None:
        for _ in range(5):
            assert set(sensor.read()) <= set(NAMES)

    def test_its_answer_is_the_askers_own(self, sensor: Sensor) -> None:
        first = dict(sensor.read())
        kept = dict(first)
        sensor.read()
        assert first == kept

    @pytest.mark.timeout(30)
    def test_it_answers_on_another_thread(self, sensor: Sensor) -> None:
        answers: list[object] = []
        thread = threading.Thread(target=lambda: answers.append(sensor.read()))
        thread.start()
        thread.join()
        assert len(answers) == 1
