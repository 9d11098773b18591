"""All that is told of this machine or container without asking anybody else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tidegate.ports import Sensor
from tidegate.runtime.ancestry import Groups
from tidegate.runtime.readings.cpu import CpuSensor
from tidegate.runtime.readings.disk import DiskSensor
from tidegate.runtime.readings.memory import MemorySensor
from tidegate.runtime.readings.stalls import StallSensor


def machine_sensors(data_dir: Path, root: Path = Path("/")) -> Sequence[Sensor]:
    """Memory, stalls, CPU and disks. `root` is where `/proc` and `/sys` lie."""
    groups = Groups(root)
    stalls = StallSensor(groups)
    cpu = CpuSensor(groups, fallback=lambda: stalls.read().get("cpu_stall_all_percent"))
    return (MemorySensor(groups), stalls, cpu, DiskSensor(data_dir, root))


class Together:
    """Several sensors as one; of a reading that two tell, the later one's counts."""

    def __init__(self, sensors: Sequence[Sensor]) -> None:
        self._sensors = sensors

    def read(self) -> Mapping[str, float]:
        return {name: value for sensor in self._sensors for name, value in sensor.read().items()}
