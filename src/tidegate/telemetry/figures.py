"""Figures that servers, workers and applications with executors tell alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from tidegate.core.pressure import Level
from tidegate.core.readings import Readings
from tidegate.ports import ExecutorStats
from tidegate.telemetry.catalogue import reading_metric
from tidegate.telemetry.meters import Sample

__all__ = ["of_executors", "of_pressure"]


def of_executors(stats: Mapping[str, ExecutorStats]) -> Iterator[Sample]:
    """`tidegate_executor_*`."""
    for name, figures in stats.items():
        if figures.size is not None:
            yield Sample("tidegate_executor_size", figures.size, (name,))
        yield Sample("tidegate_executor_active", figures.active, (name,))
        yield Sample("tidegate_executor_queued", figures.queued, (name,))
        for outcome in ("completed", "failed", "cancelled"):
            yield Sample("tidegate_executor_calls_total", getattr(figures, outcome), (name, outcome))


def of_pressure(dials: Mapping[str, Callable[[], Level]], readings: Readings) -> Iterator[Sample]:
    """Levels and readings of this process and its machine."""
    for dial, level in dials.items():
        yield Sample("tidegate_pressure_level", int(level()), (dial,))
    for name, value in readings.known().items():
        told, factor = reading_metric(name)
        yield Sample(told, value * factor)
