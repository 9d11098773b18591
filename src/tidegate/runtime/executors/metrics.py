"""The executors' figures for Prometheus, read when they are asked for. Needs prometheus-client, of the extra `metrics`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from tidegate.ports import ExecutorStats

_GAUGES = {
    "size": "Calls that run at most at once.",
    "active": "Calls that run.",
    "queued": "Calls that wait for their turn.",
}
_OUTCOMES = ("completed", "failed", "cancelled")


class ExecutorCollector(Collector):
    """`tidegate_executor_{size,active,queued}{executor}` and `tidegate_executor_calls_total{executor,outcome}`."""

    def __init__(self, stats: Callable[[], Mapping[str, ExecutorStats]]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        stats = self._stats()
        for name, text in _GAUGES.items():
            gauge = GaugeMetricFamily(f"tidegate_executor_{name}", text, labels=["executor"])
            for executor, figures in stats.items():
                gauge.add_metric([executor], getattr(figures, name))
            yield gauge
        calls = CounterMetricFamily(
            "tidegate_executor_calls", "Calls that ended, by how.", labels=["executor", "outcome"]
        )
        for executor, figures in stats.items():
            for outcome in _OUTCOMES:
                calls.add_metric([executor, outcome], getattr(figures, outcome))
        yield calls
